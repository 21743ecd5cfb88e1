"""The doctor: whether a run is healthy, told from its step records; what ails it, and what to change.

What is watched of every method, with the experiment behind each threshold: docs/health.md. A method adds
signs and causes of its own (`Method.signs`, `Method.causes`).
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from shlex import quote
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sslkit.core.diagnosis import COLLAPSES, Cause, Sign, VerdictName
from sslkit.recipe.schema import Recipe

if TYPE_CHECKING:
    from sslkit.core.method import Method

WINDOW = 20
"""Steps that a verdict looks back on."""
EVERY = 10
"""Steps between two verdicts."""
PATIENCE = 3
"""Verdicts in a row, each `EVERY` steps after the one before, that it takes to change the verdict."""
FEWEST_STEPS = 40
"""Before so many steps nothing can be told."""
DEAD_STD = 0.045
"""Spread of normalised features (1 for directions at random) below which they are one point."""
DEAD_RANK = 2.2
"""RankMe of a batch's features below which they lie on a line or in a plane."""
ALIKE_RANK = 3.5
"""RankMe of an untrained network's features below which the images themselves are alike."""
NO_STEP = 0.01
"""Loss this near to that of a network that tells nothing apart, as a share of it: nothing is learned yet."""
RISEN = 1.5
"""Loss above that of the first steps by this factor: it diverges."""
LOST_SCALE = 1.0
"""An fp16 loss scale that has halved down to this has skipped some sixteen steps."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong, by which numbers, why, and the overrides that mend it; `healthy` has none of these."""

    verdict: VerdictName
    cause: str | None = None
    advice: str | None = None
    evidence: str | None = None

    @property
    def overrides(self) -> str:
        """The advice as words for a command line; empty where it is none that can be pasted."""
        words = (self.advice or "").split()
        return " ".join(map(quote, words)) if words and all("=" in word for word in words) else ""


EARLY = Verdict("not learning yet", evidence=f"fewer than {FEWEST_STEPS} steps are too few to tell")


@dataclass
class Doctor:
    """Remembers the last steps and judges them."""

    recipe: Recipe
    signs: Sequence[Sign] = ()
    causes: Sequence[Cause] = ()
    chance_loss: float | None = None
    recent: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    first: list[Mapping[str, Any]] = field(default_factory=list)
    """The first steps, up to a window of them."""
    verdict: Verdict = field(default_factory=lambda: EARLY)
    """What was found last, `PATIENCE` times in a row: one noisy window changes nothing."""
    found: list[VerdictName] = field(default_factory=list)
    """The last findings, up to `PATIENCE` of them."""
    last_healthy: int = -1
    """The last step before which nothing was found; -1: none yet."""

    @classmethod
    def of(cls, recipe: Recipe, method: "Method") -> "Doctor":
        """For a method as it is built."""
        return cls(recipe, method.signs, method.causes, method.chance_loss)

    def see(self, record: Mapping[str, Any]) -> None:
        """Take in a step record; judge every few steps, and at once where a number is not finite."""
        record = {key: value if _is_finite(value) else None for key, value in record.items()}
        self.recent.append(record)
        if len(self.first) < WINDOW:
            self.first.append(record)
        is_broken = self._broken() is not None
        if not is_broken and (record["step"] % EVERY or record["step"] < FEWEST_STEPS):
            return
        found = self._diagnosis()
        self.found = [*self.found, found.verdict][-PATIENCE:]
        if found.verdict == "healthy":
            self.last_healthy = record["step"] - WINDOW
        if is_broken or self.found == [found.verdict] * PATIENCE:
            self.verdict = found

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, JSON-able: a resumed run is judged as one that was never stopped."""
        return {
            "recent": list(self.recent),
            "first": self.first,
            "found": self.found,
            "verdict": asdict(self.verdict),
            "last_healthy": self.last_healthy,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.recent.extend(state["recent"])
        self.first, self.found = list(state["first"]), list(state["found"])
        self.verdict, self.last_healthy = Verdict(**state["verdict"]), state["last_healthy"]

    def _diagnosis(self) -> Verdict:
        """What the window alone says."""
        name, evidence = self._signs_found()
        if name == "healthy":
            return Verdict(name)
        if name == "not learning yet" and self._is_early():
            return Verdict(name, evidence=evidence)
        causes = [*self.causes, *_generic_causes(self.recipe, self._was_dead_at_first())]
        holding = [cause for cause in causes if name in cause.verdicts] or [_unknown_cause(name, self.recipe)]
        text, advice = "; ".join(c.text for c in holding), " ".join(c.advice for c in holding)
        return Verdict(name, text, advice, evidence)

    # --- signs ---------------------------------------------------------------------------------------------

    def _signs_found(self) -> tuple[VerdictName, str]:
        if (broken := self._broken()) is not None:
            return "diverging", broken
        signs = sorted((*self.signs, *self._generic_signs()), key=lambda sign: _ORDER.index(sign.verdict))
        for sign in signs:
            values = {name: self._mean(name) for name in sign.when}
            if all(_is_within(values[name], *bounds) for name, bounds in sign.when.items()):
                shown = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
                return sign.verdict, f"{shown} over the last {len(self.recent)} steps"
        return "healthy", ""

    def _broken(self) -> str | None:
        """A number of the last step that is beyond repair."""
        last = self.recent[-1] if self.recent else {}
        scale = last.get("loss_scale")
        for name in ("loss", "grad_norm") if scale is None else ("loss",):
            if last.get(name, 0.0) is None:
                return f"{name} is not finite"
        return f"the loss scale is down to {scale:g}" if scale is not None and scale < LOST_SCALE else None

    def _generic_signs(self) -> Iterator[Sign]:
        """What is watched of every method."""
        yield Sign("dead features", {"feature_std": (-math.inf, DEAD_STD)})
        yield Sign("dead features", {"rankme": (-math.inf, DEAD_RANK)})
        start = fmean(record["loss"] or 0.0 for record in self.first)
        if start > 0:
            yield Sign("diverging", {"loss": (RISEN * max(start, self.chance_loss or 0.0), math.inf)})
        if self.chance_loss is not None:
            near = NO_STEP * self.chance_loss
            yield Sign("not learning yet", {"loss": (self.chance_loss - near, self.chance_loss + near)})

    def _mean(self, name: str) -> float | None:
        """Over the window's steps that have the number."""
        values = [record[name] for record in self.recent if record.get(name) is not None]
        return fmean(values) if values else None

    def _is_early(self) -> bool:
        """Before the end of the warm-up and a tenth of the run, a loss at its start is nothing to act on."""
        epochs = max(self.recipe.optim.warmup_epochs, self.recipe.optim.epochs / 10)
        return bool(self.recent[-1].get("epoch", 0) < epochs)

    def _was_dead_at_first(self) -> bool:
        first = self.first[0]
        if first["step"] != 1:  # of a run that started from a checkpoint it is no untrained network
            return False
        spread, rank = first.get("feature_std"), first.get("rankme")
        return (spread is not None and spread < DEAD_STD) or (rank is not None and rank < ALIKE_RANK)


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _is_within(value: float | None, low: float, high: float) -> bool:
    return value is not None and low <= value <= high


_ORDER = (*COLLAPSES, "diverging", "not learning yet")
"""Which verdict counts where the signs of several are there."""

# --- causes ------------------------------------------------------------------------------------------------

HIGH_LR = 0.004
"""Of the Adam family, after scaling by the batch: .002 learned in all our runs, .005 and more collapsed."""


def _generic_causes(recipe: Recipe, dead_at_first: bool) -> Iterator[Cause]:
    """What the recipe shares between methods and is known to go wrong; the likeliest first."""
    optim = recipe.optim
    if dead_at_first:
        text = "the images look alike to the untrained network already: see figures/crops.png"
        yield Cause(("dead features",), text, "data.root=DIR (or data.mean and data.std of your images)")
        return
    if recipe.runtime.precision == "fp16":
        text = "numbers overflow in half precision (runtime.precision=fp16)"
        yield Cause(("diverging",), text, "runtime.precision=fp32")
    if "adam" in optim.name and (lr := _scaled_lr(recipe)) > HIGH_LR:
        base = "" if optim.lr_base_batch is None else f" x {optim.batch_size} / {optim.lr_base_batch} images"
        text = f"the learning rate is high: {lr:.2g} (optim.lr={optim.lr:g}{base})"
        yield Cause((*COLLAPSES, "diverging"), text, f"optim.lr={optim.lr * 0.25 * HIGH_LR / lr:.1g}")
    if optim.clip.mode == "none":
        yield Cause(("diverging",), "gradients are not clipped", "optim.clip.mode=per_parameter")
    if optim.warmup_epochs == 0:
        warm = max(1, round(optim.epochs / 10))
        yield Cause((*COLLAPSES, "diverging"), "there is no warm-up", f"optim.warmup_epochs={warm}")
    yield from _weak_augmentation(recipe.augment.config)


def _scaled_lr(recipe: Recipe) -> float:
    optim = recipe.optim
    return optim.lr * (optim.batch_size / optim.lr_base_batch if optim.lr_base_batch else 1.0)


def _weak_augmentation(config: Any) -> Iterator[Cause]:
    """Crops of nearly the whole image, and no change of colour: all views are the same picture."""
    scale, jitter = getattr(config, "global_scale", None), getattr(config, "color_jitter", None)
    if scale and jitter is not None and scale[0] >= 0.9 and jitter.p == 0:
        text = f"the views are nearly the same picture (augment.global_scale={list(scale)}, no colour jitter)"
        advice = "augment.global_scale=[0.4,1.0] augment.color_jitter.p=0.8"
        yield Cause((*COLLAPSES, "not learning yet"), text, advice)


_UNKNOWN: Mapping[VerdictName, str] = {
    "uniform collapse": "every output has the same share: the targets are not sharp enough",
    "one-dimension collapse": "one output has everything: nothing balances them",
    "dead features": "all images have nearly the same features",
    "diverging": "the steps are too large",
    "not learning yet": "the loss is that of a network that tells nothing apart",
}
"""Where the recipe shows nothing that is known to lead there."""


def _unknown_cause(name: VerdictName, recipe: Recipe) -> Cause:
    """What helps most often: smaller steps, and more time until they are at their largest."""
    optim = recipe.optim
    warm = max(1, round(2 * optim.warmup_epochs))
    return Cause((name,), _UNKNOWN[name], f"optim.lr={optim.lr / 3:.1g} optim.warmup_epochs={warm}")
