"""Databases with queries made from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sslkit.core.dataset import DataSource
from sslkit.data.loader import EvalImages
from sslkit.data.open import open_eval, open_train
from sslkit.data.pairs import Pairs, PairsConfig
from sslkit.errors import DataError
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]
AsTar = Callable[..., Path]
Make = Callable[..., Recipe]

ROWS = """\
query,original,transformation,detail
queries/c.jpg,db/2.jpg,crop,half
queries/a.jpg,,rotate,"by 3, and more"
queries/b.jpg,db/0.jpg,crop,
"""


@pytest.fixture
def root(tmp_path: Path, tree: Tree) -> Path:
    folder = tree(
        tmp_path / "set", [f"db/{number}.jpg" for number in range(3)] + [f"queries/{q}.jpg" for q in "abc"]
    )
    (folder / "queries.csv").write_text(ROWS)
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("splits", [("db", "queries"), ("train", "val"), ("train", "test")])
def test_queries_carry_the_number_of_their_original(
    root: Path, as_tar: AsTar, source: Source, packed: bool, splits: tuple[str, str]
) -> None:
    where = as_tar(root) if packed else root
    database, queries = (Pairs(PairsConfig(), source(where, split)) for split in splits)
    assert [database[index].instance for index in range(3)] == [0, 1, 2]
    assert [database.key(index) for index in range(3)] == ["db/0.jpg", "db/1.jpg", "db/2.jpg"]
    assert (database.paired, database.kinds, database.instances, database.classes) == (False, None, 3, None)
    assert [queries[index].instance for index in range(3)] == [2, -1, 0]
    assert [queries[index].key for index in range(3)] == ["queries/c.jpg", "queries/a.jpg", "queries/b.jpg"]
    assert (queries.paired, queries.instances, queries.classes) == (True, 3, None)
    assert queries.kinds == ["crop", "rotate", "crop"]
    assert not np.array_equal(queries[0].image, queries[1].image)


def test_evaluators_see_pairs_and_kinds_by_place(root: Path, recipe: Make, registry: Registry) -> None:
    made = recipe(name="pairs", root=str(root))
    assert len(open_train(made, registry)) == 3  # the database; nothing is held out
    _, queries = open_eval(made, registry)
    seen = EvalImages(queries, 32, 32, 2, [0.5] * 3, [0.5] * 3)
    assert (seen.paired, seen.kinds) == (True, ("crop", "rotate", "crop"))
    few = EvalImages(queries, 32, 32, 2, [0.5] * 3, [0.5] * 3, max_images=2)
    assert few.kinds is not None
    by_key = {"queries/c.jpg": "crop", "queries/a.jpg": "rotate", "queries/b.jpg": "crop"}
    assert [by_key[few.key(place)] for place in range(2)] == list(few.kinds)
    instances = [batch.instances for batch in seen.batches()]
    assert [instance.tolist() for instance in instances if instance is not None] == [[2, -1], [0]]


def test_kinds_may_be_missing(root: Path, source: Source) -> None:
    (root / "queries.csv").write_text("query,original\nqueries/a.jpg,db/1.jpg\n")
    assert Pairs(PairsConfig(), source(root, "queries")).kinds is None


def test_a_wrong_split_is_no_reason_to_hold_images_out(root: Path, recipe: Make, registry: Registry) -> None:
    with pytest.raises(DataError, match=r"no split 'querys'; it has db .* queries .*\n.*mean 'queries'"):
        open_eval(recipe(name="pairs", root=str(root), eval_split="querys"), registry)
    with pytest.raises(DataError, match=r"no split 'dv'"):
        open_train(recipe(name="pairs", root=str(root), split="dv"), registry)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("query,orig\nqueries/a.jpg,\n", r"has no column 'original'(?s:.*)set data.original_column"),
        ("query,original\nqueries/z.jpg,\n", r"names 1 queries that are not there, such as .*z.jpg"),
        ("query,original\nqueries/a.jpg,1.jpg\n", r"1 originals that are not in the database, such as 1.jpg"),
    ],
)
def test_what_does_not_fit_is_told(root: Path, source: Source, text: str, told: str) -> None:
    (root / "queries.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        Pairs(PairsConfig(), source(root, "queries"))


def test_a_missing_or_empty_database_is_told(root: Path, source: Source) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*base; data.database names it"):
        Pairs(PairsConfig(database="base"), source(root, "db"))
    (root / "base").mkdir()
    with pytest.raises(DataError, match=r"found 0 images in .*base"):
        Pairs(PairsConfig(database="base"), source(root, "db"))


def test_identity(root: Path, source: Source) -> None:
    def identities() -> tuple[str | None, str | None]:
        database, queries = (Pairs(PairsConfig(), source(root, split)) for split in ("db", "queries"))
        return database.identity(), queries.identity()

    first = identities()
    assert identities() == first
    (root / "queries" / "a.jpg").write_bytes(b"other")
    second = identities()
    assert (second[0] == first[0], second[1] == first[1]) == (True, False)
    (root / "queries.csv").write_text(ROWS.replace("crop", "cut"))
    assert identities()[1] != second[1]
