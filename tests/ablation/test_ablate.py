"""The door and the command: what a person types, what is refused, what is written."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ablation.studies import small_study
from hand_runs import write_run
from typer.testing import CliRunner

from sslkit.ablate import build_executor, save, told_plan
from sslkit.ablation.places import Places
from sslkit.ablation.result import read_result
from sslkit.ablation.running import alone, write_recipes
from sslkit.ablation.study import as_yaml, read_study
from sslkit.ablation.words import read_options, read_seeds
from sslkit.cli import app
from sslkit.core.executor import Resources
from sslkit.errors import SslkitError
from sslkit.plugins import Registry

ARMS: dict[str, Any] = {"sharp": {"method.teacher_temperature": 0.02}}


def lines_of(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["ablate", *words])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("text", "seeds"), [("0,1,2", [0, 1, 2]), ("0-3", [0, 1, 2, 3]), ("7", [7]), ("0-1, 5", [0, 1, 5])]
)
def test_seeds_are_numbers_or_ranges(text: str, seeds: list[int]) -> None:
    assert read_seeds(text) == seeds


def test_seeds_that_are_neither_are_told() -> None:
    with pytest.raises(SslkitError, match=r"--seeds is 'a-b', but must be numbers such as 0,1,2"):
        read_seeds("a-b")
    with pytest.raises(SslkitError, match=r"--seeds is '4-2', but '4-2' ends before it begins"):
        read_seeds("4-2")


def test_a_study_without_a_name_is_called_by_its_file(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    study.write_text(study.read_text().replace("name: small\n", ""))
    assert read_study(study.rename(tmp_path / "my study.yaml")).name == "my_study"


def test_options_are_read_as_yaml() -> None:
    assert read_options(["partition=gpu", "minutes=600", "x=null"]) == {
        "partition": "gpu",
        "minutes": 600,
        "x": None,
    }
    with pytest.raises(SslkitError, match="'partition' is not of the form KEY=VALUE"):
        read_options(["partition"])


def test_an_executor_is_found_by_name_and_its_keys_are_typed(tmp_path: Path) -> None:
    registry, resources = Registry.load(), Resources(None, tmp_path)
    with pytest.raises(SslkitError, match=r"'locl'.*\n.*did you mean 'local'"):
        build_executor(registry, "locl", {}, resources)
    with pytest.raises(
        SslkitError, match=r"no key 'thread' \(given on the command line\)\n.*did you mean 'threads'"
    ):
        build_executor(registry, "local", {"thread": 1}, resources)


def test_a_dry_run_tells_arms_differences_and_time_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = small_study(tmp_path, ARMS, seeds=(0, 1))
    before = sorted(tmp_path.rglob("*"))
    code, output = lines_of(tmp_path, str(study), "--dry-run", "--jobs", "2")
    assert code == 0
    assert "arm       sharp: method.teacher_temperature 0.04 → 0.02" in output
    assert re.search(r"tried     baseline: \d+ steps of \d+ ms, \d evaluations", output)
    assert "4 runs, 2 at a time on this machine: about" in output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_counts_what_is_due_as_the_executor_would_begin_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = small_study(tmp_path, ARMS, seeds=(0, 1)), tmp_path / "out"
    (out / "jobs").mkdir(parents=True)
    (out / "jobs/.study.lock").touch()
    write_run(out / "runs/baseline-0")
    write_run(out / "runs/sharp-0", status="failed")
    write_run(out / "runs/sharp-1", status="stopped")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    told = "\n".join(told_plan(study, ["runtime.device=cpu"], out=out))
    assert "2 runs (2 over already), 2 at a time on this machine: about" in told
    told = "\n".join(told_plan(study, ["runtime.device=cpu"], out=out, retry_failed=True))
    assert "3 runs (1 over already), 3 at a time on this machine: about" in told
    told = "\n".join(told_plan(study, ["runtime.device=cpu"], executor="slurm"))
    assert "4 runs, as many at a time as slurm has room for; one after another on this machine: about" in told


def test_a_dry_run_checks_all_that_a_run_would_be_given(tmp_path: Path) -> None:
    study = str(small_study(tmp_path, ARMS))
    wrong = {
        ("--executor", "slurmm"): "did you mean 'slurm'",
        ("--option", "thread=2"): "did you mean 'threads'",
        ("--out", study): "is a file",
    }
    for words, told in wrong.items():
        code, output = lines_of(tmp_path, study, "--dry-run", *words)
        assert code == 2
        assert told in output


def test_an_arm_that_cannot_run_is_named_in_a_dry_run(tmp_path: Path) -> None:
    code, output = lines_of(
        tmp_path, str(small_study(tmp_path, {"huge": {"optim.batch_size": 500}})), "--dry-run"
    )
    assert code == 2
    assert "error: arm huge: " in output


def test_a_metric_that_the_evaluator_does_not_give_is_told_before_anything_runs(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    study.write_text(study.read_text().replace("top1_k3", "top1_k4"))
    with pytest.raises(SslkitError, match=r"no metric 'knn.top1_k4'\n.*did you mean 'knn.top1_k3'"):
        list(told_plan(study))


def test_metrics_of_the_command_line_take_the_place_of_the_files(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    assert [m.name for m in read_study(study, metrics=["knn.top5_k3"]).metrics] == ["knn.top5_k3"]
    code, output = lines_of(tmp_path, str(study), "--dry-run", "--metric", "health.rankme")
    assert code == 2
    assert (
        "'health.rankme' is of an evaluator that the arm 'baseline' does not ask (given on the comm" in output
    )
    words = ["eval.evaluators.health={}"]
    assert read_study(study, words, metrics=["health.rankme"]).metrics[0].measured == "end"


def test_errors_of_the_study_are_one_message_and_exit_code_2(tmp_path: Path) -> None:
    study = small_study(tmp_path, {"same": {}})
    code, output = lines_of(tmp_path, str(study))
    assert code == 2
    assert "the arm 'same' changes nothing" in output
    code, output = lines_of(tmp_path, "temprature")
    assert code == 2
    assert "did you mean 'temperature'" in output


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    code, output = lines_of(tmp_path, str(study), "--out", str(tmp_path / "mine"))
    assert code == 2
    assert "holds other files already" in output
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_users_study_file_is_not_written_over(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    text = study.read_text()
    code, output = lines_of(tmp_path, str(study), "--out", str(tmp_path))
    assert code == 2
    assert "holds other files already" in output
    assert study.read_text() == text


def hand_made(folder: Path, study: Path) -> Places:
    """The directory of a study whose runs are all finished."""
    places = Places(folder)
    found = read_study(study)
    with alone(places):
        write_recipes(found, places)
        places.study.write_text(as_yaml(found))
    for arm in found.arms:
        for seed in found.seeds:
            evals = {0: {"top1_k3": 0.1}, 40: {"top1_k3": 0.5}}
            write_run(places.run(f"{arm.name}-{seed}"), evals=evals, seed=seed)
            shutil.copy(places.recipe(f"{arm.name}-{seed}"), places.run(f"{arm.name}-{seed}") / "recipe.yaml")
    return places


def test_a_finished_study_is_only_told_again(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    hand_made(tmp_path / "out", study)
    code, output = lines_of(tmp_path, str(study), "--out", str(tmp_path / "out"))
    assert code == 0, output
    assert "not known from 1 seed" in output


def test_another_study_at_the_same_place_is_refused(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    places = hand_made(tmp_path / "out", study)
    kept = places.study.read_text()
    study.write_text(study.read_text().replace("name: small", "name: other"))
    code, output = lines_of(tmp_path, str(study), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "holds another study: its 'name' is small, not other" in output
    assert places.study.read_text() == kept


def test_a_metric_that_no_run_has_is_told_also_of_a_finished_study(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    hand_made(tmp_path / "out", study)
    study.write_text(study.read_text().replace("top1_k3", "top1_k4"))
    code, output = lines_of(tmp_path, str(study), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "'knn' gives no 'top1_k4'" in output


def test_a_run_of_another_plugin_file_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("KIND = 1\n")
    study = small_study(tmp_path, ARMS, plugins=[str(plugin)])
    places = hand_made(tmp_path / "out", study)
    record = json.loads((places.run("sharp-0") / "run.json").read_text())
    before = {"name": "mine.py", "sha256": hashlib.sha256(plugin.read_bytes()).hexdigest()}
    (places.run("sharp-0") / "run.json").write_text(json.dumps({**record, "plugins": [before]}))
    with alone(places):
        write_recipes(read_study(study), places)
        plugin.write_text("KIND = 2\n")
        with pytest.raises(SslkitError, match=r"was run with another mine\.py: the file has changed"):
            write_recipes(read_study(study), places)


def test_a_mended_arm_that_failed_before_it_began_is_due_again(tmp_path: Path) -> None:
    study, places = small_study(tmp_path, ARMS), Places(tmp_path / "out")
    with alone(places):
        write_recipes(read_study(study), places)
        places.told("sharp-0").write_text(json.dumps({"status": "failed", "error": "no such size"}))
        write_recipes(read_study(study), places)
        assert places.told("sharp-0").is_file()
        study.write_text(study.read_text().replace("0.02", "0.03"))
        write_recipes(read_study(study), places)
        assert not places.told("sharp-0").is_file()


def test_a_run_that_was_removed_is_due_again(tmp_path: Path) -> None:
    study = small_study(tmp_path, ARMS)
    places = hand_made(tmp_path / "out", study)
    places.told("sharp-0").write_text(json.dumps({"status": "finished", "error": None}))
    shutil.rmtree(places.run("sharp-0"))
    result = read_result(read_study(study), places)
    assert [each.status for arm in result.arms for each in arm.tries] == ["finished", "waiting"]


def test_an_arm_of_settings_without_effect_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SslkitError, match="the arm 'kept' changes nothing"):
        read_study(small_study(tmp_path, {"kept": {"checkpoint.keep": 5, "runtime.threads": 2}}))


def test_the_saved_study_runs_again_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_study(small_study(tmp_path, ARMS), ["optim.lr=0.01"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "again.yaml").write_text(as_yaml(found))
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = read_study("again.yaml")
    assert [arm.recipe for arm in again.arms] == [arm.recipe for arm in found.arms]
    assert again.baseline.recipe.optim.lr == 0.01


def test_all_results_are_written_and_the_page_is_one_of_them(tmp_path: Path) -> None:
    found, places = read_study(small_study(tmp_path, ARMS, seeds=(0, 1))), Places(tmp_path / "out")
    for arm in ("baseline", "sharp"):
        for seed in (0, 1):
            evals = {0: {"top1_k3": 0.1}, 40: {"top1_k3": 0.5 + seed / 10}}
            write_run(places.run(f"{arm}-{seed}"), evals=evals, seed=seed)
    written = save(read_result(found, places))
    assert [path.name for path in written] == ["study.json", "table.csv", "table.md", "study.html"]
    assert json.loads(written[0].read_text())["complete"]
    assert "no difference shown with 2 seeds" in written[2].read_text()
