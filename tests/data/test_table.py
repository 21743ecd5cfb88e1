"""Tables: columns, splits, masks, labels and objects that a CSV names."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.core.dataset import Dataset, DataSource
from sslkit.data.open import open_eval, open_train
from sslkit.data.table import TableConfig, TableOfImages
from sslkit.errors import DataError, MissingSplitError
from sslkit.plugins import Registry
from sslkit.recipe.schema import Recipe

Source = Callable[..., DataSource]
Tree = Callable[[Path, Sequence[str]], Path]
AsTar = Callable[..., Path]
Make = Callable[..., Recipe]

ROWS = """\
image,mask,label,instance,split,width
images/1.jpg,masks/a.png,horse,Bella,train,48
images/2.jpg,masks/b.png,donkey,Carl,train,48
./images/3.jpg,masks/a.png,horse,Bella,test,48
images/4.jpg,masks/b.png,horse,Anton,test,48
"""


@pytest.fixture
def root(tmp_path: Path, tree: Tree) -> Path:
    folder = tree(tmp_path / "set", [f"images/{number}.jpg" for number in range(1, 5)])
    (folder / "masks").mkdir()
    for name, rows in (("a", 10), ("b", 36)):
        mask = np.zeros((72, 48), np.uint8)
        mask[:rows] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "index.csv").write_text(ROWS, encoding="utf-8-sig")
    return folder


def keys(dataset: Dataset) -> list[str]:
    return [dataset.key(index) for index in range(len(dataset))]


@pytest.mark.parametrize("packed", [False, True])
def test_rows_of_a_split(root: Path, as_tar: AsTar, source: Source, packed: bool) -> None:
    where = as_tar(root) if packed else root
    test = TableOfImages(TableConfig(), source(where, "test"))
    assert keys(test) == ["images/3.jpg", "images/4.jpg"]
    assert (test.classes, test.instances, test.has_masks) == (("horse",), 3, True)
    sample = test[1]
    assert (sample.key, sample.label, sample.instance) == ("images/4.jpg", 0, 0)
    assert np.array_equal(sample.image, np.array(Image.open(root / "images" / "4.jpg")))
    assert sample.mask is not None
    assert sample.mask.mean() == 0.5
    train = TableOfImages(TableConfig(), source(where, "train"))
    assert train[0].instance == test[0].instance == 1  # an object has one number in all splits
    assert [train[index].label for index in range(2)] == [1, 0]
    assert len(TableOfImages(TableConfig(), source(where, "all"))) == 4
    assert (pickle.loads(pickle.dumps(train))[1].mask == train[1].mask).all()


def test_splits_are_never_guessed(root: Path, source: Source) -> None:
    with pytest.raises(MissingSplitError, match=r"no split 'val'; it has test, train, all"):
        TableOfImages(TableConfig(), source(root, "val"))
    with pytest.raises(DataError, match=r"divided into test, train"):
        TableOfImages(TableConfig(), source(root, ""))
    (root / "index.csv").write_text(ROWS.replace("test", "validation"))
    assert len(TableOfImages(TableConfig(), source(root, "val"))) == 2
    undivided = TableConfig(split_column=None)
    assert len(TableOfImages(undivided, source(root, ""))) == 4
    with pytest.raises(MissingSplitError, match="nor any other"):
        TableOfImages(undivided, source(root, "train"))


def test_through_a_recipe(root: Path, recipe: Make, registry: Registry) -> None:
    made = recipe(name="table", root=str(root), eval_split="test")
    bank, queries = open_eval(made, registry)
    assert keys(bank) == keys(open_train(made, registry)) == ["images/1.jpg", "images/2.jpg"]
    assert queries.classes == bank.classes == ("donkey", "horse")
    assert queries[0].label == 1
    held_out = open_eval(recipe(name="table", root=str(root)), registry)  # no val: from train
    assert sorted(keys(held_out[0]) + keys(held_out[1])) == ["images/1.jpg", "images/2.jpg"]


def test_what_has_no_column_is_not_known(root: Path, source: Source) -> None:
    (root / "index.csv").write_text("image,label\nimages/1.jpg,\nimages/2.jpg,\n")
    dataset = TableOfImages(TableConfig(), source(root))
    assert (dataset.classes, dataset.instances, dataset.has_masks) == (None, None, False)
    sample = dataset[1]
    assert (sample.label, sample.instance, sample.mask) == (None, None, None)
    with pytest.raises(DataError, match=r"no column 'msk'\n  did you mean 'mask'|no column 'msk'"):
        TableOfImages(TableConfig(mask_column="msk"), source(root))
    with pytest.raises(DataError, match=r"data.labels=folders, but .* has no labels; set data.label_column"):
        TableOfImages(TableConfig(), source(root, labels="folders"))


def test_other_names_of_columns_and_numbers_as_labels(root: Path, source: Source) -> None:
    (root / "list.csv").write_text("file,y,set\nimages/1.jpg,1,dev\nimages/2.jpg,0,dev\n")
    (root / "classes.json").write_text('["donkey", "horse"]')
    config = TableConfig(table="list.csv", image_column="file", label_column="y", split_column="set")
    dataset = TableOfImages(config, source(root, "dev"))
    assert (dataset.classes, dataset[0].label) == (("donkey", "horse"), 1)
    assert TableOfImages(config, source(root, "dev", labels="none")).classes is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "picture\nimages/1.jpg\n",
            r"has no column 'image'(?s:.*)its columns: picture; set data.image_column",
        ),
        (
            "image\nimages/9.jpg\n",
            r"names the image images/9.jpg, but there is no .*images/9.jpg\n.*data.root",
        ),
        ("image,label\nimages/1.jpg,a\n,a\n", r"1 of 2 rows name no image"),
        ("image,label\nimages/1.jpg,a\nimages/2.jpg,\n", r"1 of 2 images have no label\n.*label_column=null"),
        ("image,mask\nimages/1.jpg,masks/a.png\nimages/2.jpg,\n", r"1 of 2 images have no mask"),
        ("image,label\nimages/1.jpg\n", r"row 2: 1 cells, but the header has 2"),
        ("image,label\n", r"has no rows below a header"),
        ("", r"has no rows below a header"),
        ("image\n\udcff\n", r"cannot be read as a CSV table"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(root: Path, source: Source, text: str, told: str) -> None:
    (root / "index.csv").write_text(text, errors="surrogateescape")
    with pytest.raises(DataError, match=told):
        TableOfImages(TableConfig(), source(root))


def test_a_missing_table_is_told(root: Path, source: Source) -> None:
    with pytest.raises(DataError, match=r"there is no file indx.csv in .*\n  did you mean 'index.csv'"):
        TableOfImages(TableConfig(table="indx.csv"), source(root))


def test_broken_files_are_told_when_read(root: Path, source: Source) -> None:
    (root / "images" / "1.jpg").unlink()
    (root / "masks" / "b.png").write_bytes(b"")
    dataset = TableOfImages(TableConfig(), source(root, "all"))
    with pytest.raises(DataError, match="the file cannot be opened"):
        dataset[0]
    with pytest.raises(DataError, match=r"its mask .*b.png: the file is empty"):
        dataset[1]
    assert dataset[2].mask is not None


def test_identity(root: Path, source: Source) -> None:
    def identity(config: TableConfig = TableConfig(), split: str = "all") -> str | None:  # noqa: B008
        return TableOfImages(config, source(root, split)).identity()

    first = identity()
    assert identity() == first
    assert identity(replace(TableConfig(), mask_column=None)) != first
    (root / "masks" / "b.png").write_bytes(b"other")
    second = identity()
    (root / "index.csv").write_text(ROWS.replace("Carl", "Karl"))
    assert len({first, second, identity()}) == 3
