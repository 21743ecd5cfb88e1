"""A recipe that states what it reaches: inside, outside or missing, what differs here, and the command."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from hand_runs import climbing, knn, write_run
from runs import lines, make_photos, tiny_recipe
from typer.testing import CliRunner, Result

from sslkit.cli import app
from sslkit.comparison.reading import read_run
from sslkit.errors import RecipeError, RunError
from sslkit.recipe.load import load_recipe
from sslkit.recipe.schema import ExpectSection
from sslkit.reproduce import Reproduction, judge, reproduce

KNN = "knn.top1_k10"
STOPPER = """
import os, signal
from sslkit.hookspecs import hookimpl

@hookimpl
def sslkit_step_finished(progress, output):
    if progress.step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
"""


def judged(
    path: Path, metrics: dict[str, list[float]], *, stopped: int | None = None, **more: Any
) -> Reproduction:
    return judge(read_run(path), ExpectSection(metrics=metrics, **more), stopped)


# --- inside, outside, missing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "verdict", "code"),
    [
        ([0.4, 0.6], "inside", 0),
        ([0.5, 0.5], "inside", 0),
        ([0.501, 0.6], "outside", 1),
        ([0.3, 0.499], "outside", 1),
    ],
)
def test_the_last_value_counts_and_both_ends_are_inside(
    tmp_path: Path, band: list[float], verdict: str, code: int
) -> None:
    found = judged(write_run(tmp_path / "a"), {KNN: band})
    assert [(f.value, f.verdict, f.inside) for f in found.findings] == [(0.5, verdict, code == 0)]
    assert found.exit_code == code
    assert found.status == ("not reproduced" if code else "reproduced")


def test_one_outside_is_enough(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "a", evals={0: {"a": 0.0}, 40: {"a": 0.1, "b": 0.9}})
    assert judged(run_dir, {"knn.a": [0, 0.2], "knn.b": [0.8, 1]}).exit_code == 0
    assert judged(run_dir, {"knn.a": [0, 0.2], "knn.b": [0.8, 0.85]}).exit_code == 1


def test_what_was_not_measured_at_the_end_or_is_not_finite_is_missing(tmp_path: Path) -> None:
    broken = write_run(tmp_path / "nan", evals={0: {"top1_k10": 0.5}, 40: {"top1_k10": None, "other": 1.0}})
    early = write_run(tmp_path / "early", evals=climbing(0, 20))
    for run_dir in (broken, early):
        found = judged(run_dir, {KNN: [0, 1]})
        assert [(f.value, f.verdict) for f in found.findings] == [(None, "missing")]
        assert found.exit_code == 1
    told = list(judged(broken, {"knn.othe": [0, 1]}).told())
    assert told[0] == "not reproduced  knn.othe -   expected 0 to 1   missing"
    assert told[1].startswith(
        "knn.othe has no finite value at the end of the run\n  did you mean 'knn.other'?"
    )
    assert "measured: knn.other" in told[1]


def test_what_was_measured_on_other_images_does_not_count(tmp_path: Path) -> None:
    elsewhere = [knn(40, {"top1_k10": 0.9}, dataset="photos/val"), knn(40, {"top1_k10": 0.8})]
    found = judged(write_run(tmp_path / "a", more=elsewhere), {KNN: [0.4, 0.6]})
    assert found.findings[0].value == 0.5


# --- what differs here -------------------------------------------------------------------------------------


def test_versions_and_the_seed_that_differ_are_told(tmp_path: Path) -> None:
    torch = version("torch")
    run_dir = write_run(tmp_path / "a", seed=5, record={"precision": "float32", "threads": 2})
    versions = {"torch": "0.1", "no-such-package": "3", "timm": version("timm")}
    found = judged(run_dir, {KNN: [0, 1]}, seeds=[0, 1], hardware="2 CPU cores", versions=versions)
    assert list(found.told()) == [
        "reproduced  knn.top1_k10 0.5000   expected 0 to 1   inside",
        "expected from seeds 0, 1 on 2 CPU cores",
        "this run had seed 5 on cpu, 2 threads, float32",
        f"differs here: torch {torch} (0.1 gave the bands)",
        "differs here: no-such-package is not installed (3 gave the bands)",
        "differs here: seed 5 is not among those that gave the bands, which are for any seed",
    ]
    assert found.exit_code == 0


def test_nothing_differs_where_all_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, info = write_run(tmp_path / "a", seed=1), tmp_path / "site" / "toy_build-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-build\nVersion: 2.0+cpu\n")
    monkeypatch.syspath_prepend(tmp_path / "site")

    def differing(wanted: str) -> tuple[str, ...]:
        return judged(run_dir, {KNN: [0, 1]}, seeds=[1], versions={"toy-build": wanted}).differs

    assert differing("2.0") == differing("2.0+cpu") == ()
    assert differing("2.0+cu130") == ("toy-build 2.0+cpu (2.0+cu130 gave the bands)",)
    assert differing("2") == ("toy-build 2.0+cpu (2 gave the bands)",)


def test_the_lines_stand_below_each_other(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "a", evals={0: {"a": 0.0}, 40: {"a": 0.12345, "longer": 12.0}})
    told = list(judged(run_dir, {"knn.a": [0.1, 0.2], "knn.longer": [1, 2.5]}, seeds=[3]).told())
    assert told[:3] == [
        "not reproduced  knn.a 0.1235       expected 0.1 to 0.2   inside",
        "                knn.longer 12.00   expected 1 to 2.5     outside",
        "expected from seed 3",
    ]


def test_a_stopped_run_is_not_compared(tmp_path: Path) -> None:
    found = judged(write_run(tmp_path / "a b"), {KNN: [0, 0.1]}, stopped=143)
    assert (found.status, found.exit_code, found.findings) == ("stopped", 143, ())
    assert list(found.told())[1] == f"  to go on: sslkit reproduce '{tmp_path}/a b' --resume"


# --- real runs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe file with bands, a variant that changes what is measured, and one that states its own."""
    folder = tmp_path_factory.mktemp("reproduce")
    recipe = tiny_recipe(
        make_photos(folder / "photos"),
        optim={"batch_size": 4, "epochs": 1, "warmup_epochs": 0},
        eval={"every_epochs": None},
        expect={"seeds": [0, 1], "hardware": "a desk", "metrics": {"knn.top1_k3": [0.0, 1.0]}},
        variants={
            "longer": {"optim.epochs": 2},
            "own": {"optim.epochs": 2, "expect": {"metrics": {"knn.top1_k3": [1.5, 2.0]}}},
        },
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["reproduce", *map(str, words)])


@pytest.fixture(scope="module")
def done(folder: Path) -> Result:
    return invoke(folder / "tiny.yaml", "seed=7", "--out", folder / "a")


def test_the_command_runs_and_tells(done: Result, folder: Path) -> None:
    assert done.exit_code == 0, done.output
    value = lines(folder / "a", "eval")[-1]["metrics"]["top1_k3"]
    told = done.stdout.splitlines()
    assert "· tiny" in told[0]
    assert told[-4:] == [
        f"reproduced  knn.top1_k3 {value:#.4g}   expected 0 to 1   inside",
        "expected from seeds 0, 1 on a desk",
        "this run had seed 7 on cpu, 1 thread, float32",
        "differs here: seed 7 is not among those that gave the bands, which are for any seed",
    ]
    kept = load_recipe(folder / "a/recipe.yaml").recipe.expect
    assert kept == load_recipe(folder / "tiny.yaml").recipe.expect


def test_a_run_is_held_to_the_bands_that_are_given_now(done: Result, folder: Path) -> None:
    resume = (folder / "a", "--resume", "--json", "expect.metrics={knn.top1_k3: [1.5, 2]}")
    again = invoke(*resume, "expect.versions={torch: '0.1'}")
    assert again.exit_code == 1, again.output
    found = json.loads(again.stdout)
    value = lines(folder / "a", "eval")[-1]["metrics"]["top1_k3"]
    finding = {"metric": "knn.top1_k3", "value": value, "low": 1.5, "high": 2.0, "verdict": "outside"}
    assert found["findings"] == [finding]
    assert (found["status"], found["exit_code"], found["run_dir"]) == ("not reproduced", 1, str(folder / "a"))
    assert found["differs"][0] == f"torch {version('torch')} (0.1 gave the bands)"
    assert found["expected"]["hardware"] == "a desk"
    assert load_recipe(folder / "a/recipe.yaml").recipe.expect.metrics == {"knn.top1_k3": [1.5, 2.0]}


@pytest.mark.slow
def test_a_signal_stops_it_and_it_goes_on(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "stopper.py").write_text(STOPPER)
    out = tmp_path / "run"
    stopper = [str(tmp_path / "stopper.py")]
    found = reproduce(folder / "tiny.yaml", variant="own", plugins=stopper, out=out, quiet=True)
    assert (found.status, found.exit_code) == ("stopped", 143)
    assert list(found.told()) == [
        "stopped: bands are for the end of a run, so nothing is compared yet",
        f"  to go on: sslkit reproduce {out} --resume",
    ]
    assert lines(out, "step")[-1]["epoch"] == 0
    again = reproduce(out, resume=True, quiet=True)
    assert lines(out, "step")[-1]["epoch"] == 1
    assert (again.status, again.exit_code) == ("not reproduced", 1)
    assert (again.findings[0].high, again.expected.seeds) == (2.0, [])


# --- nothing to reproduce ----------------------------------------------------------------------------------


def refused(recipe: Any, *words: str, **how: Any) -> str:
    with pytest.raises(RecipeError) as error:
        reproduce(recipe, words, **how)
    return str(error.value)


def test_without_bands_nothing_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = folder / "tiny.yaml"
    assert refused(recipe, "optim.epochs=3", "seed=1") == (
        f"the bands of {recipe} are for the recipe as it is written, not for optim.epochs=3 seed=1\n"
        "  leave out what changes a result; seed, device and threads may be changed\n"
        "  to state some: expect: {metrics: {knn.top1_k10: [0.90, 0.96]}} in the recipe (docs/reproduce.md)"
    )
    assert refused(recipe, variant="longer").startswith(
        f"{recipe}, variant longer, states no bands that its metrics are expected in\n"
        "  variants with bands: own, none\n  to state some: "
    )
    bare = refused(tiny_recipe(folder / "photos"))
    assert bare.startswith("the recipe states no bands that its metrics are expected in\n  to state some: ")
    with pytest.raises(RunError, match="no run directory"):
        reproduce(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_command_without_bands_is_an_error_for_the_user(folder: Path) -> None:
    wrong = invoke(folder / "tiny.yaml", "--variant", "longer", "--json")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(f"error: {folder / 'tiny.yaml'}, variant longer, states no bands")


def test_the_command_has_help_with_examples() -> None:
    told = invoke("--help").stdout
    assert "sslkit reproduce dino_pocket --variant nano seed=5" in told
    assert "--resume" in told
