"""Numbers that an independent library gives: lightly's losses and kNN, written to lightly.json.

lightly pins OmegaConf below 2.4 and cannot live beside sslkit; run this in an environment of its own:

    python -m venv lightly-env && lightly-env/bin/pip install torch==2.14.1 torchvision==0.29.1 lightly==1.6.0
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
DIM = 16
PAIR_BATCHES = (2, 7)
PAIR_TEMPERATURES = (0.07, 0.5)
BANK_CASES = [(4, 12, 0.2), (7, 294, 0.07)]
"""Batch, keys in the memory bank, temperature: the small bank is replaced more than once."""
BANK_STEPS = 5
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


def pair_inputs(batch: int, step: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two [B, D] of rows of many lengths, the second like the first."""
    rng = np.random.default_rng([batch, step])
    first = rng.normal(size=(batch, DIM)) * rng.uniform(0.1, 10, size=(batch, 1))
    return first, first + rng.normal(size=(batch, DIM))


def bank_start(keys: int) -> npt.NDArray[np.float64]:
    """The memory bank before the first step, [N, D], rows of length 1."""
    bank = np.random.default_rng(keys).normal(size=(keys, DIM))
    return np.asarray(bank / np.linalg.norm(bank, axis=1, keepdims=True))


def rows_probe(rows: int) -> npt.NDArray[np.float64]:
    """As `probe`, for [rows, D]."""
    return np.random.default_rng([rows, 1]).normal(size=(rows, DIM))


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


def summary(x: Any) -> dict[str, Any]:
    """Of [rows, D]: its norm, its projection on a random direction, its corner."""
    projected = (x * x.new_tensor(rows_probe(len(x)))).sum().item()
    return {"norm": x.norm().item(), "on_probe": projected, "corner": x[:2, :2].tolist()}


def cosine_case(batch: int) -> dict[str, Any]:
    """lightly's BYOL: half of each direction's negative cosine; either view predicts the other."""
    import torch
    from lightly.loss import NegativeCosineSimilarity  # type: ignore[import-not-found, unused-ignore]

    loss_fn = NegativeCosineSimilarity()
    first, second = (torch.tensor(x).requires_grad_(True) for x in pair_inputs(batch))
    one_way = loss_fn(first, second.detach())
    loss = 0.5 * (one_way + loss_fn(second, first.detach()))
    gradients = torch.autograd.grad(loss, [first, second])
    return {
        "one_way": one_way.item(),
        "symmetrised": loss.item(),
        "first_gradient": summary(gradients[0]),
        "second_gradient": summary(gradients[1]),
    }


def nt_xent_case(batch: int, temperature: float) -> dict[str, Any]:
    import torch
    from lightly.loss import NTXentLoss  # type: ignore[import-not-found, unused-ignore]

    first, second = (torch.tensor(x).requires_grad_(True) for x in pair_inputs(batch))
    loss = NTXentLoss(temperature)(first, second)
    gradients = torch.autograd.grad(loss, [first, second])
    return {
        "loss": loss.item(),
        "first_gradient": summary(gradients[0]),
        "second_gradient": summary(gradients[1]),
    }


def bank_case(batch: int, keys: int, temperature: float) -> list[dict[str, Any]]:
    import torch
    from lightly.loss import NTXentLoss  # type: ignore[import-not-found, unused-ignore]

    loss_fn = NTXentLoss(temperature, memory_bank_size=(keys, DIM)).double()
    loss_fn.memory_bank.bank.copy_(torch.tensor(bank_start(keys)))
    results = []
    for step in range(BANK_STEPS):
        query, key = (torch.tensor(x).requires_grad_(True) for x in pair_inputs(batch, step))
        loss = loss_fn(query, key)
        gradients = torch.autograd.grad(loss, [query, key])
        results.append(
            {
                "loss": loss.item(),
                "query_gradient": summary(gradients[0]),
                "key_gradient": summary(gradients[1]),
                "bank_after": summary(loss_fn.memory_bank.bank),
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
        "negative_cosine": {str(b): cosine_case(b) for b in PAIR_BATCHES},
        "nt_xent": {f"{b} {t}": nt_xent_case(b, t) for b in PAIR_BATCHES for t in PAIR_TEMPERATURES},
        "nt_xent_with_bank": {f"{b} {n} {t}": bank_case(b, n, t) for b, n, t in BANK_CASES},
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
