"""What `run.json` and trackers are told at the two ends of a run."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sslkit.recipe.schema import Recipe
from sslkit.train.checkpoint import checkpoints
from sslkit.train.export import FILE_NAME, timm_call
from sslkit.train.rundir import Origin, RunDirectory

if TYPE_CHECKING:
    from sslkit.session import Session


def origin_record(session: "Session") -> dict[str, Any]:
    """What `run.json` says of where a run comes from."""
    origin = Origin(
        seed=session.recipe.seed,
        device=str(session.place.device),
        precision=str(session.trainer.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        world_size=session.place.world_size,
        variant=session.loaded.variant,
        plugins=[asdict(plugin) for plugin in session.loaded.registry.plugins],
    )
    return origin.as_record() | {"setup": asdict(session.facts)}


def start_record(session: "Session") -> dict[str, Any]:
    """What the run is: device, data, model, length."""
    recipe, method, data = session.recipe, session.trainer.method, session.data
    return {
        "kind": "start",
        "name": recipe.name,
        "variant": session.loaded.variant,
        "device": str(session.place.device),
        "threads": torch.get_num_threads(),
        "precision": recipe.runtime.precision,
        "world_size": session.place.world_size,
        "data": describe_data(recipe),
        "train_images": len(data),
        "test_images": len(session.evaluation.data.test),
        "classes": None if data.classes is None else len(data.classes),
        "model": recipe.backbone.name,
        "parameters": sum(p.numel() for p in method.encoder.parameters()),
        "head": None if method.prototypes is None else f"{method.prototypes:,} outputs",
        "run_dir": str(session.directory.path),
        "total_steps": session.last_step,
        "steps_per_epoch": session.trainer.schedules.steps_per_epoch,
        "epochs": recipe.optim.epochs,
        "start_step": session.first_step,
        "closing": recipe.closing,
        "notes": session.notes,
    }


def end_record(session: "Session", status: str, seconds: float, message: str | None) -> dict[str, Any]:
    """What came out and where it is."""
    directory: RunDirectory = session.directory
    backbone = directory.path / FILE_NAME
    return {
        "kind": "end",
        "status": status,
        "seconds": seconds,
        "run_dir": str(directory.path),
        "backbone": str(backbone) if backbone.is_file() else None,
        "timm": timm_call(session.trainer.method.encoder),
        "report": str(directory.report) if directory.report.is_file() else None,
        "figures": [str(p) for p in sorted(directory.figures.glob("*.png"))],
        "skipped": len(directory.skipped_keys()),
        "error": message,
        "resumable": bool(checkpoints(directory.checkpoints)),
    }


def describe_data(recipe: Recipe) -> str:
    """The data in a few words."""
    root = recipe.data.root
    return recipe.data.name if root is None else f"{recipe.data.name} {Path(root)}"
