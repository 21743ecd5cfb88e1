"""Numbers that an independent library gives: lightly's DINO loss and kNN, written to lightly.json.

lightly pins OmegaConf below 2.4 and cannot live beside sslkit; run this in an environment of its own:

    python -m venv lightly-env && lightly-env/bin/pip install torch==2.14.1 lightly==1.6.0
    lightly-env/bin/python tests/oracles/make.py

Inputs are numpy's PCG64 by seed, so that the file holds only results.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

OUT = Path(__file__).with_name("lightly.json")
STEPS = 4
BATCH = 3
CASES = [(prototypes, views) for prototypes in (16, 65536) for views in (2, 10)]
TEMPERATURES = {"start": 0.04, "end": 0.07, "warmup_epochs": 3, "student": 0.1, "center_momentum": 0.9}


def dino_inputs(
    prototypes: int, views: int, step: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Student [V, B, K] and teacher [2, B, K] outputs of a step; the teacher's mean moves the centre."""
    rng = np.random.default_rng([prototypes, views, step])
    student = rng.normal(size=(views, BATCH, prototypes))
    teacher = rng.normal(size=(2, BATCH, prototypes)) * 0.3 + rng.normal(size=prototypes) * 0.2
    return student, teacher


def probe(prototypes: int, views: int) -> npt.NDArray[np.float64]:
    """A random direction that gradients are projected on: one number that sees every entry."""
    return np.random.default_rng([prototypes, views]).normal(size=(views, BATCH, prototypes))


def knn_inputs() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Memory bank [200, 16], labels [200] of 7 classes, queries [20, 16]; features not normalised."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 7, size=200)
    centers = rng.normal(size=(7, 16))
    bank = centers[labels] + rng.normal(size=(200, 16))
    queries = centers[rng.integers(0, 7, size=20)] + rng.normal(size=(20, 16))
    return bank, labels, queries


def dino_case(prototypes: int, views: int) -> list[dict[str, Any]]:
    import torch
    from lightly.loss import DINOLoss  # type: ignore[import-not-found, unused-ignore]

    t = TEMPERATURES
    loss_fn = DINOLoss(
        prototypes, t["start"], t["end"], int(t["warmup_epochs"]), t["student"], t["center_momentum"]
    ).double()
    results = []
    for step in range(STEPS):
        student, teacher = (torch.tensor(x) for x in dino_inputs(prototypes, views, step))
        student.requires_grad_(True)
        loss = loss_fn(list(teacher), list(student), epoch=step)
        (gradient,) = torch.autograd.grad(loss, [student])
        center = loss_fn.center.flatten()
        warm = step < t["warmup_epochs"]
        results.append(
            {
                "teacher_temperature": float(loss_fn.teacher_temp_schedule[step])
                if warm
                else float(torch.tensor(t["end"])),
                "loss": loss.item(),
                "gradient_on_probe": (gradient * torch.tensor(probe(prototypes, views))).sum().item(),
                "gradient_norm": gradient.norm().item(),
                "gradient_corner": gradient[:, 0, :2].tolist(),
                "center_norm_after": center.norm().item(),
                "center_after": center[:4].tolist(),
            }
        )
    return results


def knn_case() -> dict[str, Any]:
    import torch
    from lightly.utils.benchmarking import knn_predict  # type: ignore[import-not-found, unused-ignore]

    bank, labels, queries = (torch.tensor(x) for x in knn_inputs())
    normed = torch.nn.functional.normalize
    ranked = {
        str(k): knn_predict(normed(queries), normed(bank).T, labels, 7, k, 0.07)[:, 0].tolist()
        for k in (1, 10, 200)
    }
    return {"first_class_by_k": ranked}


def main() -> None:
    from importlib.metadata import version

    record = {
        "versions": {name: version(name) for name in ("lightly", "torch", "numpy")},
        "dino": {f"{k}x{v}": dino_case(k, v) for k, v in CASES},
        "knn": knn_case(),
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
