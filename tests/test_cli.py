"""The command line as a user meets it: real processes, their output and exit codes."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import command, lines, make_photos, sslkit, tiny_recipe
from safetensors import safe_open


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(make_photos(folder / "photos"), closing="That was it.")))
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path) -> subprocess.CompletedProcess[str]:
    return sslkit("run", "tiny.yaml", "optim.epochs=1", "--out", "a", cwd=recipe.parent)


# --- help --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("--help",), ("run", "-h"), ("eval", "--help"), ("--version",)], ids=" ".join
)
def test_help_comes_at_once(words: tuple[str, ...], tmp_path: Path) -> None:
    took = []
    for _ in range(3):  # the best of three: the machine may be busy
        started = time.perf_counter()
        done = sslkit(*words, cwd=tmp_path)
        took.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
    assert min(took) < 1.0


def test_each_command_has_help_with_an_example(tmp_path: Path) -> None:
    listed = sslkit("--help", cwd=tmp_path).stdout
    for name in (
        "run", "eval", "compare", "report", "ablate", "reproduce", "recipe", "new", "check", "plugins"
    ):  # fmt: skip
        assert re.search(rf"\b{name}\b", listed)
        assert f"sslkit {name}" in sslkit(name, "--help", cwd=tmp_path).stdout


# --- run ---------------------------------------------------------------------------------------------------


def test_a_run_is_told_from_start_to_end(finished: subprocess.CompletedProcess[str], recipe: Path) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "\x1b" not in finished.stdout
    told = finished.stdout.splitlines()
    assert told[0].endswith("· tiny")
    assert told[4] == "  run       a"
    for start in ("kNN before training", "kNN after training", "health", "  pictures", "  backbone"):
        assert sum(line.startswith(start) for line in told) == 1, start
    assert "That was it." in told
    assert (recipe.parent / "a" / "figures" / "attention.png").is_file()


@pytest.mark.slow
def test_eval_reads_a_run_and_a_checkpoint(finished: subprocess.CompletedProcess[str], recipe: Path) -> None:
    done = sslkit("eval", "a", "--json", cwd=recipe.parent)
    found = json.loads(done.stdout)
    (newest,) = sorted((recipe.parent / "a" / "checkpoints").iterdir())[-1:]
    last = [r for r in lines(recipe.parent / "a", "eval") if r["evaluator"] == "knn"][-1]
    assert found["knn"]["metrics"] == last["metrics"]
    words = sslkit("eval", f"a/checkpoints/{newest.name}", "eval.evaluators.knn.k=[2]", cwd=recipe.parent)
    assert words.returncode == 0, words.stderr
    assert words.stdout.splitlines()[2] == "knn"
    assert "top1_k2 " in words.stdout


@pytest.mark.slow
def test_a_dry_run_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    done = sslkit("run", recipe, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "  run       runs/tiny" in done.stdout
    assert re.search(r"  steps     \d+ \(3 epochs of \d steps\)", done.stdout)
    assert list(tmp_path.iterdir()) == []
    wrong = sslkit("run", recipe, "optim.batch_size=5000", "--dry-run", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "optim.batch_size" in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_and_resume_goes_on(
    number: signal.Signals, code: int, recipe: Path, tmp_path: Path
) -> None:
    words = command("run", recipe, "optim.epochs=500", "checkpoint.every_epochs=null", "--out", "a")
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        metrics = tmp_path / "a" / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and '"step": 3,' in metrics.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "to go on from the last checkpoint: sslkit run a --resume" in output
    stopped = lines(tmp_path / "a", "step")[-1]["step"]
    done = sslkit("run", "a", f"runtime.max_steps={stopped + 2}", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"  resumed   at step {stopped} of {stopped + 2}" in done.stdout
    assert [r["step"] for r in lines(tmp_path / "a", "step")] == list(range(1, stopped + 3))


# --- errors ------------------------------------------------------------------------------------------------


def test_what_the_user_can_mend_has_no_traceback(recipe: Path, tmp_path: Path) -> None:
    done = sslkit("run", recipe, "augment.color_jiter.p=0", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "error: there is no key 'augment.color_jiter' (given on the command line)\n"
    )
    assert "did you mean 'augment.color_jitter'?" in done.stderr
    assert "Traceback" not in done.stderr
    debug = sslkit("run", recipe, "augment.color_jiter.p=0", "--debug", cwd=tmp_path)
    assert debug.returncode == 2
    assert "Traceback" in debug.stderr
    assert "RecipeError" in debug.stderr


BROKEN = """
from dataclasses import dataclass
from sslkit import Tracker, hookimpl

@dataclass
class Config:
    pass

class Broken(Tracker):
    Config = Config

    def __init__(self, config, run_dir, name):
        raise ZeroDivisionError("an accident")

    def log(self, record):
        pass

@hookimpl
def sslkit_trackers():
    return {"broken": Broken}
"""


@pytest.mark.slow
def test_what_nobody_foresaw_has_its_traceback_in_a_file(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    words: tuple[Any, ...] = ("run", recipe, "trackers=[broken]", "--plugin", "broken.py")
    done = sslkit(*words, cwd=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ZeroDivisionError: an accident\n")
    assert "Traceback" not in done.stderr
    (log,) = tmp_path.glob("sslkit-*.log")
    assert str(log) in done.stderr
    assert "raise ZeroDivisionError" in log.read_text()


# --- plugins and recipe ------------------------------------------------------------------------------------


def test_plugins_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    done = sslkit("plugins", "--plugin", "broken.py", "--no-plugin", "methods.dino", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^augmentations \(augment.name\)\n  multicrop +sslkit.augment.multicrop +\S+ +loaded +\S+:\d+$",
        done.stdout,
        re.M,
    )
    assert re.search(r"^sslkit.methods.dino \S+ \(built-in\): left out\n  by --no-plugin$", done.stdout, re.M)
    assert re.search(rf"^  broken +broken.py +loaded +{tmp_path / 'broken.py'}:\d+$", done.stdout, re.M)
    record = json.loads(sslkit("plugins", "--json", cwd=tmp_path).stdout)
    assert ("methods", "dino") in {(c["kind"], c["name"]) for c in record["components"]}


def test_plugins_show_tells_of_one_component(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    done = sslkit("plugins", "show", "broken", "--source", "--plugin", "broken.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("broken (trackers, named by trackers)\n")
    assert "raise ZeroDivisionError" in done.stdout
    [page] = json.loads(sslkit("plugins", "show", "methods:dino", "--json", cwd=tmp_path).stdout)
    assert {key["name"]: key["default"] for key in page["keys"]}["out_dim"] == 65536
    done = sslkit("plugins", "show", "dyno", cwd=tmp_path)
    assert (done.returncode, "did you mean 'dino'?" in done.stderr) == (2, True)


@pytest.mark.slow
def test_recipe_shows_and_writes_one_that_runs(recipe: Path, tmp_path: Path) -> None:
    shown = sslkit("recipe", recipe, "optim.lr=0.25", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert yaml.safe_load(shown.stdout)["optim"]["lr"] == 0.25
    written = sslkit("recipe", recipe, "optim.lr=0.25", "--out", "own.yaml", cwd=tmp_path)
    assert written.stdout == "own.yaml is written. Change it, then: sslkit run own.yaml\n"
    assert (tmp_path / "own.yaml").read_text() == shown.stdout
    assert sslkit("recipe", recipe, "--out", "own.yaml", cwd=tmp_path).returncode == 2
    assert sslkit("run", "own.yaml", "--dry-run", cwd=tmp_path).returncode == 0


# --- eval --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_eval_prints_a_table_and_json(finished: subprocess.CompletedProcess[str], recipe: Path) -> None:
    words: tuple[Any, ...] = ("eval", "a", "--no-cache", "eval.evaluators.knn.k=[2]")
    done = sslkit(*words, cwd=recipe.parent)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert re.fullmatch(r"on folder/val: \d images of 16 px, step \d", told[0])
    assert told[1:3] == ["", "knn"]
    assert told[3].split() == ["metric", "value", "95", "%", "interval", "images"]
    assert re.fullmatch(r"  top1_k2 +\d\.\d{4}  \[\d\.\d{4}, \d\.\d{4}\] +\d", told[4])
    found = json.loads(sslkit(*words, "--json", cwd=recipe.parent).stdout)["knn"]
    assert {"dataset", "images", "metrics", "intervals", "counts", "tables", "notes"} <= set(found)
    assert found["counts"]["top1_k2"] == found["images"]


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_an_interrupted_eval_goes_on(
    finished: subprocess.CompletedProcess[str], recipe: Path, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "many", count=3000, side=8)
    run = shutil.copytree(recipe.parent / "a", tmp_path / "a", ignore=shutil.ignore_patterns("cache"))
    slow = ("eval.batch_size=1", "eval.resize=160", "eval.crop=160")  # half a minute of an idle core
    words = command("eval", run, f"data.root={photos}", *slow)
    process = subprocess.Popen(
        words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts
    )
    with process:
        assert process.stderr is not None
        first = process.stderr.readline()  # after ten seconds of work
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.match(r"  features of folder/train: [\d,]+ of 2,\d{3} images ", first)
    message = re.search(r"the features of ([\d,]+) images are kept in (.*)\n  the same command goes on", told)
    assert message is not None
    (part,) = (run / "cache").rglob("*.safetensors")
    with safe_open(part, framework="pt") as file:
        assert file.get_slice("features").get_shape()[0] == int(message[1].replace(",", "")) > 0
