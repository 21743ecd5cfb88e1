"""The code in the docs runs: Python is executed page by page, recipes and studies are loaded.

The blocks of a page run in their order, in one namespace and one folder of their own. One that is a file
(```python title="my_method.py", or so called in the sentence before it) is imported from there; test
functions are called. The folder has what the code asks for: see `STAND_INS`. A block that cannot run here
says so in its first line, for the reader too: `# not run here: it needs two GPUs`. The page of a plugin runs
where the plugin is installed.
"""

import importlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch
import yaml
from pages import PAGES, TOP, Block, blocks, is_installed, name_of, place, plugins_on
from PIL import Image
from runs import make_photos, tiny_recipe
from torchvision.models import resnet18

import sslkit
from sslkit.ablation.study import read_study
from sslkit.recipe.load import load_recipe

NOT_RUN = re.compile(r"# not run here: (?P<reason>\S.*)")
PYTHON = {page: blocks(page, "python", "py") for page in PAGES}
YAML = [block for page in PAGES for block in blocks(page, "yaml", "yml")]


def reason_not_to(block: Block) -> str | None:
    if "/" in (block.title or ""):
        return "it is a file of a package that the page's commands install"
    found = NOT_RUN.match(block.text)
    return found["reason"] if found else None


# --- what the folder of a page holds -----------------------------------------------------------------------

BRIEF = {"optim": {"epochs": 1, "warmup_epochs": 0}, "eval": {"every_epochs": None}}


def photos(folder: Path) -> None:
    """A flat folder of pictures without labels."""
    folder.mkdir()
    for png in sorted(make_photos(folder / "made", labelled=False).glob("*.png")):
        Image.open(png).save(folder / f"{png.stem}.jpg")
    shutil.rmtree(folder / "made")


def recipe(file: Path) -> None:
    """A recipe of a few steps under the name of a packed one, which a file of that name goes before."""
    file.write_text(yaml.safe_dump(tiny_recipe(file.parent / "photos", name=file.name, **BRIEF)))


def run_directory(folder: Path) -> None:
    """A finished run of two steps."""
    pictures = make_photos(folder.parent.parent / "run_photos", count=10)
    sslkit.run(tiny_recipe(pictures, **BRIEF), out=folder, quiet=True)


def checkpoint(file: Path) -> None:
    """What a Lightning module saves whose backbone is torchvision's."""
    state = resnet18(num_classes=3).state_dict()
    torch.save({"state_dict": {f"backbone.{key}": value for key, value in state.items()}}, file)


STAND_INS: dict[str, Callable[[Path], None]] = {
    "photos": photos,
    "dino_pocket": recipe,
    "runs/dino_pocket": run_directory,
    "theirs.ckpt": checkpoint,
}
"""By the string in a page's code that asks for it."""
SLOW = re.compile(r'"(runs/)?dino_pocket"|sslkit\.testing')
"""Code that trains."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder that modules are imported from, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)):
            del sys.modules[name]


def code_of(page: Path) -> str:
    return "".join(block.text for block in PYTHON[page] if reason_not_to(block) is None)


def asked_for(page: Path) -> list[str]:
    return [name for name in STAND_INS if re.search(rf'["=]{re.escape(name)}["/]', code_of(page))]


# --- Python ------------------------------------------------------------------------------------------------

PARAMETERS = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] if SLOW.search(code_of(page)) else [])
    for page in PAGES
    if PYTHON[page]
]


@pytest.mark.parametrize("page", PARAMETERS)
def test_the_python_of_a_page_runs(page: Path, folder: Path) -> None:
    if page.is_relative_to(TOP / "plugins") and not all(map(is_installed, plugins_on(page))):
        pytest.skip(f"{', '.join(sorted(plugins_on(page)))} not installed")
    for name in asked_for(page):
        (folder / name).parent.mkdir(exist_ok=True)
        STAND_INS[name](folder / name)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in PYTHON[page]:
        if reason_not_to(block) is None:
            new = run_block(block, names, folder)
            for name in new:
                if name.startswith("test_"):
                    names[name]()


def run_block(block: Block, names: dict[str, Any], folder: Path) -> list[str]:
    """Execute one block; the names that are new."""
    before = set(names)
    if block.title is not None:
        (folder / block.title).write_text(block.text)
        importlib.invalidate_caches()
        names.update(vars(importlib.import_module(Path(block.title).stem)))
    else:
        exec(compiled(block), names)
    return [name for name in names if name not in before]


def compiled(block: Block) -> CodeType:
    """With the page's line numbers."""
    return compile("\n" * (block.line - 1) + block.text, f"<{name_of(block.page)}>", "exec")


def test_blocks_that_do_not_run_say_why() -> None:
    marked = [block for code in PYTHON.values() for block in code if reason_not_to(block)]
    assert all(map(compiled, marked))
    if marked:
        pytest.skip("; ".join(f"{place(block)}: {reason_not_to(block)}" for block in marked))


@pytest.mark.parametrize(
    ("text", "error"),
    [("import sslkit\nsslkit.no_such_name\n", AttributeError), ("assert 1 == 2\n", AssertionError)],
)
def test_a_block_that_is_wrong_fails(text: str, error: type[Exception], folder: Path) -> None:
    with pytest.raises(error):
        run_block(Block(TOP / "page.md", 3, "python", None, text), {}, folder)


# --- YAML --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", YAML, ids=place)
def test_a_recipe_or_study_is_one(block: Block, folder: Path) -> None:
    document = yaml.safe_load(block.text)
    assert isinstance(document, dict)
    if "sslkit_study" in document:
        (folder / "study.yaml").write_text(block.text)
        read_study(folder / "study.yaml")
    elif names_a_plugin(document):
        assert all(isinstance(name, str) for name in document["plugins"])
    else:
        load_recipe({"sslkit": 1, "name": "a_part", **document})


def names_a_plugin(document: dict[str, Any]) -> bool:
    """One that this environment does not have."""
    return bool(document.get("plugins"))
