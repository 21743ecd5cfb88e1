"""Copy detection against its definitions; the evaluator on pairs that are given and on copies it makes."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_sets import Pictures, context_for
from known_features import KnownFeatures
from oracles import retrieval as oracle
from tolerances import assert_close
from torch import Tensor

from sslkit.core.evaluator import EvalData, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval import ranking
from sslkit.eval.copies import (
    Copies,
    CopiesConfig,
    WithGem,
    gem,
    made_pairs,
    micro_average_precision,
    search,
    thumbnails,
)
from sslkit.eval.copy_making import KINDS
from sslkit.eval.whitening import learn_whitening
from sslkit.nn.pocket import conv_pocket, vit_pocket

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- features


@pytest.mark.parametrize("power", [1.0, 3.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gem_is_the_definition(dtype: torch.dtype, power: float) -> None:
    tokens = normal(3, 7, 5).to(dtype)
    wanted = np.stack([oracle.gem(image, power) for image in tokens.double().numpy()])
    got = gem(tokens, power)
    assert got.dtype == dtype
    assert_close(got, wanted)


def test_gem_of_large_halves_and_its_gradient() -> None:
    assert gem(torch.full((1, 2, 3), 50.0, dtype=torch.float16)).tolist() == [[50.0] * 3]
    tokens = normal(2, 3, 4).double().abs().add(0.1).requires_grad_()
    assert torch.autograd.gradcheck(gem, (tokens,))


def test_cls_beside_gem_and_the_mean_where_there_is_no_cls() -> None:
    images = normal(2, 3, 16, 16)
    with torch.no_grad():
        for build in (vit_pocket, conv_pocket):
            backbone = build(channels=3, image_size=16, drop_path_rate=0.0).eval()
            got = WithGem()(backbone, images)
            patches = backbone.tokens(images).patches
            assert_close(got[:, : backbone.embed_dim], backbone(images), scale=10)
            assert torch.equal(got[:, backbone.embed_dim :], gem(patches))


def test_whitened_features_are_uncorrelated_and_alike() -> None:
    mixed = normal(4000, 6).double() @ normal(6, 6, seed=1).double() + 3
    white = learn_whitening(mixed)(mixed).double()
    assert white.mean(0).abs().max() < 1e-5
    assert (torch.cov(white.T) - torch.eye(6)).abs().max() < 0.05


def test_directions_that_were_never_seen_do_not_drown_the_others() -> None:
    few = normal(8, 32)
    white = learn_whitening(few)(normal(200, 32, seed=1))
    assert white.isfinite().all()
    assert white.abs().max() < 10 * white.std()
    assert learn_whitening(torch.ones(4, 3))(torch.ones(2, 3)).tolist() == [[0.0] * 3] * 2


# ---- numbers


def pairs(ties: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Database, queries, instances, wanted; every fourth query has no original, two share one."""
    database = normal(20, 4).double()
    queries = database[:12] + 0.8 * normal(12, 4, seed=1).double()
    if ties:
        database, queries = database.sign(), queries.sign()
    wanted = torch.arange(12)
    wanted[5] = 6
    wanted[::4] = -1
    return database, queries, torch.arange(20), wanted


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("at_once", [1, 50, 10**6])
def test_micro_ap_is_the_definition_and_scikit_learns(
    monkeypatch: pytest.MonkeyPatch, ties: bool, at_once: int
) -> None:
    from sklearn.metrics import average_precision_score

    monkeypatch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
    database, queries, instances, wanted = pairs(ties)
    got = micro_average_precision(database, queries, instances, wanted, CPU)
    scores = np.round([[oracle.cosine(q, x) for x in database.numpy()] for q in queries.numpy()], 9)
    right = (instances[None] == wanted[:, None]).numpy()
    assert got.value == pytest.approx(
        oracle.steps(scores.ravel().tolist(), right.ravel().tolist()), abs=1e-12
    )
    assert got.value == pytest.approx(average_precision_score(right.ravel(), scores.ravel()), abs=1e-12)
    assert got.low < got.value < got.high
    assert got.count == 12


def test_a_resample_counts_a_query_as_often_as_it_is_drawn() -> None:
    database, queries, instances, wanted = pairs(False)
    rows = torch.tensor([0, 1, 1, 5, 5, 5, 4, 11])
    again = micro_average_precision(database, queries[rows], instances, wanted[rows], CPU).value
    statistics: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslkit.eval.copies.estimate", lambda statistic, *_, **__: statistics.append(statistic))
        micro_average_precision(database, queries, instances, wanted, CPU)
    assert statistics[0](rows) == pytest.approx(again, abs=1e-12)


def test_map_and_top1_are_of_queries_with_an_original() -> None:
    database, queries, instances, wanted = pairs(False)
    found = search(database, queries, instances, wanted, CPU)
    for query, original in enumerate(wanted.tolist()):
        order = oracle.ranked(queries[query].numpy(), database.numpy())
        assert int(found.first[query]) == order[0]
        precision = oracle.trapezoid([i == original for i in order])
        assert float(found.average_precision[query]) == pytest.approx(precision, abs=1e-12, nan_ok=True)
        right = math.nan if original < 0 else float(order[0] == original)
        assert float(found.first_is_right[query]) == pytest.approx(right, nan_ok=True)


def test_thumbnails_are_box_means_less_their_own() -> None:
    pixels = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    images = Pictures((pixels / 255 - 0.5) / 0.25)
    means = torch.nn.functional.avg_pool2d(pixels, 2)
    assert (
        thumbnails(images) - (means - means.mean((1, 2, 3), keepdim=True)).flatten(1)
    ).abs().max() < 0.6  # rounded


# ---- the evaluator


def measured(data: EvalData, folder: Path, own: Pictures | None = None, **config: Any) -> Result:
    subject = Subject(KnownFeatures(8 * 8))
    return Copies(CopiesConfig(**config))(subject, data, context_for(subject, folder, own))


def squares(count: int, seed: int, **known: Any) -> Pictures:
    """Images of one channel whose first row of pixels is what `KnownFeatures` sees."""
    return Pictures(torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(seed)), **known)


def given(folder: Path, **config: Any) -> Result:
    """Of 16 queries 8 are images of the database as they are, 4 other images, and 4 have no original."""
    database, strange = squares(30, 0), squares(8, 1)
    queries = torch.cat([database.images[:8], strange.images])
    wanted = torch.tensor([*range(8), 20, 21, 22, 23, -1, -1, -1, -1])
    kinds = ("same",) * 8 + ("other",) * 8
    data = EvalData(
        Pictures(database.images, instances=torch.arange(30)),
        Pictures(queries, instances=wanted, paired=True, kinds=kinds),
    )
    return measured(data, folder, squares(40, 2), **config)


def test_given_pairs(tmp_path: Path) -> None:
    result = given(tmp_path)
    assert result.metrics["top1_same"] == 1
    assert result.metrics["top1_other"] < 1
    wanted = {"map": 12, "top1": 12, "micro_ap": 16, "top1_same": 8, "top1_other": 4}
    assert {name: result.counts[name] for name in wanted} == wanted
    assert 0.6 < result.metrics["micro_ap"] < 1
    assert result.metrics["micro_ap_plain"] != result.metrics["micro_ap"]
    assert result.metrics["thumbnail_top1"] >= 8 / 12
    assert "16 copies, 4 of them without an original, searched among 30 images" in result.notes[0]
    with result.tables["copies_by_kind"].open(encoding="utf-8") as file:
        rows = {(row["kind"], row["metric"]): row for row in csv.DictReader(file)}
    assert rows["same", "top1"]["value"] == "1.0000"
    assert rows["other", "thumbnail_top1"]["queries"] == "4"
    assert result.figures["copies"].read_bytes()[:4] == b"\x89PNG"


def test_whitening_can_be_learned_elsewhere_or_left_out(tmp_path: Path) -> None:
    results = {way: given(tmp_path, whitening=way).metrics for way in ("training", "database", "none")}
    assert "micro_ap_plain" not in results["none"]
    assert results["none"]["micro_ap"] == results["training"]["micro_ap_plain"]
    assert results["database"]["micro_ap"] != results["training"]["micro_ap"]


def test_pairs_without_instances_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not say which"):
        measured(EvalData(squares(4, 0), squares(4, 1, paired=True)), tmp_path)


def test_made_pairs_point_at_their_originals() -> None:
    data = EvalData(squares(30, 0), squares(50, 1))
    task = made_pairs(data, CopiesConfig(queries=40, distractors=10, without_original=0.25))
    originals, distractors = task.database
    assert (len(originals), len(distractors), len(task.queries)) == (30, 10, 40)
    assert int((task.wanted < 0).sum()) == 10
    held_out = [image for _, image in data.test.samples()]
    places = {sample.image.tobytes(): place for place, sample in enumerate(held_out)}
    kept = [places[sample.image.tobytes()] for _, sample in originals.samples()]
    chosen = [i * 50 // 40 for i in range(40)]
    for query, wanted in enumerate(task.wanted.tolist()):
        if wanted < 0:
            assert chosen[query] not in kept
        else:
            assert kept[task.instances.tolist().index(wanted)] == chosen[query]
    assert not torch.isin(task.wanted[task.wanted >= 0], task.instances[30:]).any()
    for kind in KINDS:
        assert sum(k == kind for k in task.kinds or ()) == 5


def test_made_pairs_are_the_same_each_time(tmp_path: Path) -> None:
    def once(folder: str) -> Result:
        bank = squares(30, 0)
        data = EvalData(bank, squares(24, 1))
        return measured(data, tmp_path / folder, bank, kinds=["jpeg", "blur", "crop"], distractors=9)

    first, second = once("a"), once("b")
    assert first.metrics == second.metrics
    assert {"top1_jpeg", "top1_blur", "top1_crop"} <= set(first.metrics)
    assert first.counts["map"] == 21
    assert "24 copies made from held-out images, 3 of them" in first.notes[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kinds": ["crop", "blurr"]}, r"'blurr'; valid: crop[^!]*did you mean 'blur'"),
        ({"kinds": []}, "is empty"),
        ({"without_original": 1.0}, "0 to below 1"),
        ({"queries": 0}, "must be 1 or more"),
        ({"whitening_images": 1}, "must be 2 or more"),
    ],
)
def test_impossible_values(config: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        CopiesConfig(**config)
