import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sslkit.errors import RecipeError
from sslkit.train.trackers import (
    JsonLines,
    TensorBoard,
    TensorBoardConfig,
    Wandb,
    WandbConfig,
    cut_after,
    read_records,
)


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "loss": 1.0 / number, "lr": 0.1, **more}


def knn(number: int, top1: float = 0.5) -> dict[str, Any]:
    return {
        "kind": "eval",
        "step": number,
        "evaluator": "knn",
        "dataset": "demo",
        "metrics": {"top1_k20": top1},
    }


HEALTH = {"kind": "health", "step": 2, "verdict": "healthy", "cause": None, "advice": None}
START = {"kind": "start", "start_step": 0, "name": "a"}


def picture(path: Path) -> Path:
    Image.new("RGB", (4, 3), (200, 10, 20)).save(path)
    return path


# --- metrics.jsonl -----------------------------------------------------------------------------------------


def test_lines_are_what_the_contract_says(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "metrics.jsonl")
    for record in (START, step(1), knn(1), HEALTH, {"kind": "note", "text": "x"}, {"kind": "end"}):
        log.log(record)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()  # before it is closed: each line is flushed
    log.close()
    assert [json.loads(line) for line in lines] == [step(1), knn(1), HEALTH]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "m")
    log.log(step(1, a=math.nan, b=math.inf, c=(1.0, -math.inf)))
    log.log(knn(1, math.nan))
    log.close()
    first, second = (json.loads(line) for line in (tmp_path / "m").read_text().splitlines())
    assert (first["a"], first["b"], first["c"]) == (None, None, [1.0, None])
    assert second["metrics"] == {"top1_k20": None}


def test_it_appends_also_after_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text(json.dumps(step(1)) + '\n{"kind": "st')
    log = JsonLines(path)
    log.log(step(2))
    log.close()
    assert list(read_records(path)) == [step(1), step(2)]


def test_cut_drops_later_steps_and_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "m"
    lines = [json.dumps(record) for record in (knn(0), step(1), step(2), knn(2), HEALTH, step(3), knn(4))]
    path.write_text("\n".join(lines) + '\n{"kind": "step", "step": 1')
    cut_after(path, 2)
    assert path.read_text() == "\n".join(lines[:5]) + "\n"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_cut_at_step_0_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_text(json.dumps(knn(0)) + "\n" + json.dumps(step(1)) + "\n")
    cut_after(path, 0)
    assert path.read_text() == ""


def test_cut_of_nothing(tmp_path: Path) -> None:
    cut_after(tmp_path / "m", 3)
    assert not (tmp_path / "m").exists()


# --- TensorBoard -------------------------------------------------------------------------------------------


def read_events(run_dir: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run_dir / "tensorboard")).Reload()


def test_tensorboard_files_hold_the_run(tmp_path: Path) -> None:
    tracker = TensorBoard(TensorBoardConfig(), tmp_path, "a")
    for record in (START, knn(0, 0.25), step(1), step(2, kl=math.nan), knn(2, 0.75), HEALTH):
        tracker.log(record)
    tracker.figure("maps", picture(tmp_path / "maps.png"))
    tracker.log({"kind": "end", "status": "finished", "figures": [str(picture(tmp_path / "crops.png"))]})
    tracker.close()
    events = read_events(tmp_path)
    assert set(events.Tags()["scalars"]) == {"train/loss", "train/lr", "train/epoch", "knn/top1_k20"}
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("knn/top1_k20")] == [(0, 0.25), (2, 0.75)]
    assert set(events.Tags()["images"]) == {"maps", "crops"}
    (image,) = events.Images("crops")
    assert (image.width, image.height, image.step) == (4, 3, 2)


def test_a_picture_that_is_drawn_anew_is_sent_again(tmp_path: Path) -> None:
    tracker = TensorBoard(TensorBoardConfig(), tmp_path, "a")
    path = picture(tmp_path / "maps.png")
    for number in (1, 2, 3):
        tracker.log(step(number))
        if number == 3:
            os.utime(path, (9, 9))
        tracker.figure("maps", path)
    tracker.close()
    assert [image.step for image in read_events(tmp_path).Images("maps")] == [1, 3]


def test_tensorboard_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    for start, last in ((0, 5), (3, 6)):
        tracker = TensorBoard(TensorBoardConfig(), tmp_path, "a")
        tracker.log({**START, "start_step": start})
        for number in range(start + 1, last + 1):
            tracker.log(step(number, run=start))
        tracker.close()
    read = [(e.step, e.value) for e in read_events(tmp_path).Scalars("train/run")]
    assert read == [(1, 0), (2, 0), (3, 0), (4, 3), (5, 3), (6, 3)]


# --- Weights & Biases --------------------------------------------------------------------------------------

IN_WANDB = """
import sys
from pathlib import Path
from sslkit.train.trackers import Wandb, WandbConfig
run_dir, first, last, picture = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
tracker = Wandb(WandbConfig(project="p", mode="offline", tags=["t"]), run_dir, "a")
tracker.log({"kind": "start", "start_step": first, "name": "a"})
for step in range(first + 1, last + 1):
    tracker.log({"kind": "step", "step": step, "epoch": 0, "loss": 1 / step})
tracker.log({"kind": "eval", "step": last, "evaluator": "knn", "dataset": "d", "metrics": {"top1_k20": 0.5}})
tracker.log({"kind": "health", "step": last, "verdict": "healthy", "cause": None, "advice": None})
tracker.log({"kind": "end", "status": "finished", "figures": [picture]})
tracker.close()
"""


@pytest.mark.slow
def test_wandb_keeps_the_run_offline(tmp_path: Path) -> None:
    """In processes of their own: wandb starts a server and changes the process it is used in."""
    (tmp_path / "recipe.yaml").write_text("name: a\nseed: 3\n")
    image = str(picture(tmp_path / "crops.png"))
    for first, last in ((0, 3), (3, 5)):
        words = [sys.executable, "-c", IN_WANDB, str(tmp_path), str(first), str(last), image]
        subprocess.run(words, check=True, timeout=120, capture_output=True)
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    run_id = (tmp_path / "wandb" / "run-id").read_text()
    assert [file.name for file in files] == [f"run-{run_id}.wandb"] * 2
    rows = [row for file in files for row in history(file)]
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["train/loss"] for row in rows] == [1 / n for n in range(1, 6)]
    assert rows[-1]["knn/top1_k20"] == 0.5
    assert rows[-1]["crops._type"] == "image-file"


def history(file: Path) -> list[dict[str, Any]]:
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in chunks(file.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


def chunks(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log behind W&B's header of 7 bytes: blocks of 32 KiB, crc, length and type."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no chunk begins at the end of a block
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_wandb_mode_is_checked() -> None:
    with pytest.raises(RecipeError, match="must be online or offline"):
        WandbConfig(mode="on")


# --- missing packages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tracker", "config", "package"),
    [(TensorBoard, TensorBoardConfig(), "tensorboard"), (Wandb, WandbConfig(mode="offline"), "wandb")],
)
def test_a_missing_package_is_named_with_its_extra(
    tracker: Any, config: Any, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecipeError, match=rf"pip install 'sslkit\[{package}\]'"):
        tracker(config, tmp_path, "a")
