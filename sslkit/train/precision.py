"""Which number format a run computes in."""

from contextlib import AbstractContextManager

import torch

from sslkit.errors import RecipeError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of `runtime.precision` on a device.

    `auto` takes bf16 where the hardware multiplies in it: CUDA from Ampere on, a CPU only with AMX
    (without, bf16 was 20 to 60 times slower than float32).
    """
    if precision == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise RecipeError("'runtime.precision' is fp16, which needs a GPU; on a CPU take fp32 (or auto)")
    return DTYPES[precision]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bf16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # older torch does not tell
        return False
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Mixed precision for the forward pass; nothing for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def gradient_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Scales the loss in fp16; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
