"""iBOT's part of a recipe."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from sslkit.errors import RecipeError
from sslkit.methods.dino import DINOConfig


@dataclass
class IBOTConfig(DINOConfig):
    """iBOT's part of a recipe: DINO's keys, and those of the patches; the defaults are the authors'."""

    out_dim: int = 8192
    """K, the number of prototypes, >= 2. Small data and small batches want a small K (128 to 4096)."""
    warmup_teacher_temperature_epochs: int = 30
    """Epochs of linear warm-up of both teacher temperatures, of the images and of the patches, >= 0."""
    patch_weight: float = 1.0
    """Weight of the masked patches' loss beside DINO's, >= 0; 0 leaves it out, and with mask_probability 0
    too DINO is left."""
    patch_head: Literal["shared", "separate"] = "shared"
    """Whether patches go through the images' head (iBOT) or one of their own (DINOv2's largest models)."""
    patch_out_dim: int | None = None
    """J, the prototypes of a separate patch head, >= 2; null: as many as out_dim."""
    patch_teacher_temperature: float = 0.07
    """Softmax temperature of the teacher for patches after the warm-up, >= 0; 0 is a one-hot teacher."""
    warmup_patch_teacher_temperature: float = 0.04
    """Teacher temperature for patches at the start, >= 0."""
    patch_centering: Literal["center", "sinkhorn_knopp"] = "center"
    """What keeps patches from one prototype: a running centre (iBOT), or targets that are balanced within the
    batch (DINOv2's option, there for images too)."""
    patch_center_momentum: float = 0.9
    """How slowly the patches' centre follows the batch mean, 0 to 1; 1 keeps it at zero (no centring)."""
    sinkhorn_iterations: int = 3
    """Rounds of Sinkhorn-Knopp, >= 1 (DINOv2: 3)."""
    mask_probability: float = 0.5
    """That a global view is masked at all, 0 to 1; 0 masks nothing."""
    mask_ratio: float = 0.3
    """Share of a masked view's patches that is hidden from the student, on average, 0 to 1."""
    mask_ratio_spread: float = 0.2
    """The share is drawn evenly from mask_ratio minus this to mask_ratio plus this, which must lie in 0 to 1
    (the authors' pred_ratio_var)."""
    mask_shape: Literal["block", "random"] = "block"
    """Hide rectangles (iBOT, BEiT), or single patches."""
    koleo_weight: float = 0.0
    """Weight of the KoLeo term, summed over the global views, >= 0 (DINOv2: 0.1; iBOT has none)."""

    @classmethod
    def for_checks(cls) -> Self:
        """With everything in it and heads that are small enough for tests."""
        return cls(out_dim=16, hidden_dim=16, bottleneck_dim=8, koleo_weight=0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (low, high) in _RANGES.items():
            _check(name, getattr(self, name), low, high)
        for sign, word in ((-1, "minus"), (1, "plus")):
            end = self.mask_ratio + sign * self.mask_ratio_spread
            _check(f"mask_ratio {word} mask_ratio_spread", end, 0, 1)
        self._check_patch_head()
        lowest = min(self.patch_teacher_temperature, self.warmup_patch_teacher_temperature)
        if self.patch_centering == "sinkhorn_knopp" and lowest == 0:
            raise RecipeError("a patch teacher temperature is 0, but must be > 0 with sinkhorn_knopp")

    @property
    def patch_prototypes(self) -> int:
        """J."""
        return self.patch_out_dim or self.out_dim

    def _check_patch_head(self) -> None:
        if self.patch_out_dim is None:
            return
        _check("patch_out_dim", self.patch_out_dim, 2, math.inf)
        if self.patch_head == "shared" and self.patch_out_dim != self.out_dim:
            raise RecipeError(
                f"'patch_out_dim' is {self.patch_out_dim}, but the shared head has {self.out_dim} prototypes"
                "\n  leave it null, or set patch_head=separate"
            )


_UNBOUNDED = (0.0, math.inf)
_SHARE = (0.0, 1.0)
_RANGES = {
    "patch_weight": _UNBOUNDED,
    "patch_teacher_temperature": _UNBOUNDED,
    "warmup_patch_teacher_temperature": _UNBOUNDED,
    "patch_center_momentum": _SHARE,
    "sinkhorn_iterations": (1, math.inf),
    "mask_probability": _SHARE,
    "mask_ratio": _SHARE,
    "mask_ratio_spread": _SHARE,
    "koleo_weight": _UNBOUNDED,
}


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        valid = f">= {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise RecipeError(f"'{name}' is {value:g}, but must be {valid}")
