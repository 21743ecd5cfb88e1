import io
import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sslkit.train.terminal import LiveLine, Terminal, TerminalConfig, fit
from sslkit.train.wording import Where, clock, number, percent, printable, results

START: dict[str, Any] = {
    "kind": "start",
    "name": "dino_vits8",
    "variant": "demo",
    "device": "cpu",
    "threads": 2,
    "precision": "fp32",
    "world_size": 1,
    "data": "demo",
    "train_images": 2000,
    "test_images": 500,
    "classes": 10,
    "model": "vit_small_patch8_224",
    "parameters": 21_670_272,
    "head": "4,096 outputs",
    "run_dir": "runs/dino_vits8",
    "total_steps": 60,
    "steps_per_epoch": 60,
    "epochs": 1,
    "start_step": 0,
    "closing": "This run shows the machine at work.",
    "notes": ["solarize is off"],
}
END: dict[str, Any] = {
    "kind": "end",
    "status": "finished",
    "seconds": 161.0,
    "run_dir": "runs/dino_vits8",
    "backbone": "runs/dino_vits8/backbone.safetensors",
    "timm": 'timm.create_model("vit_small_patch8_224", num_classes=0)',
    "figures": ["runs/dino_vits8/figures/crops.png", "runs/dino_vits8/figures/curves.png"],
    "skipped": 2,
    "error": None,
}


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "loss": 7.94, "images_per_second": 3.1, **more}


def knn(step: int, **metrics: float) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "evaluator": "knn", "dataset": "demo", "metrics": metrics}


def health(step: int, verdict: str, cause: str | None = None, advice: str | None = None) -> dict[str, Any]:
    return {"kind": "health", "step": step, "verdict": verdict, "cause": cause, "advice": advice}


def told(*records: dict[str, Any], config: TerminalConfig | None = None) -> list[str]:
    """The lines that a file gets."""
    file = io.StringIO()
    terminal = Terminal(config or TerminalConfig(), Path("runs/a"), "a", file=file)
    for record in records:
        terminal.log(record)
    terminal.close()
    return file.getvalue().splitlines()


def live(where: Where, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(LiveLine(where), end="")
    return capture.get()


def seen(**more: Any) -> Where:
    where = Where()
    where.start(START)
    where.see(step(37, **more))
    where.see(step(38, **more))
    return where


# --- lines -------------------------------------------------------------------------------------------------


def test_a_whole_run_line_by_line() -> None:
    steps = [step(n, teacher_entropy=6.2) for n in range(1, 61)]
    records = [START, knn(0, top1_k10=0.2, top1_k20=0.241), *steps[:30], *steps[30:]]
    records += [knn(60, top1_k10=0.2, top1_k20=0.246), health(60, "not learning yet", "60 steps"), END]
    lines = told(*records)
    assert lines[0].startswith("sslkit ")
    assert lines[0].endswith(" · dino_vits8, variant demo")
    assert lines[1:7] == [
        "  device    cpu, 2 threads, fp32",
        "  data      demo: 2,000 to train on, 500 held out, 10 classes",
        "  model     vit_small_patch8_224, 21.7 M parameters · head to 4,096 outputs",
        "  run       runs/dino_vits8",
        "  note      solarize is off",
        "kNN before training  24.1 %  (chance 10.0 %)",
    ]
    assert [line[2:12] for line in lines[7:17]] == [f"step {n:>2}/60" for n in range(6, 61, 6)]
    assert "loss 7.940 · teacher entropy 6.20 · kNN 24.1 % · 3.10 images/s" in lines[7]
    assert lines[17:] == [
        "kNN after training   24.6 %",
        "health               not learning yet: 60 steps",
        "",
        "  result    60 steps in 2:41 · kNN 24.1 % → 24.6 % (chance 10.0 %)",
        "  pictures  runs/dino_vits8/figures/crops.png, curves.png",
        "  backbone  runs/dino_vits8/backbone.safetensors   "
        'timm.create_model("vit_small_patch8_224", num_classes=0)',
        "  skipped   2 images could not be read: runs/dino_vits8/skipped.jsonl",
        "This run shows the machine at work.",
        "Look closer: sslkit eval runs/dino_vits8      from Python: sslkit.load_backbone('runs/dino_vits8')",
    ]


def test_no_control_codes_and_no_wrapping_in_a_file() -> None:
    end = {**END, "figures": [f"runs/{'a' * 200}.png"], "closing": "[bold]x[/bold]"}
    lines = told({**START, "closing": "[bold]kept[/bold]", "notes": ["n" * 300]}, step(60), end)
    assert not any("\x1b" in line or "\r" in line for line in lines)
    assert "  note      " + "n" * 300 in lines
    assert f"  pictures  runs/{'a' * 200}.png" in lines
    assert "[bold]kept[/bold]" in lines


def test_lines_come_after_a_time_too() -> None:
    often = TerminalConfig(every_seconds=0.0, every_share=1.0)
    rarely = TerminalConfig(every_seconds=1e9, every_share=0.5)
    steps = [step(n) for n in range(1, 61)]
    assert sum("step" in line for line in told(START, *steps, config=often)) == 60
    assert sum("step" in line for line in told(START, *steps, config=rarely)) == 2


def test_a_resumed_run_counts_from_where_it_was() -> None:
    start = {**START, "start_step": 40, "notes": []}
    lines = told(start, *(step(n) for n in range(41, 61)), END)
    assert lines[5] == "  resumed   at step 40 of 60"
    assert lines[6].startswith("  step 46/60")
    assert "  result    20 steps in 2:41" in lines


def test_without_labels_entropy_or_finite_values() -> None:
    start = {**START, "classes": None, "head": None, "variant": None, "notes": [], "closing": ""}
    records = [start, step(60, loss=math.nan, images_per_second=math.inf), {**END, "figures": []}]
    lines = told(*records, knn(60, top1_k20=0.5))  # labels may come from `eval.data`
    assert lines[-1] == "kNN after training   50.0 %"
    assert lines[0].endswith(" · dino_vits8")
    assert lines[2].endswith("500 held out, no labels")
    assert lines[5] == "  step 60/60  loss not finite"
    assert "  result    60 steps in 2:41" in lines


def test_stopped_and_failed_say_why_and_how_to_go_on() -> None:
    stopped = told(START, step(12), {**END, "status": "stopped", "skipped": 0})
    assert stopped[-2:] == [
        "stopped at step 12 of 60",
        "  to go on from the last checkpoint: sslkit run runs/dino_vits8 --resume",
    ]
    failed = told(START, step(12), {**END, "status": "failed", "error": "the loss became nan\n  advice"})
    assert failed[-3:] == [
        "failed at step 12 of 60: the loss became nan",
        "  skipped   2 images: runs/dino_vits8/skipped.jsonl",
        "  to go on from the last checkpoint: sslkit run runs/dino_vits8 --resume",
    ]


def test_a_run_that_failed_before_its_first_checkpoint_has_nothing_to_go_on_from() -> None:
    failed = told(START, {**END, "status": "failed", "error": "no", "skipped": 0, "resumable": False})
    assert failed[-1] == "failed at step 0 of 60: no"


def test_health_is_told_when_it_changes_and_at_the_end() -> None:
    bad = ("uniform collapse", "not sharp", "method.teacher_temperature=0.04")
    records = [START, step(20), health(20, "healthy"), step(30), health(30, "healthy"), step(40)]
    records += [health(40, *bad), step(60), health(60, *bad)]
    lines = [line for line in told(*records) if line.startswith((" " * 20, "health"))]
    collapse = [
        "health               uniform collapse: not sharp",
        " " * 21 + "what to change: method.teacher_temperature=0.04",
    ]
    assert lines == ["health               healthy", *collapse, *collapse]


def test_an_output_without_unicode() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    terminal = Terminal(TerminalConfig(), Path("runs/a"), "a", file=file)
    terminal.log({**START, "run_dir": "runs/é"})
    terminal.close()
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "- dino_vits8, variant demo" in text
    assert "runs/?" in text
    assert printable("a · b → c", "utf-8") == "a · b → c"


# --- the live line -----------------------------------------------------------------------------------------


def test_the_live_line_says_all_that_has_room() -> None:
    where = seen(teacher_entropy=6.2)
    where.knn.append(0.241)
    line = live(where, 130)
    for part in ("epoch 1/1", "38/60", "loss 7.940", "teacher entropy 6.20", "kNN 24.1 %", "3.10 images/s"):
        assert part in line
    assert "left" in line
    assert "━" in line


@pytest.mark.parametrize("width", [130, 80, 60, 40, 20, 8])
def test_the_live_line_is_one_line_at_any_width(width: int) -> None:
    where = seen(teacher_entropy=6.2)
    where.knn.append(0.241)
    assert len(live(where, width).rstrip("\n").splitlines()) == 1


def test_the_loss_stays_longest() -> None:
    where = seen(teacher_entropy=6.2)
    assert "loss 7.940" in live(where, 40)
    assert "teacher entropy" not in live(where, 60)


def test_fit_empties_the_least_important_first() -> None:
    parts = [(3, "cccc"), (0, "aaaa"), (1, "bbbb")]
    assert fit(parts, 21) == ["cccc", "aaaa", "bbbb"]
    assert fit(parts, 20) == ["", "aaaa", "bbbb"]
    assert fit(parts, 7) == ["", "aaaa", ""]
    assert fit(parts, 1) == ["", "aaaa", ""]


ON_A_TERMINAL = """
import sys
from pathlib import Path
from sslkit.train.terminal import Terminal, TerminalConfig
terminal = Terminal(TerminalConfig(), Path("runs/a"), "a")
terminal.log(START)
for n in range(1, 61):
    terminal.log(step(n))
    if n == 30:
        terminal.log(knn(30, top1_k20=0.3))
    if n == int(sys.argv[1]):
        terminal.log({**END, "status": "stopped"})
        break
terminal.close()
"""


@pytest.mark.parametrize(("last", "colour"), [(60, True), (40, False)])
def test_on_a_real_terminal(last: int, colour: bool) -> None:
    output = on_a_terminal(str(last), colour)
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 1  # the cursor comes back
    assert ("\x1b[1m" in output) or not colour
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", output)) == colour
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output).replace("\r\n", "\n")
    shown = [line.rpartition("\r")[2] for line in text.splitlines()]
    assert "kNN at step 30       30.0 %  (chance 10.0 %)" in shown
    assert any(f"{last}/60 · loss 7.940" in line for line in shown)
    assert f"stopped at step {last} of 60" in shown


def on_a_terminal(last: str, colour: bool) -> str:
    main, side = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"}
    env |= {} if colour else {"NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", RECORDS + ON_A_TERMINAL, last], stdout=side, stderr=side, env=env, stdin=side
    ) as process:
        os.close(side)
        output = read_all(main)
    assert process.returncode == 0, output
    return output


RECORDS = f"""
START, END = {START!r}, {END!r}
def step(n): return {{**{step(1)!r}, "step": n}}
def knn(n, **metrics): return {{**{knn(0)!r}, "step": n, "metrics": metrics}}
"""


def read_all(descriptor: int) -> str:
    output = b""
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux says so at the end of a terminal
            part = b""
        if not part:
            os.close(descriptor)
            return output.decode()
        output += part


# --- words -------------------------------------------------------------------------------------------------


def test_numbers_in_words() -> None:
    assert [clock(s) for s in (0, 59.6, 61, 3600, 3600 * 50)] == [
        "0:00",
        "1:00",
        "1:01",
        "1:00:00",
        "2 d 2 h",
    ]
    assert [number(x) for x in (1234.5, 99.94, 3.1, 0.0, 2e-5, math.nan, None)] == [
        "1,234", "99.9", "3.10", "0.00", "2e-05", "not finite", "not finite",
    ]  # fmt: skip
    assert [percent(x) for x in (0.5, None, math.inf)] == ["50.0 %", "not finite", "not finite"]


def test_results_of_evaluators() -> None:
    assert results(knn(0, top1_k10=0.3, instance_top1_k10=0.2)) == ["30.0 %", "the very object 20.0 %"]
    other = {"evaluator": "health", "metrics": {"rankme": 12.3, "b": 1.0, "c": 2.0, "d": 3.0, "e": 4.0}}
    assert results(other) == ["rankme 12.3", "b 1.00", "c 2.00", "d 3.00", "..."]
    assert results(knn(0)) == []
