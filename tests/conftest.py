"""What many tests use."""

import os

import numpy as np
import pytest


def pytest_configure() -> None:
    """One thread a process: pytest's workers and the runs that tests start share the cores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
