"""`auto` is careful; what a device cannot do is said."""

import pytest
import torch

from sslkit.errors import RecipeError
from sslkit.train.distributed import choose_device
from sslkit.train.precision import compute_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("amx", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_auto_takes_bf16_on_a_cpu_only_with_the_hardware(
    amx: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx, "avx512_bf16": True})
    assert compute_dtype("auto", CPU) is dtype


def test_fp16_on_a_cpu_is_refused_with_what_to_take() -> None:
    with pytest.raises(RecipeError, match="fp32"):
        compute_dtype("fp16", CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name}.*auto or cpu"):
        choose_device(name)
