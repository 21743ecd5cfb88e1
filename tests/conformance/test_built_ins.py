"""Every built-in component passes the kit that plugins have to pass."""

import pickle
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from runs import sslkit

from sslkit.plugins import Registry
from sslkit.testing import (
    EXPENSIVE,
    check_augmentation,
    check_backbone,
    check_dataset,
    check_evaluator,
    check_executor,
    check_method,
    check_tracker,
    make_views,
)

REGISTRY = Registry.load(allow="")
SLOW = pytest.mark.slow


def names(kind: str, slow: tuple[str, ...] = ()) -> list[Any]:
    """All of a kind; those that take long are marked."""
    assert {*slow} <= {*REGISTRY.names(kind)}
    return [pytest.param(name, marks=SLOW if name in slow else ()) for name in REGISTRY.names(kind)]


# --- methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTRY.names("methods"))
def test_methods(name: str) -> None:
    """On one batch of views and without what takes half of the time; the next test has all of it."""
    check_method(REGISTRY.get("methods", name), views={"2 local views": make_views(2)}, leave_out=EXPENSIVE)


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY.names("methods"))
def test_methods_in_all_settings(name: str) -> None:
    check_method(REGISTRY.get("methods", name))


# --- backbones and augmentations ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTRY.names("backbones"))
def test_backbones(name: str) -> None:
    check_backbone(REGISTRY.get("backbones", name))


AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "multicrop": {"global_size": 32, "local_size": 16, "local_count": 2},
    "patches": {"size": 16},
}


@pytest.mark.parametrize("name", REGISTRY.names("augmentations"))
def test_augmentations(name: str) -> None:
    cls = REGISTRY.get("augmentations", name)
    check_augmentation(cls, cls.Config(**AUGMENTATIONS[name]))


# --- data sets ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """A small data set on disk, or none where it needs none."""

    make: Callable[[Path], Path | None] = lambda folder: None
    config: Mapping[str, Any] = field(default_factory=dict)


def picture(number: int, side: int = 24) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (side, side + 6, 3), dtype=np.uint8))


def png(number: int) -> bytes:
    file = BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


def write(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def class_folders(folder: Path) -> Path:
    for number in range(6):
        write(folder / "train" / ("cat", "dog")[number % 2] / f"{number}.png", picture(number))
    return folder


def table(folder: Path) -> Path:
    rows = ["image,mask,label,instance,split"]
    for number in range(6):
        write(folder / f"images/{number}.png", picture(number))
        write(folder / f"masks/{number}.png", Image.new("L", (30, 24), 255 * (number % 2)))
        rows.append(f"images/{number}.png,masks/{number}.png,{'ab'[number % 2]},i{number},train")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def pairs(folder: Path) -> Path:
    for number in range(4):
        write(folder / f"db/{number}.png", picture(number))
    write(folder / "queries/q.png", picture(9))
    (folder / "queries.csv").write_text("query,original,transformation\nqueries/q.png,db/1.png,crop\n")
    return folder


def voc(folder: Path) -> Path:
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    objects = np.zeros((24, 30), np.uint8)
    objects[2:10, 3:12] = 1
    for number in range(4):
        write(folder / f"JPEGImages/{number}.jpg", picture(number))
        for part in ("SegmentationObject", "SegmentationClass"):
            image = Image.fromarray(objects, "P")
            image.putpalette([0, 0, 0, 128, 0, 0])
            write(folder / f"{part}/{number}.png", image)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("\n".join(map(str, range(4))) + "\n")
    return folder


def revisited(folder: Path) -> Path:
    truth = {"imlist": ["0", "1", "2"], "qimlist": ["3"]}
    answer = {"bbx": [0.0, 0.0, 20.0, 20.0], "easy": [0], "hard": [1], "junk": []}
    for number in range(4):
        write(folder / f"jpg/{number}.jpg", picture(number))
    (folder / "gnd_roxford5k.pkl").write_bytes(pickle.dumps({**truth, "gnd": [answer]}, protocol=2))
    return folder


def parquet(folder: Path) -> Path:
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(6)]
    folder.mkdir()
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 3}), folder / "train.parquet")
    return folder


def webdataset(folder: Path) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "train.tar", "w") as tar:
        for number in range(6):
            for name, content in (
                (f"{number}.png", png(number)),
                (f"{number}.cls", str(number % 2).encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
    return folder


DATA = {
    "demo": Data(),
    "folder": Data(class_folders),
    "pairs": Data(pairs),
    "parquet": Data(parquet),
    "revisited": Data(revisited),
    "table": Data(table),
    "timm": Data(class_folders),
    "voc": Data(voc),
    "webdataset": Data(webdataset),
}


@pytest.mark.parametrize("name", REGISTRY.names("datasets"))
def test_datasets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    cls, data = REGISTRY.get("datasets", name), DATA[name]
    config = cls.Config(**data.config) if data.config else None
    check_dataset(cls, config, root=data.make(tmp_path / "data"))


# --- evaluators --------------------------------------------------------------------------------------------

EVALUATORS: dict[str, dict[str, Any]] = {
    "attention": {"random": 1},
    "background": {"triples": 8},
    "copies": {"kinds": ["crop", "jpeg"], "queries": 10, "distractors": 10},
    "health": {"images": 20},
    "invariance": {"images": 6, "strengths": [1.0]},
    "linear": {"epochs": 3, "lrs": [0.1]},
    "part_whole": {"n": 8, "images": 12, "areas": [0.4]},
    "patch_game": {"scales": [0.3], "gaps": [0.5], "images": 12},
}
"""Settings that make them quick."""
LONG = ("attention", "background", "copies", "invariance", "linear", "patch_game")


@pytest.mark.parametrize("name", names("evaluators", LONG))
def test_evaluators(name: str) -> None:
    cls = REGISTRY.get("evaluators", name)
    check_evaluator(cls, cls.Config(**EVALUATORS.get(name, {})), registry=REGISTRY)


# --- trackers and executors --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in REGISTRY.names("trackers") if name != "wandb"])
def test_trackers(name: str) -> None:
    check_tracker(REGISTRY.get("trackers", name))


@pytest.mark.slow
def test_wandb(tmp_path: Path) -> None:
    """By the command: wandb starts a server and changes the process that it is used in."""
    done = sslkit("check", "tracker:wandb", cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb conforms" in done.stdout


@pytest.mark.parametrize("name", names("executors", ("ray", "slurm")))
def test_executors(name: str) -> None:
    check_executor(REGISTRY.get("executors", name))
