"""What a word means to `sslkit check`: a file, a folder, an installed plugin, a component."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_check import TRACKER, checked, package, tracker
from test_plugins import Site, method_source

from sslkit.check import check
from sslkit.conformance.sought import find, kind_of
from sslkit.errors import PluginError


def test_a_file(tmp_path: Path) -> None:
    outcome = check(str(tracker(tmp_path / "ear.py")))
    assert checked(outcome) == [("plugin", "ear.py", True), ("tracker", "ear", True)]
    assert outcome.exit_code == 0


def test_a_file_is_that_file_whatever_its_path_is_called(tmp_path: Path) -> None:
    files = [str(tracker(tmp_path / f"exp[1],{name}" / f"{name}.py", name=name)) for name in ("Ear", "Eye")]
    outcome = check(files[0], plugins=files[1:])
    assert checked(outcome) == [("plugin", "Ear.py", True), ("tracker", "ear", True)]


def test_a_file_without_py_is_not_executed(tmp_path: Path) -> None:
    (tmp_path / "ear").write_text("raise SystemExit('it was executed')")
    with pytest.raises(PluginError, match=r"'.*/ear' is .*/ear, but its name must end in \.py"):
        check(str(tmp_path / "ear"))


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The module of a package that a test makes: the next one makes another of that name."""
    yield
    sys.modules.pop("ear_plugin", None)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(("log", "conforms"), [("pass", True), ("record['loss'] + 1", False)])
def test_a_folder(tmp_path: Path, log: str, conforms: bool) -> None:
    outcome = check(str(package(tmp_path / "ear", log=log)))
    assert checked(outcome) == [("plugin", "sslkit-ear", True), ("tracker", "ear", conforms)]
    assert outcome.exit_code == (0 if conforms else 1)


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("where", ["src/ear_plugin", "ear_plugin"])
def test_a_folder_counts_as_installed_while_it_is_checked(tmp_path: Path, where: str) -> None:
    path = list(sys.path)
    with find(str(package(tmp_path / where.replace("/", "-"), where=where))) as meant:
        assert [(each.kind, each.name) for each in meant.components] == [("trackers", "ear")]
        info = meant.components[0].offer.info
        assert (info.name, info.version, info.origin) == ("sslkit-ear", "0.3", "package")
    assert sys.path == path


@pytest.mark.usefixtures("forgotten")
def test_a_name_that_is_installed_means_that_and_not_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    package(tmp_path / "sslkit-ear", log="record['loss'] + 1")
    with find("sslkit-ear") as meant:
        assert meant.components[0].offer.info.version == "0.3"
    Site(tmp_path / "site").install("sslkit-ear", "0.2", method_source("ear"), entry="ear")
    with find("sslkit-ear") as meant:
        assert meant.components[0].offer.info.version == "0.2"
    with find("./sslkit-ear") as meant:
        assert meant.components[0].offer.info.version == "0.3"


@pytest.mark.parametrize(
    ("package", "word", "log", "conforms"),
    [
        ("sslkit-fine-ear", "sslkit-fine-ear", "pass", True),
        ("sslkit-other-ear", "SSLKit_other.ear", "pass", True),
        ("sslkit-deaf-ear", "sslkit-deaf-ear", "record['loss'] + 1", False),
    ],
)
def test_an_installed_plugin_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, word: str, log: str, conforms: bool
) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "")  # who names it for a check allows it
    Site(tmp_path / "site").install(package, "1.0", TRACKER.format(name="Ear", lower="ear", log=log, width=1))
    outcome = check(word)
    assert checked(outcome) == [("plugin", word, True), ("tracker", "ear", conforms)]
    assert outcome.checked[1].plugin == package
    assert outcome.exit_code == (0 if conforms else 1)


def test_a_component_by_its_name(tmp_path: Path) -> None:
    for word in ("tensorboard", "tracker:tensorboard", "trackers:tensorboard"):
        assert checked(check(word)) == [("tracker", "tensorboard", True)]
    assert checked(check("tensorboard", kind="tracker")) == [("tracker", "tensorboard", True)]


def test_one_kind_alone(tmp_path: Path) -> None:
    path = str(tracker(tmp_path / "ear.py"))
    assert len(check(path, kind="trackers").checked) == 2
    with pytest.raises(PluginError, match=r"ear.py provides no method\n.*sslkit_methods"):
        check(path, kind="method")


@pytest.mark.parametrize(
    ("word", "kind", "words"),
    [
        ("dnio", None, ["neither a component nor a plugin called 'dnio'", "did you mean 'dino'"]),
        ("evaluator:dino", None, ["neither a evaluator"]),
        ("thing:dino", None, ["there is no kind 'thing'", "method, backbone"]),
        ("no/such.py", None, ["the plugin file 'no/such.py' does not exist"]),
        ("dino", "methd", ["there is no kind 'methd'", "did you mean 'method'"]),
    ],
)
def test_what_is_not_there_is_told_with_what_is(word: str, kind: str | None, words: list[str]) -> None:
    with pytest.raises(PluginError) as caught:
        check(word, kind=kind)
    for text in words:
        assert text in str(caught.value)


def test_a_folder_that_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"has no pyproject.toml"):
        check(str(tmp_path))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    with pytest.raises(PluginError, match=r"(?s)no entry point in the group 'sslkit'.*NAME = "):
        check(str(tmp_path))
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(PluginError, match="is not TOML"):
        check(str(tmp_path))


def test_a_folder_that_is_no_package_hides_no_component(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tensorboard", "nothing"):
        (tmp_path / name).mkdir()
    assert checked(check("tensorboard")) == [("tracker", "tensorboard", True)]
    with pytest.raises(PluginError, match=r"tensorboard has no pyproject.toml"):
        check("./tensorboard")
    with pytest.raises(PluginError, match=r"(?s)called 'nothing'.*the folder nothing is no package"):
        check("nothing")
    (tmp_path / "nothing/pyproject.toml").write_text('[project]\nname = "x"\n')
    with pytest.raises(PluginError, match=r"nothing/pyproject.toml has no entry point"):
        check("nothing")
    monkeypatch.chdir(tmp_path / "nothing")
    with pytest.raises(PluginError, match=r"pyproject.toml has no entry point"):
        check(".")


def test_kinds_in_singular_and_plural() -> None:
    assert kind_of("dataset") == kind_of("datasets") == "datasets"
