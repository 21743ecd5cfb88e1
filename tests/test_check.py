"""`sslkit check`: whatever names a component, it is found, checked and told."""

import json
from pathlib import Path
from typing import Any

import pytest
from runs import make_photos, sslkit
from test_plugins import Site

from sslkit.check import Outcome, check
from sslkit.errors import PluginError, RecipeError

TRACKER = '''
from dataclasses import dataclass
from sslkit import Tracker, hookimpl

SSLKIT_API = "1"


@dataclass
class {name}Config:
    """Its settings."""

    width: int = 1
    """Some number."""


class {name}(Tracker):
    Config = {name}Config

    def __init__(self, config, run_dir, name):
        assert config.width == {width}, f"width is {{config.width}}"

    def log(self, record):
        {log}


@hookimpl
def sslkit_trackers():
    return {{"{lower}": {name}}}
'''
WATCHER = """
from sslkit import hookimpl


@hookimpl
def sslkit_step_finished(progress, output):
    {body}
"""


def tracker(path: Path, name: str = "Ear", *, log: str = "pass", width: int = 1) -> Path:
    """A one-file plugin with a tracker, which takes milliseconds to check."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TRACKER.format(name=name, lower=name.lower(), log=log, width=width))
    return path


def package(folder: Path, *, where: str = "src/ear_plugin", **how: Any) -> Path:
    """A package that is not installed, in a folder."""
    tracker(folder / where / "__init__.py", **how)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "sslkit-ear"\nversion = "0.3"\ndependencies = ["sslkit>=0.1,<1"]\n'
        '[project.entry-points.sslkit]\near = "ear_plugin"\n'
    )
    return folder


def checked(outcome: Outcome) -> list[tuple[str, str, bool]]:
    return [(each.kind, each.name, each.conforms) for each in outcome.checked]


# --- what is found -----------------------------------------------------------------------------------------


def test_a_failure_is_told_with_its_place_and_the_exit_code_is_1(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tracker(tmp_path / "ear.py", log="record['loss'] + 1")
    outcome = check(str(path), say=lines.append)
    assert outcome.exit_code == 1
    text = "\n".join(lines)
    assert "tracker ear, of ear.py" in text
    assert "  FAILED   it hears a run\n           raised KeyError: 'loss' (at ear.py, line" in text
    assert "ear does not conform: 1 of 3 checks failed" in text


def test_a_plugin_that_does_not_load_is_a_finding_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "ear.py").write_text("import sslkit\n\nimport not_there\n")
    outcome = check(str(tmp_path / "ear.py"))
    assert outcome.exit_code == 1
    (finding,) = outcome.checked[0].findings
    assert (finding.check, finding.status) == ("it_loads", "failed")
    assert "not_there" in finding.told
    assert "ear.py, line 3" in finding.told


def test_a_name_that_somebody_has_is_a_finding(tmp_path: Path) -> None:
    source = "from sslkit.hookspecs import hookimpl\nfrom sslkit.nn.pocket import conv_pocket\n"
    hook = "\n\n@hookimpl\ndef sslkit_backbones():\n    return {'resnet18': conv_pocket}\n"
    (tmp_path / "rival.py").write_text(source + hook)
    outcome = check(str(tmp_path / "rival.py"))
    first = outcome.checked[1].findings[0]
    assert (first.check, first.status) == ("its_name_is_free", "failed")
    assert "both timm and the plugin rival.py" in first.told
    assert outcome.exit_code == 1


def test_a_package_that_does_not_load_is_a_finding_with_its_line(tmp_path: Path) -> None:
    folder = package(tmp_path / "broken", where="src/ear_plugin")
    (folder / "src/ear_plugin/__init__.py").write_text("\nimport not_there\n")
    outcome = check(str(folder))
    assert outcome.exit_code == 1
    (finding,) = outcome.checked[0].findings
    assert "No module named 'not_there'" in finding.told
    assert "line 2" in finding.told


def test_a_hook_that_does_not_exist_is_a_finding(tmp_path: Path) -> None:
    path = tracker(tmp_path / "ear.py")
    path.write_text(path.read_text().replace("def sslkit_trackers", "def sslkit_tracker"))
    (finding,) = check(str(path)).checked[0].findings
    assert finding.status == "failed"
    assert "did you mean 'sslkit_trackers'" in finding.told


def test_a_plugin_that_names_no_version_of_the_hooks_is_told_so(tmp_path: Path) -> None:
    path = tracker(tmp_path / "ear.py")
    path.write_text(path.read_text().replace('SSLKIT_API = "1"', ""))
    (finding,) = check(str(path)).checked[0].findings
    assert (finding.status, 'SSLKIT_API = "1"' in finding.told) == ("passed", True)


def test_watching_hooks_hear_a_real_run(tmp_path: Path) -> None:
    (tmp_path / "fine.py").write_text(WATCHER.format(body="assert progress.step < 4"))
    (tmp_path / "broken.py").write_text(WATCHER.format(body="assert progress.step < 3, 'too long'"))
    fine, broken = (check(str(tmp_path / name)).checked[0].findings[-1] for name in ("fine.py", "broken.py"))
    assert (fine.check, fine.status, fine.told) == ("watching_hooks_hear_a_run", "passed", "")
    assert broken.status == "failed"
    assert "failed in sslkit_step_finished" in broken.told
    assert "too long" in broken.told


def test_a_data_set_without_data_is_not_checked_and_with_data_is(tmp_path: Path) -> None:
    lines: list[str] = []
    outcome = check("folder", say=lines.append)
    assert (outcome.exit_code, outcome.checked[0].conforms) == (1, False)  # as `check_dataset` raises
    assert "data.root=DIR" in "\n".join(lines)
    assert lines[-1].startswith("folder: nothing of what it does could be checked")
    photos = make_photos(tmp_path / "photos")
    outcome = check("folder", [f"data.root={photos}", "data.split=", "data.suffixes=[.png]"])
    assert outcome.exit_code == 0
    assert {finding.status for finding in outcome.checked[0].findings} == {"passed"}


BAD_CONFIGS = """

@dataclass
class UnresolvedConfig:
    \"\"\"Its settings.\"\"\"

    path: "Pathh" = None
    \"\"\"Where.\"\"\"


@dataclass
class RaisingConfig(EarConfig):
    \"\"\"Its settings.\"\"\"

    @classmethod
    def for_checks(cls):
        raise ZeroDivisionError("for checks")


class Unresolved(Ear):
    Config = UnresolvedConfig


class Raising(Ear):
    Config = RaisingConfig


@hookimpl
def sslkit_trackers():
    return {"unresolved": Unresolved, "raising": Raising, "ear": Ear}
"""


def test_a_configuration_that_cannot_be_made_is_a_finding_and_the_others_are_checked(tmp_path: Path) -> None:
    path = tracker(tmp_path / "ear.py")
    path.write_text(path.read_text().partition("\n\n@hookimpl")[0] + BAD_CONFIGS)
    outcome = check(str(path), ["width=1"])
    found = {each.name: {f.check: f for f in each.findings} for each in outcome.checked}
    assert checked(outcome)[1:] == [
        ("tracker", "ear", True),
        ("tracker", "raising", False),
        ("tracker", "unresolved", False),
    ]
    assert "'Pathh' is not defined" in found["unresolved"]["config_is_typed_and_documented"].told
    told = found["raising"]["it_is_built"].told
    assert told.startswith(
        "its configuration cannot be made: raised ZeroDivisionError: for checks (at ear.py,"
    )


# --- what is said beside the name --------------------------------------------------------------------------


def test_settings_of_the_component(tmp_path: Path) -> None:
    path = str(tracker(tmp_path / "ear.py", width=7))
    assert check(path).exit_code == 1
    assert check(path, ["width=7"]).exit_code == 0
    with pytest.raises(
        RecipeError, match=r"(?s)there is no key 'widht'.*did you mean 'width'.*keys of ear: width"
    ):
        check(path, ["widht=7"])
    with pytest.raises(RecipeError, match="'width' is 'seven', but must be a whole number"):
        check(path, ["width=seven"])


BACKBONE = """
from sslkit import hookimpl
from sslkit.nn.pocket import vit_pocket


@hookimpl
def sslkit_backbones():
    return {"theirs": vit_pocket}
"""


def test_what_is_named_beside_may_be_of_another_plugin_that_the_user_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "sslkit-theirs")
    Site(tmp_path / "site").install("sslkit-theirs", "1.0", BACKBONE)
    path = str(tracker(tmp_path / "ear.py"))
    assert check(path, ["backbone.name=theirs", "augment.name=patches"]).exit_code == 0
    assert check(path, ["backbone.name=resnet18"]).exit_code == 0  # timm's
    with pytest.raises(PluginError, match=r"(?s)'backbone.name' is 'their'.*did you mean 'theirs'"):
        check(path, ["backbone.name=their"])
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "")
    with pytest.raises(PluginError, match=r"sslkit-theirs is not loaded \(not allowed\)"):
        check(path, ["backbone.name=theirs"])


def test_a_plugin_can_be_left_out(tmp_path: Path) -> None:
    rival = str(tracker(tmp_path / "rival.py", name="Tensorboard"))
    with pytest.raises(PluginError, match=r"leave one out: .*--no-plugin rival.py"):
        check("tensorboard", plugins=[rival])
    assert checked(check("tensorboard", plugins=[rival], no_plugins=["sslkit.train.trackers"])) == [
        ("tracker", "tensorboard", True)
    ]
    with pytest.raises(PluginError, match=r"there is no plugin 'rivals.py' to leave out"):
        check(rival, no_plugins=["rivals.py"])


METHOD = '''
from dataclasses import dataclass
from sslkit import Method, StepOutput, hookimpl
from sslkit.errors import RecipeError
from sslkit.nn.pocket import vit_pocket


@dataclass
class PickyConfig:
    """No settings."""


class Picky(Method):
    Config = PickyConfig

    def __init__(self, config, setup):
        super().__init__()
        self.backbone = setup.backbone()
        if self.backbone.embed_dim != 24:
            raise RecipeError("it works with the backbone 'own' alone")

    @property
    def encoder(self):
        return self.backbone

    def forward(self, views, progress):
        if len(views.global_views) != {views}:
            raise RecipeError("it needs {views} global views")
        features = self.backbone(views.global_views.flatten(0, 1))
        return StepOutput(features.square().mean())


def own(*, depth=1, **common):
    return vit_pocket(embed_dim=24, num_heads=2, depth=depth, patch_size=8, **common)


@hookimpl
def sslkit_methods():
    return {{"picky": Picky}}


@hookimpl
def sslkit_backbones():
    return {{"own": own}}
'''


@pytest.mark.slow
def test_a_method_is_checked_with_the_backbone_of_its_plugin_where_it_refuses_others(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(METHOD.format(views=2))
    outcome = check(str(tmp_path / "picky.py"), kind="method")
    assert outcome.exit_code == 0
    # also where the backbone's kind was not asked for
    where = {finding.where for finding in outcome.checked[1].findings if finding.status == "passed"}
    assert {"its backbone, no local views", "its backbone, 2 local views"} <= where


@pytest.mark.slow
def test_a_method_is_checked_with_the_backbone_and_the_views_that_are_named(tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(METHOD.format(views=3))
    words = ["backbone.name=own", "backbone.args.depth=2", "augment.name=patches", "augment.size=16"]
    outcome = check(str(tmp_path / "picky.py"), words, kind="method")
    found = outcome.checked[1].findings
    assert outcome.exit_code == 0
    assert {finding.where for finding in found if finding.check == "resume_is_exact"} == {
        "its backbone, views of patches"
    }


# --- the command -------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    tracker(tmp_path / "ear.py")
    done = sslkit("check", "ear.py", "--no-plugin", "sslkit.eval.knn", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ear conforms: 9 checks passed" in done.stdout
    tracker(tmp_path / "ear.py", log="print('heard'); record['loss'] + 1")
    done = sslkit("check", "ear.py", "--json", cwd=tmp_path)
    assert done.returncode == 1
    record = json.loads(done.stdout)
    assert (record["exit_code"], record["components"][1]["conforms"]) == (1, False)
    done = sslkit("check", "eer.py", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the plugin file 'eer.py' does not exist")
