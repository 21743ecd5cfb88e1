"""What a method says of its own health: signs in its numbers, and causes in its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

VerdictName = Literal[
    "healthy",
    "not learning yet",
    "uniform collapse",
    "one-dimension collapse",
    "dead features",
    "diverging",
]
COLLAPSES: tuple[VerdictName, ...] = ("uniform collapse", "one-dimension collapse", "dead features")


@dataclass(frozen=True)
class Sign:
    """Numbers that mean a verdict: all of them within their bounds, on average over the doctor's window."""

    verdict: VerdictName
    when: Mapping[str, tuple[float, float]]
    """The least and the greatest value of each metric of a step."""


@dataclass(frozen=True)
class Cause:
    """Something in the settings that is known to lead to a verdict."""

    verdicts: tuple[VerdictName, ...]
    text: str
    """What is wrong, in a few words that follow a colon."""
    advice: str
    """The change to make: overrides that can be pasted, such as "method.center_momentum=0.9"."""


def no_ema(**momenta: float) -> tuple[Cause, ...]:
    """The cause that the target is the learning network itself; none where all momenta are .5 or more.

    `momenta`: EMA momenta by their keys in the method's section.
    """
    low = {f"method.{key}": value for key, value in momenta.items() if value < 0.5}
    if not low:
        return ()
    shown = ", ".join(f"{key}={value:g}" for key, value in low.items())
    text = f"the target is the learning network itself ({shown}): no EMA"
    return (Cause(COLLAPSES, text, " ".join(f"{key}=0.99" for key in low)),)
