"""What the doctor costs, as a share of a training step.

python tests/benchmarks/doctor.py [RECIPE ...]
"""

import sys
import time
from collections.abc import Callable

import torch

from sslkit.core.method import StepOutput
from sslkit.core.randomness import seeded
from sslkit.recipe.load import load_recipe
from sslkit.session import prepare
from sslkit.train.distributed import process_group
from sslkit.train.health import EVERY, Doctor
from sslkit.train.loop import RANK_EVERY, feature_rank, feature_spread, one_step
from sslkit.train.signals import StopRequest

STEPS = 60


def seconds(work: Callable[[int], object], times: int) -> float:
    """Of one call, on average."""
    started = time.perf_counter()
    for number in range(times):
        work(number)
    return (time.perf_counter() - started) / times


def measure(recipe: str) -> None:
    loaded = load_recipe(recipe, ["runtime.threads=1", "data.workers=0"])
    with process_group(loaded.recipe.runtime) as place:
        session = prepare(loaded, place, StopRequest())
        batches = session.batches()
        some = [next(batches) for _ in range(4)]
        outputs: list[StepOutput] = []

        def step(number: int) -> None:
            outputs[:], _ = one_step(session.trainer, some[number % 4], session.trainer.progress())
            session.trainer.state.step += 1

        seconds(step, 5)
        of_step = seconds(step, STEPS)
        doctor = Doctor.of(loaded.recipe, session.trainer.method)
        record = {"loss": 3.0, "grad_norm": 1.0, "feature_std": 0.5, "rankme": 5.0, "epoch": 20, "kl": 1.0}
        watching = seconds(lambda n: doctor.see({**record, "step": n * EVERY + 100}), 500) / EVERY
        with seeded(0):
            rank = seconds(lambda _: feature_rank(outputs), 50) / RANK_EVERY
        spread = seconds(lambda _: feature_spread(outputs), 50)
    share = (watching + rank + spread) / of_step
    parts = f"judging {1e6 * watching:.0f} us, RankMe {1e6 * rank:.0f} us, spread {1e6 * spread:.0f} us"
    print(f"{recipe}: a step {1e3 * of_step:.1f} ms; {parts}; {share:.2%} of the step")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ("dino_pocket", "methods/mocov2"):
        measure(name)
