"""Where a process runs, and what torch is set to there."""

import pytest
import torch
import torch.utils.deterministic

from sslkit.recipe.schema import RuntimeSection
from sslkit.train.distributed import _torch_settings


@pytest.mark.parametrize(("device", "deterministic"), [("cuda", True), ("cuda", False), ("cpu", True)])
def test_settings_of_torch_are_given_back(device: str, deterministic: bool) -> None:
    before = settings()
    runtime = RuntimeSection(threads=before["threads"] + 1, deterministic=deterministic)
    with _torch_settings(runtime, torch.device(device)):
        asked = device == "cuda" and deterministic
        changed = {"deterministic": asked, "warns": asked, "fills": not asked}
        assert settings() == {"threads": before["threads"] + 1, **changed}
    assert settings() == before


def settings() -> dict[str, int]:
    """What a run changes; `fills`: whether torch writes into memory that nobody has written to."""
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    }
