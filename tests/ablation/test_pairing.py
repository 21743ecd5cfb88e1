"""For one seed all arms see the same images in the same order, drawn alike, with the same initial weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from ablation.studies import small_study
from runs import METHODS
from torch import Tensor

from sslkit.ablation.running import recipe_of
from sslkit.ablation.study import Study, read_study
from sslkit.augment.multicrop import MultiCrop, MultiCropParams
from sslkit.core.augmentation import draw_for_step
from sslkit.session import Session, prepare
from sslkit.train.distributed import process_group
from sslkit.train.signals import StopRequest

ARMS: dict[str, Any] = {
    "byol": {"method": {"name": "byol", **METHODS["byol"]}},
    "simclr": {"method": {"name": "simclr", **METHODS["simclr"]}},
    "mocov2": {"method": {"name": "mocov2", **METHODS["mocov2"]}},
    "mocov3": {"method": {"name": "mocov3", **METHODS["mocov3"]}},
    "supervised": {"method": {"name": "supervised"}},
    "sharp": {"method.teacher_temperature": 0.01},
    "no_flip": {"augment.flip.p": 0},
    "no_color_jitter": {"augment.color_jitter.p": 0},
    "global_only": {"augment.local_count": 0},
    "more_prototypes": {"method.out_dim": 64},
}
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(small_study(tmp_path_factory.mktemp("pairing"), ARMS, seeds=SEEDS))


@contextmanager
def session_of(study: Study, arm: str, seed: int) -> Iterator[Session]:
    """What the arm's process prepares."""
    (found,) = (each for each in study.arms if each.name == arm)
    loaded = replace(found.loaded, recipe=recipe_of(study, found, seed))
    with process_group(loaded.recipe.runtime) as place:
        yield prepare(loaded, place, StopRequest())


def order(study: Study, arm: str, seed: int) -> list[list[int]]:
    """Which images each step takes: of all steps, over both epochs."""
    with session_of(study, arm, seed) as session:
        assert session.last_step > session.facts.steps_per_epoch
        return [batch.indices.tolist() for batch in session.batches()]


def initial_weights(study: Study, arm: str, seed: int, *, heads: bool = False) -> Mapping[str, Tensor]:
    """Of the backbone, or of the whole method."""
    with session_of(study, arm, seed) as session:
        method = session.trainer.method
        return {k: v.clone() for k, v in (method if heads else method.encoder).state_dict().items()}


def draws(study: Study, arm: str, seed: int, step: int) -> list[dict[str, Mapping[str, Tensor]]]:
    """By view and operation what a step draws."""
    with session_of(study, arm, seed) as session:
        augmentation = session.trainer.augmentation
        assert isinstance(augmentation, MultiCrop)
        batch = session.recipe.optim.batch_size
        drawn = draw_for_step(augmentation, seed=session.recipe.seed, step=step, batch_size=batch)
        assert isinstance(drawn, MultiCropParams)
        names = [["crop", *(o.name for o in p.operations)] for p in augmentation._pipelines]
    return [
        {name: each.values for name, each in zip(of_view, view, strict=True)}
        for of_view, view in zip(names, drawn.views, strict=True)
    ]


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_begins_as_the_baseline_does(study: Study, arm: str) -> None:
    for seed in SEEDS:
        assert order(study, arm, seed) == order(study, "baseline", seed)
        assert same(initial_weights(study, arm, seed), initial_weights(study, "baseline", seed))


@pytest.mark.parametrize("arm", ["sharp", "no_flip", "global_only"])
def test_heads_are_the_same_too_where_the_method_is(study: Study, arm: str) -> None:
    base, own = (initial_weights(study, name, 0, heads=True) for name in ("baseline", arm))
    assert same(own, base)
    assert not same(own, initial_weights(study, arm, 1, heads=True))


def test_another_seed_is_another_order_and_other_weights(study: Study) -> None:
    assert order(study, "byol", 0) != order(study, "byol", 1)
    assert not same(initial_weights(study, "byol", 0), initial_weights(study, "byol", 1))


def test_another_batch_size_has_the_same_order(tmp_path: Path) -> None:
    study = read_study(small_study(tmp_path, {"batch_2": {"optim.batch_size": 2}}))
    flat = [[i for batch in order(study, arm, 0) for i in batch] for arm in ("baseline", "batch_2")]
    per_epoch = len(flat[0]) // 2
    assert flat[0][:per_epoch] == flat[1][:per_epoch]


@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("arm", ["sharp", "byol", "no_flip", "no_color_jitter", "global_only"])
def test_the_draws_are_the_baselines(study: Study, arm: str, step: int) -> None:
    """All but those of the operation that is switched off, in all views that both have."""
    off = arm.removeprefix("no_")
    pairs = list(zip(draws(study, "baseline", 1, step), draws(study, arm, 1, step), strict=False))
    assert len(pairs) == (2 if arm == "global_only" else 4)
    for base, own in pairs:
        assert own.keys() == base.keys() - {off}
        assert all(same(own[name], base[name]) for name in own)
    assert not same(pairs[0][1]["crop"], draws(study, arm, 0, step)[0]["crop"])
    assert not same(pairs[0][1]["crop"], draws(study, arm, 1, step + 1)[0]["crop"])


def test_the_first_pixels_are_the_same_too(study: Study) -> None:
    """The views of a step, where no operation is changed."""
    first = []
    for arm in ("baseline", "byol", "sharp"):
        with session_of(study, arm, 0) as session:
            (batch,) = islice(session.batches(), 1)
            params = draw_for_step(session.trainer.augmentation, seed=0, step=0, batch_size=4)
            first.append(session.trainer.augmentation.apply(batch.canvas, batch.size, params))
    for views in first[1:]:
        assert torch.equal(views.global_views, first[0].global_views)
        assert views.local_views is not None
        assert first[0].local_views is not None
        assert torch.equal(views.local_views, first[0].local_views)
