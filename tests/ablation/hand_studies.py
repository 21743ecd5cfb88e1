"""Studies whose runs were written by hand, for the page."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hand_runs import write_run

from sslkit.ablation.places import Places
from sslkit.ablation.result import StudyResult, read_result
from sslkit.ablation.study import Study, read_study

STEPS = (0, 10, 20, 40)
UNTRAINED = 0.3
METRICS = [
    {"name": "knn.top1_k10"},
    {"name": "knn.top1_k10", "measured": "area"},
    {"name": "knn.instance_top1_k10"},
]
GRID = {
    "mode": "full",
    "axes": {
        "objects": {"one": {}, "several": {"data.objects": 4}, "none": {"data.objects": 0}},
        "ground": {"quiet": {}, "photo": {"data.background": "photo"}},
    },
}

Ends = Callable[[str, int], Mapping[str, float] | None]
"""By arm and seed the value that each metric of kNN reaches, as top1_k10; None: the run has not begun."""


def study_of(folder: Path, **says: Any) -> Study:
    """A study of the pocket recipe; `says` is what its file says."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {"sslkit_study": 1, "base": "dino_pocket", "variant": "study", "metrics": METRICS, **says}
    (folder / "study.yaml").write_text(yaml.safe_dump(text, sort_keys=False, allow_unicode=True), "utf-8")
    return read_study(folder / "study.yaml")


def write_runs(
    study: Study,
    folder: Path,
    ends: Ends,
    *,
    ill: Mapping[str, Mapping[str, Any]] | None = None,
    failed: Mapping[str, str] | None = None,
    **record: Any,
) -> StudyResult:
    """A run directory for each arm and seed, and what follows from them.

    Args:
        ill: by arm what the doctor ends with: verdict, cause, advice.
        failed: by run, as ARM-SEED, its error; it has no directory.
        record: what all run.json have beyond the least.
    """
    places = Places(folder)
    places.jobs.mkdir(parents=True)
    for run, error in (failed or {}).items():
        places.told(run).write_text(json.dumps({"status": "failed", "error": error}))
    for arm in study.arms:
        for seed in study.seeds:
            name, reached = f"{arm.name}-{seed}", ends(arm.name, seed)
            if reached is not None and name not in (failed or {}):
                told = {
                    "kind": "health",
                    "step": STEPS[-1],
                    **(ill or {}).get(arm.name, {"verdict": "healthy"}),
                }
                write_run(places.run(name), evals=course(reached), more=[told], record=record, seed=seed)
    return read_result(study, places)


def course(reached: Mapping[str, float]) -> dict[int, dict[str, float | None]]:
    """From the untrained network to what is reached, quick at first."""
    share = {step: (step / STEPS[-1]) ** 0.5 for step in STEPS}
    return {
        step: {key: UNTRAINED + (end - UNTRAINED) * share[step] for key, end in reached.items()}
        for step in STEPS
    }


def noisy(means: Mapping[str, float], sd: float = 0.01) -> Ends:
    """Each arm's mean with noise; arms that are not named reach 0.7. Instances are told less well."""

    def ends(arm: str, seed: int) -> dict[str, float]:
        rng = np.random.default_rng([seed, *arm.encode()])
        value = means.get(arm, 0.7) + 0.02 * seed + sd * float(rng.normal())
        return {"top1_k10": value, "instance_top1_k10": value - 0.1 + sd * float(rng.normal())}

    return ends


def exact(values: Mapping[str, tuple[float | None, ...]]) -> Ends:
    """By arm its values, one a seed from 0 on; None: the run has not begun."""

    def ends(arm: str, seed: int) -> dict[str, float] | None:
        value = values[arm][seed]
        return None if value is None else {"top1_k10": value, "instance_top1_k10": value / 2}

    return ends
