"""Schedules as pure functions of the step: nothing is carried along, so a resume needs no state.

The values are those of DINO's code (Caron et al. 2021, `cosine_scheduler` and the teacher temperature), which
builds whole arrays with numpy; here each value is computed alone.
"""

import math


def cosine(
    step: int, total_steps: int, *, start: float, end: float, warmup_steps: int = 0, warmup_start: float = 0.0
) -> float:
    """Linear warm-up from `warmup_start` to `start`, then half a cosine towards `end`.

    The first value with a warm-up is exactly `warmup_start`; the last one, at `total_steps - 1`, is just
    short of `end`, which only steps past the schedule get.

    Args:
        step: optimiser step, >= 0.
        total_steps: length of the whole schedule, warm-up included.
        start, end: values at the two ends of the cosine.
        warmup_steps: length of the warm-up, >= 0.
        warmup_start: value at step 0 when there is a warm-up.

    Raises:
        ValueError: `step` or `warmup_steps` is negative.
    """
    _check(step, warmup_steps)
    if step < warmup_steps:
        return _linspace(step, warmup_steps, warmup_start, start)
    length = max(total_steps - warmup_steps, 1)
    position = min(step - warmup_steps, length)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * position / length))


def linear_warmup(step: int, warmup_steps: int, *, start: float, end: float) -> float:
    """Linear from `start` at step 0 to `end` at step `warmup_steps - 1`, then flat.

    DINO's teacher temperature counts in epochs: pass the epoch as `step` and the warm-up's epochs.

    Raises:
        ValueError: `step` or `warmup_steps` is negative.
    """
    _check(step, warmup_steps)
    return _linspace(step, warmup_steps, start, end) if step < warmup_steps else end


def _linspace(index: int, count: int, start: float, end: float) -> float:
    """`np.linspace(start, end, count)[index]`, bit for bit."""
    if count == 1:
        return start
    return end if index == count - 1 else index * ((end - start) / (count - 1)) + start


def _check(step: int, warmup_steps: int) -> None:
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"step and warmup_steps must be >= 0, got {step} and {warmup_steps}")
