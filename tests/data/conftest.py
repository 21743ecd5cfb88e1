"""Small real files: scikit-image's photos, cut and stored in many ways."""

import tarfile
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sslkit.core.dataset import DataSource
from sslkit.plugins import Registry
from sslkit.recipe.schema import DataSection, Recipe

Tree = Callable[[Path, Sequence[str]], Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SSLKIT_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    """A real photo [72, 96, 3]."""
    with resources.files("skimage.data").joinpath("chelsea.png").open("rb") as file:
        return np.array(Image.open(file).convert("RGB").resize((96, 72)))


@pytest.fixture(scope="session")
def tree(photo: NDArray[np.uint8]) -> Tree:
    """Writes different parts of the photo at the paths given."""

    def write(root: Path, paths: Sequence[str]) -> Path:
        for number, path in enumerate(paths):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            left = number % 40
            Image.fromarray(photo[:, left : left + 48]).save(file)
        return root

    return write


@pytest.fixture(scope="session")
def as_tar() -> Callable[..., Path]:
    """Packs the content of a folder, the last name first, into a tar beside it."""

    def pack(folder: Path, inside: str = ".") -> Path:
        made = folder.with_name(f"{folder.name}.tar")
        with tarfile.open(made, "w") as tar:
            for path in sorted(folder.rglob("*"), reverse=True):
                tar.add(path, f"{inside}/{path.relative_to(folder)}", recursive=False)
        return made

    return pack


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture
def source() -> Callable[..., DataSource]:
    def make(root: Path | None, split: str = "", labels: str = "auto", channels: int = 3) -> DataSource:
        return DataSource(root, split, labels, channels)  # type: ignore[arg-type]

    return make


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """A recipe on a data section, one image a step unless said otherwise."""

    def make(batch_size: int = 1, config: object = None, **data: object) -> Recipe:
        made = Recipe(data=DataSection(**data), data_config=config)  # type: ignore[arg-type]
        made.optim.batch_size = batch_size
        return made

    return make
