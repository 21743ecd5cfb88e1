"""The door and the command: errors, marks, files, what is printed, and two real runs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hand_runs import KNN, at, climbing, cost, names, write_run
from PIL import Image
from runs import make_photos, sslkit, tiny_recipe
from typer.testing import CliRunner

import sslkit as package
from sslkit.cli import app
from sslkit.compare import Comparison, as_record, compare, markdown, save, show
from sslkit.errors import RecipeError, RunError

# --- what is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"status": "stopped"}, "stopped at step 40"),
        ({"status": "running"}, "running at step 40"),
        ({"status": "failed"}, "failed at step 40"),
        (
            {"more": [{"kind": "health", "step": 30, "verdict": "uniform collapse"}]},
            "uniform collapse at step 30",
        ),
    ],
)
def test_what_did_not_go_well_is_marked(change: dict[str, Any], mark: str, tmp_path: Path) -> None:
    healthy = [{"kind": "health", "step": 40, "verdict": "healthy"}]
    a = write_run(tmp_path / "a-0", more=healthy)
    found = compare([a, write_run(tmp_path / "b-0", optim__lr=0.2, **change)])
    assert [group.marks for group in found.groups] == [{}, {"b-0": mark}]
    page = markdown(found)
    assert f"- b-0: {mark}" in page
    assert "| b * |" in page
    assert "| a |" in page


def test_a_run_without_its_record_has_no_status(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a")
    (a / "run.json").unlink()
    assert compare([a, write_run(tmp_path / "b", seed=1)]).groups[0].marks == {
        "a": "status unknown at step 40"
    }


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good")

    def told(*runs: Path, kind: type[Exception] = RunError) -> str:
        with pytest.raises(kind) as error:
            compare(runs)
        return str(error.value)

    assert "only " in told(good)
    assert "needs two runs" in told(good)
    assert "no run is given" in told()
    assert "given twice" in told(good, tmp_path / "x" / ".." / "good")
    assert "is no folder" in told(good, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no run directory (it has no recipe.yaml)" in told(good, tmp_path / "empty")
    new = write_run(tmp_path / "new")
    (new / "metrics.jsonl").unlink()
    assert "no metrics yet" in told(good, new)
    (new / "metrics.jsonl").write_text('{"kind": "health", "step": 0, "verdict": "healthy"}\n')
    assert "no metrics yet" in told(good, new)
    (new / "recipe.yaml").write_text("method: {name: dino}\n")
    assert "lacks backbone, augment" in told(good, new)
    (new / "recipe.yaml").write_text("a: [\n")
    assert "line" in told(good, new, kind=RecipeError)
    (new / "recipe.yaml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in told(good, new)


# --- what is written and printed ---------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Comparison:
    a = [write_run(tmp_path / f"a-{i}", evals=climbing(0, 20 + i, 40), seed=i) for i in range(2)]
    return compare([*a, write_run(tmp_path / "b", optim__lr=0.2, status="stopped")])


def test_files(three: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = save(three)
    wanted = ["table.md", "table.csv", "comparison.json", "comparison.png"]
    assert files == [Path("comparison") / name for name in wanted]
    assert sorted(p.name for p in Path("comparison").iterdir()) == sorted(wanted)
    assert save(three)[0] == Path("comparison-2/table.md")
    with pytest.raises(RunError, match="choose a different --out"):
        save(three, "comparison")
    rows = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert [(row["group"], row["seeds"], row["marks"]) for row in rows] == [
        ("a", "2", ""),
        ("b", "1", "b: stopped at step 40"),
    ]
    assert float(rows[0]["knn.top1_k10/end mean"]) == 0.4
    assert rows[1]["knn.top1_k10/end sd"] == ""
    with Image.open(files[3]) as image:
        assert image.width > 1000
    record = json.loads(files[2].read_text())
    assert record == json.loads(json.dumps(as_record(three)))


def test_the_record_has_everything(three: Comparison) -> None:
    record = as_record(three)
    a = record["groups"][0]
    assert a["metrics"][KNN]["end"] == {"mean": 0.4, "sd": 0.0, "values": [0.4, 0.4], "steps": [40, 40]}
    assert a["cost"]["images"]["values"] == [400, 400]
    assert [p["step"] for p in a["runs"][1]["curves"][KNN]] == [0, 21, 40]
    assert record["settings"]["shared"] == [
        {"key": "optim.lr", "values": {"a": 0.1, "b": 0.2}, "changes_evaluation": False}
    ]
    assert record["groups"][1]["runs"][0]["status"] == "stopped"


def test_many_groups_fit_into_a_hundred_columns(tmp_path: Path) -> None:
    names = ("supervised", "simclr", "mocov2", "mocov3", "byol", "patch", "dino", "another", "one_more")
    runs = [
        write_run(tmp_path / name, method={"name": name, "key": "long " * 9}, optim__lr=0.1234567 * (i + 1))
        for i, name in enumerate(names)
    ]
    out = io.StringIO()
    show(compare(runs), out)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in out.getvalue()
    assert sum("optim.lr" in line for line in lines) > 1
    for i, name in enumerate(names):
        assert f"{0.1234567 * (i + 1)}"[:9] in out.getvalue()
        assert sum(line.split()[:1] == [name] for line in lines) == 2, name


def test_nothing_evaluated_is_compared_by_cost(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, evals={40: {"a": None}}, seed=i) for i, name in enumerate("ab")]
    found = compare(runs)
    assert found.metrics == ()
    assert [path.name for path in save(found, tmp_path / "out")] == [
        "table.md",
        "table.csv",
        "comparison.json",
    ]


def test_json_is_all_that_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", optim__lr=0.2)
    done = CliRunner().invoke(app, ["compare", "a", "b", "--json", "--metric", KNN, "--out", "j"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((tmp_path / "j/comparison.json").read_text())
    wrong = CliRunner().invoke(app, ["compare", "a"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: only a is given")
    assert not (tmp_path / "comparison").exists()


@pytest.mark.slow
def test_the_command_prints_what_any_terminal_can(tmp_path: Path) -> None:
    write_run(tmp_path / "a-0")
    write_run(tmp_path / "a-1", seed=1)
    write_run(tmp_path / "b", optim__lr=0.2)
    done = sslkit("compare", "a-0", "a-1", "b", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    parts = ("Shared settings that differ", KNN, "0.500 +- 0.000", "Cost", "written: comparison/table.md, ")
    places = [done.stdout.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.slow
def test_two_real_runs(tmp_path: Path) -> None:
    recipe = tiny_recipe(make_photos(tmp_path / "photos"))
    runs = [tmp_path / f"tiny-{seed}" for seed in range(2)]
    for seed, run in enumerate(runs):
        package.run(recipe, [f"seed={seed}"], out=run, quiet=True)
    found = compare(runs)
    assert names(found) == ["dino"]
    assert found.groups[0].marks == {}
    assert found.metrics == ("knn.top1_k3",)
    record = json.loads((runs[0] / "run.json").read_text())
    assert at(found, "end", "knn.top1_k3")[0][0] == record["metrics"]["knn/top1_k3"]
    assert cost(found, "steps")[0] == (record["step"], record["step"])
    assert all(20 < value < 10_000 for value in cost(found, "memory_mib")[0] if value is not None)
    assert None not in (*cost(found, "memory_mib")[0], *cost(found, "minutes")[0])
