"""What a small run tells its trackers. It is made up; a test holds its keys to those of a real one."""

from pathlib import Path
from typing import Any

NAME = "checked"


def start(run_dir: Path, step: int = 0) -> dict[str, Any]:
    """The first record of a run, or of its going on."""
    return {
        "kind": "start",
        "name": NAME,
        "variant": None,
        "device": "cpu",
        "threads": 1,
        "precision": "fp32",
        "world_size": 1,
        "data": "folder photos",
        "train_images": 24,
        "test_images": 3,
        "classes": 2,
        "model": "vit_pocket",
        "parameters": 4096,
        "head": "64 outputs",
        "run_dir": str(run_dir),
        "total_steps": 4,
        "steps_per_epoch": 2,
        "epochs": 2,
        "start_step": step,
        "closing": "",
        "notes": ["a note"],
    }


def step(number: int, **more: Any) -> dict[str, Any]:
    """The record of a step."""
    numbers = {"loss": 4.0 / number, "lr": 1e-3, "grad_norm": 0.5, "weight_decay": 0.04}
    speed = {"images_per_second": 100.0, "data_wait": 0.01}
    return {"kind": "step", "step": number, "epoch": (number - 1) // 2, **numbers, **speed, **more}


def evaluation(number: int, top1: float | None = 0.5) -> dict[str, Any]:
    """What an evaluator found."""
    return {
        "kind": "eval",
        "step": number,
        "evaluator": "knn",
        "dataset": "folder/val",
        "images": 3,
        "metrics": {"top1_k20": top1},
        "intervals": {"top1_k20": [0.4, 0.6]},
        "counts": {"top1_k20": 3},
    }


def health(number: int) -> dict[str, Any]:
    """A verdict."""
    return {"kind": "health", "step": number, "verdict": "healthy", "cause": None, "advice": None}


def end(run_dir: Path) -> dict[str, Any]:
    """The last record of a run."""
    return {
        "kind": "end",
        "status": "finished",
        "seconds": 1.5,
        "run_dir": str(run_dir),
        "backbone": str(run_dir / "backbone.safetensors"),
        "timm": "timm.create_model(...)",
        "report": None,
        "figures": [str(run_dir / "figures" / "crops.png")],
        "skipped": 0,
        "error": None,
        "resumable": True,
    }


def a_run(run_dir: Path) -> list[dict[str, Any]]:
    """A run up to its end."""
    before = [start(run_dir), evaluation(0, 0.25)]
    trained = [step(1), step(2, teacher_entropy=1.5), evaluation(2), health(2)]
    return [*before, *trained, {"kind": "note", "text": "one image cannot be read"}, step(3), step(4)]
