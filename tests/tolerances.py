"""How near a result must be to its oracle, for each type, in one place."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TOLERANCES: dict[torch.dtype, tuple[float, float]] = {
    torch.float64: (1e-11, 1e-13),
    torch.float32: (1e-5, 1e-7),
    torch.bfloat16: (1e-2, 1e-4),
}
"""Relative and absolute: rounding, with a reserve for the order of sums."""
TRAJECTORY: dict[torch.dtype, tuple[float, float]] = {
    torch.float64: (1e-9, 1e-11),
    torch.float32: (1e-4, 1e-5),
}
"""After five training steps (float32 noise measured on the authors' code: loss 6e-6, weights 1e-5). Leave out
the key third of `qkv.bias`: its true gradient is zero, so its AdamW step is noise."""


def assert_close(
    got: Tensor,
    wanted: "Tensor | npt.NDArray[Any] | float",
    *,
    tolerance: tuple[float, float] | None = None,
    scale: float = 1.0,
) -> None:
    """Compare with the tolerance of the type of `got`; `scale` times its absolute part."""
    relative, absolute = tolerance or TOLERANCES[got.dtype]
    expected = np.asarray(wanted.detach().double().cpu() if isinstance(wanted, Tensor) else wanted)
    actual = got.detach().double().cpu().numpy()
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute * scale)
