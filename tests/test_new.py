"""Every kind of new plugin, as a file and as a package, works as it is; bad names are refused."""

import json
import os
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from runs import sslkit
from test_plugins import Site

from sslkit import testing
from sslkit.core.dataset import DataSource
from sslkit.errors import PluginError
from sslkit.new import Written, new
from sslkit.plugins import Registry
from sslkit.scaffold.kinds import KINDS
from sslkit.scaffold.naming import class_name

NAMES = {
    "method": "agree",
    "backbone": "patch_net",
    "augmentation": "two_crops_with_a_hole",
    "dataset": "arrays",
    "evaluator": "nearest_mean",
    "tracker": "csv_file",
}
"""What the tests call one component of each kind; short and long names."""
RULES = "E,F,W,I,N,UP,B,C4,SIM,RET,PTH,PIE,RUF,PT"
FEW_STEPS = ("runtime.max_steps=2", "eval.evaluators.health=null", "data.workers=0")
SMALL = ("data.count=128", "data.eval_count=32")


def write(kind: str, folder: Path, *, single_file: bool) -> Written:
    return new(kind, NAMES[kind], single_file=single_file, out=folder)


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    """The standard output of a command of this environment, which must succeed."""
    tool = [sys.executable] if words[0] == "python" else [str(Path(sys.executable).with_name(str(words[0])))]
    done = subprocess.run(
        [*tool, *map(str, words[1:])],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- single files ------------------------------------------------------------------------------------------


@pytest.fixture
def file(kind: str, tmp_path: Path) -> Path:
    return write(kind, tmp_path, single_file=True).path


def loaded(file: Path) -> Registry:
    return Registry.load([str(file)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_provides_its_component_and_nothing_else(kind: str, file: Path) -> None:
    assert [path.name for path in file.parent.iterdir()] == [f"{NAMES[kind]}.py"]
    info = loaded(file).plugins[-1]
    assert (info.status, info.components) == ("loaded", {KINDS[kind].plural: [NAMES[kind]]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_is_clean(kind: str, file: Path) -> None:
    settings = ("--isolated", "--config", "line-length=110")
    order = 'lint.isort.known-first-party=["sslkit"]'
    run("ruff", "check", *settings, "--config", order, "--select", RULES, file, cwd=file.parent)
    run("ruff", "format", *settings, "--check", file, cwd=file.parent)


@pytest.mark.parametrize("kind", ["augmentation", "evaluator", "tracker"])
def test_a_single_file_conforms(kind: str, file: Path) -> None:
    component = loaded(file).get(KINDS[kind].plural, NAMES[kind])
    getattr(testing, f"check_{kind}")(component)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_the_code_of_the_single_file(kind: str, file: Path) -> None:
    """So that what holds for the one holds for the other."""
    package = write(kind, file.parent, single_file=False).path
    alone, packed = (
        path.read_text().split('"""', 2)[2].replace("import sys\n", "")
        for path in (file, package / f"src/sslkit_{NAMES[kind]}/__init__.py")
    )
    assert alone.startswith(packed.rstrip("\n"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_of_a_single_file_are_valid(kind: str, tmp_path: Path) -> None:
    written = write(kind, tmp_path, single_file=True)
    sample = [command for command in written.commands if command.startswith("python ")]
    assert bool(sample) == KINDS[kind].has_sample
    for command in sample:
        run(*shlex.split(command), cwd=tmp_path)
    (trained,) = [command for command in written.commands if "--plugin" in command]
    done = sslkit(*shlex.split(trained)[1:], "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert NAMES[kind] in done.stdout


# --- packages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_all_that_a_package_needs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written, name = write(kind, Path(), single_file=False), NAMES[kind]
    project = tomllib.loads((written.path / "pyproject.toml").read_text())["project"]
    assert project["name"] == written.path.name == f"sslkit-{name}"
    assert project["entry-points"]["sslkit"] == {name: f"sslkit_{name}"}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "py.typed"} <= {file.name for file in written.files}
    assert f"## {project['version']}" in (written.path / "CHANGELOG.md").read_text()
    readme = (written.path / "README.md").read_text()
    assert all(f"\n{command}\n" in readme for command in written.commands)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_asks_for_what_its_source_imports_in_sslkits_own_ranges(kind: str, tmp_path: Path) -> None:
    package = write(kind, tmp_path, single_file=False).path
    source = (package / f"src/sslkit_{NAMES[kind]}/__init__.py").read_text()
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    asked = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    own = {r.name: r.specifier for r in map(Requirement, requires("sslkit") or ())}
    assert asked.pop("sslkit") == Requirement("sslkit>=0.1,<1").specifier
    assert asked == {name: own[name] for name in asked}
    assert {name for name in own if f"\nimport {name}" in source or f"\nfrom {name}" in source} <= set(asked)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_clean(kind: str, tmp_path: Path) -> None:
    package = write(kind, tmp_path, single_file=False).path
    run("ruff", "check", "--extend-select", RULES, ".", cwd=package)
    run("ruff", "format", "--check", ".", cwd=package)


@pytest.mark.slow
def test_everything_is_typed(tmp_path: Path) -> None:
    files = [write(kind, tmp_path, single_file=True).path for kind in KINDS]
    packages = [write(kind, tmp_path, single_file=False).path for kind in KINDS]
    folders = [package / folder for package in packages for folder in ("src", "tests")]
    run("mypy", "--strict", "--config-file", os.devnull, *files, *folders, cwd=tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    """All six packages, which pip has installed into the folder `site` beside them."""
    folder = tmp_path_factory.mktemp("packages")
    written = {kind: write(kind, folder, single_file=False) for kind in KINDS}
    words = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site")
    run("python", "-m", "pip", "install", *words, *(each.path for each in written.values()), cwd=folder)
    return written


def beside(written: Written) -> dict[str, str]:
    """The environment in which the installed packages are seen, and this one is allowed."""
    paths = [str(written.path.parent / "site"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "SSLKIT_PLUGINS_ALLOW": written.path.name}


@pytest.mark.slow
def test_installed_packages_are_found_by_their_entry_points(installed: dict[str, Written]) -> None:
    written = installed["method"]
    names = ",".join(f"sslkit-{name}" for name in NAMES.values())
    seen = {**beside(written), "SSLKIT_PLUGINS_ALLOW": names}
    entries = json.loads(sslkit("plugins", "--json", cwd=written.path.parent, **seen).stdout)["components"]
    found = {
        (entry["kind"], entry["name"], entry["plugin"], entry["version"], entry["status"])
        for entry in entries
        if entry["origin"] == "package"
    }
    assert found == {
        (KINDS[kind].plural, name, f"sslkit-{name}", "0.1.0", "loaded") for kind, name in NAMES.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_packages_own_tests_pass(kind: str, installed: dict[str, Written]) -> None:
    written = installed[kind]
    words = ("-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist", written.path)
    assert " passed" in run("python", "-m", "pytest", *words, cwd=written.path.parent, **beside(written))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_packages_recipe_runs(kind: str, installed: dict[str, Written]) -> None:
    """For some steps; then the command that shows what it did, where that needs no run of DINO."""
    written, folder = installed[kind], installed[kind].path.parent
    recipe = next(i for i, c in enumerate(written.commands) if c.startswith("sslkit run"))
    few = FEW_STEPS if kind == "dataset" else (*FEW_STEPS, *SMALL)
    done = sslkit(*shlex.split(written.commands[recipe])[1:], *few, cwd=folder, **beside(written))
    assert done.returncode == 0, done.stderr
    ended = json.loads((folder / f"runs/{NAMES[kind]}/run.json").read_text())
    assert ended["status"] == "finished"
    assert written.path.name in [plugin["name"] for plugin in ended["plugins"]]
    for command in written.commands[recipe + 1 :]:
        words = shlex.split(command)
        if words[:2] == ["sslkit", "eval"]:
            assert sslkit(*words[1:], cwd=folder, **beside(written)).returncode == 0
        elif words[0] == "head":
            assert (folder / words[1]).read_text().count("\n") > 10


# --- names and places --------------------------------------------------------------------------------------


def test_a_class_is_called_as_its_component() -> None:
    assert [class_name(name) for name in ("simsiam", "two_crops", "v2_net")] == [
        "Simsiam",
        "TwoCrops",
        "V2Net",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("method", "SimSiam", r"no name: write small letters, digits and _, .*\n  did you mean 'simsiam'\?"),
        ("method", "my-method", r"did you mean 'my_method'\?"),
        ("method", "", "'' is no name"),
        ("method", "2fast", "a letter first"),
        ("method", "../up", r"did you mean 'up'\?"),
        ("method", "class", "Python has a word of its own"),
        ("method", "value_error", "the class ValueError"),
        ("method", "yes", "a recipe would read True"),
        ("method", "null", "a recipe would read None"),
        ("method", "dino", "the plugin sslkit.methods.dino has a method of this name"),
        ("tracker", "wandb", "the plugin sslkit.train.trackers has a tracker of this name"),
        ("backbone", "resnet18", "timm has a network of this name"),
        ("method", "tensor", "its source would hide what sslkit or torch calls Tensor"),
        ("dataset", "dataset", "calls Dataset"),
        ("colour", "x", r"(?s)no kind 'colour'.*kinds: method, backbone, augmentation, dataset, evaluator"),
        ("methods", "x", "did you mean 'method'"),
    ],
)
def test_a_name_that_cannot_work_is_refused(kind: str, name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=told):
        new(kind, name, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["csv", "torch", "sslkit"])
def test_a_file_must_not_hide_a_module(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        PluginError, match=f"(?s){name}.py would hide the module {name}.*leave out --single-file"
    ):
        new("tracker", name, single_file=True, out=tmp_path)
    assert new("tracker", name, out=tmp_path).path.is_dir()


def test_a_package_must_not_take_the_place_of_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    Site(tmp_path / "site").install("sslkit-toy-taken", "1.2", "", entry="")
    with pytest.raises(
        PluginError, match=r"(?s)in place of sslkit-toy_taken 1\.2, which is installed.*--single-file"
    ):
        new("evaluator", "toy_taken", out=tmp_path)
    assert new("evaluator", "toy_taken", single_file=True, out=tmp_path).path.is_file()


def test_a_name_is_free_again_without_the_plugin_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"--no-plugin sslkit\.methods\.dino"):
        new("method", "dino", out=tmp_path)
    assert new("method", "dino", out=tmp_path, no_plugins=["sslkit.methods.dino"]).path.is_dir()
    assert new("evaluator", "dino", single_file=True, out=tmp_path).path.is_file()  # another kind


@pytest.mark.parametrize("single_file", [True, False])
def test_what_exists_is_left_as_it_is(single_file: bool, tmp_path: Path) -> None:
    written = write("tracker", tmp_path, single_file=single_file)
    changed = written.files[0]
    changed.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PluginError, match=r"(?s)exists already.*--out DIR"):
        write("tracker", tmp_path, single_file=single_file)
    assert changed.read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_is_made_and_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    assert write("tracker", tmp_path / "new/folder", single_file=True).path.is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(PluginError, match="file is a file, not a folder"):
        write("tracker", tmp_path / "file", single_file=True)
    with pytest.raises(PluginError, match=r"(?s)file/sub cannot be made: .*--out DIR"):
        write("tracker", tmp_path / "file/sub", single_file=True)


def test_the_sample_of_a_package_is_what_its_source_writes(tmp_path: Path) -> None:
    written = write("dataset", tmp_path, single_file=False)
    alone = write("dataset", tmp_path, single_file=True)
    dataset = loaded(alone.path).get("datasets", NAMES["dataset"])
    opened = dataset(dataset.Config(), DataSource(written.path / "sample", "train"))
    assert (len(opened), opened.classes) == (512, ("class 0", "class 1", "class 2"))
    assert opened[1].image.shape == (24, 24, 3)


@pytest.mark.parametrize("single_file", [True, False])
def test_the_last_lines_are_the_commands(single_file: bool, tmp_path: Path) -> None:
    written = write("method", tmp_path, single_file=single_file)
    told = list(written.told())
    assert told[-len(written.commands) :] == [f"  {command}" for command in written.commands]
    verbs = [" ".join(command.split()[:2]) for command in written.commands]
    common = ["sslkit check", "sslkit run", "sslkit run", "sslkit compare"]
    assert verbs == (common if single_file else ["pip install", f"pytest {written.path}", *common])


@pytest.mark.parametrize("kind", ["method", "backbone", "augmentation"])
def test_the_runs_that_are_compared_are_those_of_the_commands(kind: str, tmp_path: Path) -> None:
    commands = [command.split() for command in write(kind, tmp_path, single_file=True).commands]
    runs = [f"runs/{w.removeprefix('name=')}" for c in commands for w in c if w.startswith("name=")]
    assert commands[-1] == ["sslkit", "compare", *runs]


@pytest.mark.parametrize("single_file", [True, False])
def test_commands_hold_for_a_folder_with_blanks_in_its_name(single_file: bool, tmp_path: Path) -> None:
    written = write("dataset", tmp_path / "my own", single_file=single_file)
    words = [word for command in written.commands for word in shlex.split(command)]
    assert (
        [word for word in words if "my" in word]
        == [word for word in words if str(written.path) in word]
        != []
    )


def test_the_command_line_writes_it(tmp_path: Path) -> None:
    done = sslkit("new", "tracker", "csv_file", "--single-file", "--out", "plugins", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plugins/csv_file.py").is_file()
    assert done.stdout.splitlines()[0] == "written: plugins/csv_file.py"
    done = sslkit("new", "tracker", "csv_file", "--single-file", "--out", "plugins", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists already" in done.stderr
