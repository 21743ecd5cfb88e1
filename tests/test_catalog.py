"""What `sslkit plugins` lists and `sslkit plugins show` tells."""

import json
from pathlib import Path

import pytest
from test_plugins import HEAD, method_source, write

from sslkit import catalog
from sslkit.errors import PluginError
from sslkit.plugins import KINDS, Registry

DOCUMENTED = f'''{HEAD}

@dataclass
class Config:
    """Settings."""

    width: int
    """Columns, >= 1."""
    depth: int = 2
    """Rows."""


class Toy:
    """A toy for tests.

    It has two keys.
    """

    Config = Config


@hookimpl
def sslkit_methods():
    return {{"toy": Toy}}
'''


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write(tmp_path / "toy.py", DOCUMENTED)


def test_every_built_in_component_is_listed_with_plugin_version_and_file() -> None:
    registry = Registry.load(allow="")
    found = catalog.entries(registry)
    assert [(e.kind, e.name) for e in found] == [(kind, n) for kind in KINDS for n in registry.names(kind)]
    for entry in found:
        assert (entry.origin, entry.status, entry.conflicts) == ("built-in", "loaded", ())
        assert entry.version
        assert entry.file is not None
        path, _, line = entry.file.rpartition(":")
        assert Path(path).is_file()
        assert int(line) > 0


def test_the_list_tells_of_conflicts_and_of_plugins_that_are_not_loaded(tmp_path: Path) -> None:
    rival = write(tmp_path / "rival.py", method_source("dino"))
    watcher = write(
        tmp_path / "watches.py", f"{HEAD}@hookimpl\ndef sslkit_run_finished(run_dir):\n    pass\n"
    )
    registry = Registry.load(
        [str(rival), str(watcher)], blocked=["sslkit.eval.knn"], allow="rival.py,watches.py"
    )
    lines = "\n".join(catalog.told(registry))
    assert "conflict: more than one plugin provides 'dino' in methods" in lines
    assert "--no-plugin sslkit.methods.dino or --no-plugin rival.py" in lines
    assert "watches runs and provides no component" in lines
    assert "sslkit.eval.knn" in lines
    assert "left out\n  by --no-plugin" in lines
    both = [e for e in catalog.entries(registry) if e.name == "dino"]
    assert [(e.plugin, e.status, e.conflicts) for e in both] == [
        ("sslkit.methods.dino", "conflict", ("rival.py",)),
        ("rival.py", "conflict", ("sslkit.methods.dino",)),
    ]


def test_the_record_is_plain_and_has_what_failed() -> None:
    record = json.loads(json.dumps(catalog.as_record(Registry.load(blocked=["sslkit.eval.knn"], allow=""))))
    assert record["api_version"] == "1.0"
    assert {p["name"]: p["status"] for p in record["plugins"]}["sslkit.eval.knn"] == "left out"
    assert set(record["components"][0]) == {
        "kind", "name", "plugin", "version", "origin", "file", "status", "conflicts"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["toy", "methods:toy", "method:toy", "toy.py"])
def test_a_component_is_shown_by_its_name_and_by_its_plugins(toy: Path, name: str) -> None:
    [page] = catalog.show(Registry.load([str(toy)]), name)
    assert page.doc == "A toy for tests.\n\nIt has two keys."
    assert page.keys == (
        catalog.Key("width", None, True, "Columns, >= 1."),
        catalog.Key("depth", 2, False, "Rows."),
    )
    assert page.source.startswith("class Toy:")
    assert page.entry.file is not None
    assert page.entry.file.endswith("toy.py:15")  # of equal files the first is imported
    assert page.recipe_key == "method.name"
    told = "\n".join(catalog.told_page(page, source=True))
    assert "width: required\n      Columns, >= 1." in told
    assert "depth: 2\n      Rows." in told
    assert told.endswith(page.source)


BACKBONE = f'''{HEAD}

def net(*, channels, image_size, drop_path_rate, width: int, depth: int = 2, bare=3, **rest):
    """A net.

    Args:
        channels: of the images.
        width: Features,
            >= 1.
    """


@hookimpl
def sslkit_backbones():
    return {{"net": net}}
'''


def test_a_backbones_keys_are_its_factorys_arguments(tmp_path: Path) -> None:
    registry = Registry.load([str(write(tmp_path / "net.py", BACKBONE))])
    [page] = catalog.show(registry, "backbone:net")
    assert page.keys == (
        catalog.Key("width", None, True, "Features, >= 1."),
        catalog.Key("depth", 2, False, "a whole number"),
        catalog.Key("bare", 3, False, ""),
    )
    told = "\n".join(catalog.told_page(page, source=False))
    assert "keys of backbone.args\n    width: required\n      Features, >= 1." in told


def test_a_name_of_nothing_is_told_with_the_nearest(toy: Path) -> None:
    with pytest.raises(PluginError, match=r"(?s)called 'dyno'.*did you mean 'dino'"):
        catalog.show(Registry.load(allow=""), "dyno")
    with pytest.raises(PluginError, match=r"(?s)sslkit.eval.knn is left out.*by --no-plugin"):
        catalog.show(Registry.load(blocked=["sslkit.eval.knn"], allow=""), "sslkit.eval.knn")


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_says_what_it_is_and_what_each_key_means(kind: str) -> None:
    registry = Registry.load(allow="")
    for name in registry.names(kind):
        for page in catalog.show(registry, f"{kind}:{name}"):
            assert not page.doc.startswith("It has no docstring"), name
            assert all(key.meaning for key in page.keys), name
