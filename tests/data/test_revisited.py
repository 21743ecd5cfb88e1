"""Revisited Oxford and Paris: ground truth as published, boxes, answers."""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sslkit.core.dataset import DataSource
from sslkit.data.loader import EvalImages
from sslkit.data.open import Part, open_eval
from sslkit.data.revisited import Revisited, RevisitedConfig
from sslkit.errors import DataError
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe
from sslkit.stations import open_eval_sets

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]
AsTar = Callable[..., Path]
Make = Callable[..., Recipe]

DATABASE = [f"all_souls_00000{number}" for number in range(5)]
QUERIES = ["ashmolean_000000", "bodleian_000001"]


def truth() -> dict[str, Any]:
    """As published: lists in some versions, arrays in others."""
    return {
        "imlist": DATABASE,
        "qimlist": QUERIES,
        "gnd": [
            {"bbx": [3.4, 5.5, 20.6, 40.5], "easy": [4, 0], "hard": [1], "junk": []},
            {
                "bbx": np.array([0.0, 0.0, 48.0, 72.0]),
                "easy": np.array([], np.int64),
                "hard": np.array([2, 3]),
                "junk": np.array([0], np.int32),
            },
        ],
    }


@pytest.fixture
def root(tmp_path: Path, tree: Tree) -> Path:
    folder = tree(tmp_path / "roxford5k", [f"jpg/{name}.jpg" for name in DATABASE + QUERIES])
    (folder / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth(), protocol=2))
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_queries_know_their_answers(root: Path, as_tar: AsTar, source: Source, packed: bool) -> None:
    where = as_tar(root) if packed else root
    database = Revisited(RevisitedConfig(), source(where, "db"))
    queries = Revisited(RevisitedConfig(), source(where, "queries"))
    assert [database.key(index) for index in range(5)] == [f"jpg/{name}.jpg" for name in DATABASE]
    assert (database.relevance, database.classes, database.paired) == (None, None, False)
    assert queries.relevance is not None
    assert [answers.tolist() for answers in queries.relevance.easy] == [[4, 0], []]
    assert [answers.tolist() for answers in queries.relevance.hard] == [[1], [2, 3]]
    assert [answers.tolist() for answers in queries.relevance.junk] == [[], [0]]
    assert {answers.dtype for answers in queries.relevance.easy} == {np.dtype(np.int64)}
    assert not queries.paired


def test_queries_are_cut_as_pillow_does_it(root: Path, source: Source) -> None:
    queries = Revisited(RevisitedConfig(), source(root, "queries"))
    with Image.open(root / "jpg" / f"{QUERIES[0]}.jpg") as image:
        assert np.array_equal(queries[0].image, np.array(image.crop((3.4, 5.5, 20.6, 40.5))))
        whole = Revisited(RevisitedConfig(crop_queries=False), source(root, "queries"))
        assert np.array_equal(whole[0].image, np.array(image))


def test_through_a_recipe_the_defaults_are_right(root: Path, recipe: Make, registry: Registry) -> None:
    bank, queries = open_eval(recipe(name="revisited", root=str(root)), registry)
    assert (len(bank), len(queries)) == (5, 2)
    assert queries.relevance is not None


def test_the_ground_truth_may_be_json_or_named(root: Path, as_tar: AsTar, source: Source) -> None:
    plain = json.dumps(truth(), default=lambda array: array.tolist())
    (root / "gnd_mine.json").write_text(plain)
    with pytest.raises(DataError, match=r"there are gnd_mine.json, gnd_roxford5k.pkl; name .*ground_truth"):
        Revisited(RevisitedConfig(), source(root, "db"))
    named = Revisited(RevisitedConfig("gnd_mine.json"), source(root, "queries"))
    published = Revisited(RevisitedConfig("gnd_roxford5k.pkl"), source(root, "queries"))
    assert named.relevance is not None
    assert published.relevance is not None
    for level in ("easy", "hard", "junk"):
        pairs = zip(getattr(named.relevance, level), getattr(published.relevance, level), strict=True)
        assert all(np.array_equal(mine, theirs) for mine, theirs in pairs)
    for name in ("gnd_mine.json", "gnd_roxford5k.pkl"):
        (root / name).rename(root.parent / name)
    images = as_tar(root)
    (root.parent / "gnd_mine.json").unlink()
    assert len(Revisited(RevisitedConfig(), source(images, "db"))) == 5  # it lies beside the tar
    with pytest.raises(DataError, match=r"there is no gnd_\*.pkl or gnd_\*.json; name"):
        Revisited(RevisitedConfig(), source(root, "db"))


def test_a_pickle_that_runs_something_is_refused(root: Path, source: Source, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth() | {"more": Malicious()}))
    with pytest.raises(DataError, match=r"gnd_roxford5k.pkl is refused: it asks for .*only plain data"):
        Revisited(RevisitedConfig(), source(root, "db"))
    assert not (tmp_path / "ran").exists()


def spoilt(**changes: Any) -> dict[str, Any]:
    whole = truth()
    whole["gnd"][0] |= changes
    return whole


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], r"is no ground truth .*TypeError"),
        ({"imlist": DATABASE}, r"is no ground truth .*KeyError: 'qimlist'"),
        (truth() | {"gnd": []}, r"5 images, 2 queries, 0 entries of gnd"),
        (spoilt(easy=[5]), r"an answer outside the 5 images"),
        (spoilt(hard=[-1]), r"an answer outside the 5 images"),
        (spoilt(junk=[0.5]), r"an answer outside the 5 images"),
        (spoilt(bbx=[1, 2, 3]), r"is no ground truth"),
        (
            truth() | {"imlist": ["gone"] * 5},
            r"names the image gone, but there is no .*jpg/gone.jpg\n.*images",
        ),
    ],
)
def test_other_content_is_told(root: Path, source: Source, content: Any, told: str) -> None:
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=told):
        Revisited(RevisitedConfig(), source(root, "db"))


def test_a_box_outside_the_image_breaks_that_query_alone(root: Path, source: Source) -> None:
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(spoilt(bbx=[900, 900, 950, 950])))
    queries = Revisited(RevisitedConfig(), source(root, "queries"))
    with pytest.raises(DataError, match=r"its box .* lies outside the image, which is 72 high, 48 wide"):
        queries[0]
    assert queries[1].image.shape == (72, 48, 3)


def test_identity(root: Path, source: Source) -> None:
    def identity(config: RevisitedConfig) -> str | None:
        return Revisited(config, source(root, "queries")).identity()

    first = identity(RevisitedConfig())
    assert identity(RevisitedConfig()) == first
    assert identity(RevisitedConfig(crop_queries=False)) != first
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth(), protocol=3))
    assert identity(RevisitedConfig()) != first


def test_part_of_the_queries_keeps_their_answers(root: Path, source: Source) -> None:
    queries = Revisited(RevisitedConfig(), source(root, "queries"))
    few = EvalImages(queries, 32, 32, 2, [0.5] * 3, [0.5] * 3, max_images=1)
    assert few.relevance is not None
    assert [answers.tolist() for answers in few.relevance.hard] == [
        {"jpg/ashmolean_000000.jpg": [1], "jpg/bodleian_000001.jpg": [2, 3]}[few.key(0)]
    ]
    part = Part(queries, np.array([1]), None)
    assert part.relevance is not None
    assert [answers.tolist() for answers in part.relevance.hard] == [[2, 3]]


def test_no_image_of_the_database_is_left_out(root: Path, recipe: Make, registry: Registry) -> None:
    made = recipe(name="revisited", root=str(root))
    made.eval.max_images = 1
    sets = open_eval_sets(made, registry)
    assert (len(sets.train), len(sets.test)) == (5, 1)
