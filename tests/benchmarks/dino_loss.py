"""CPU time of DINO's loss, forwards and backwards, against the authors' loop over pairs.

python tests/benchmarks/dino_loss.py [images]
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from oracles.dino_steps import pair_loop

from sslkit.losses.dino import dino_loss

SIZES = ((10, 65536), (8, 65536), (2, 65536), (10, 4096), (10, 256))


def ours(student: Tensor, teacher: Tensor, center: Tensor) -> Tensor:
    return dino_loss(student, teacher, center, student_temperature=0.1, teacher_temperature=0.04)


def authors(student: Tensor, teacher: Tensor, center: Tensor) -> Tensor:
    return pair_loop(list(student), list(teacher), center, 0.1, 0.04)


def milliseconds(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: tuple[Tensor, Tensor, Tensor]
) -> float:
    best = float("inf")
    for _ in range(5):
        inputs[0].grad = None
        start = time.process_time()
        loss(*inputs).backward()
        best = min(best, time.process_time() - start)
    return best * 1e3


def main(images: int) -> None:
    torch.set_num_threads(1)
    for views, prototypes in SIZES:
        student = torch.randn(views, images, prototypes, requires_grad=True)
        inputs = student, torch.randn(2, images, prototypes), torch.randn(prototypes)
        loop, own = milliseconds(authors, inputs), milliseconds(ours, inputs)
        size = f"V {views:2d} B {images} K {prototypes:5d}"
        print(f"{size}: loop {loop:6.1f} ms, ours {own:6.1f} ms, {loop / own:.2f}x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
