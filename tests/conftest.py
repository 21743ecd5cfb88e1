"""What many tests use."""

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browsing import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_configure() -> None:
    """One thread a process: pytest's workers and the runs that tests start share the cores.

    Of the plugins only files: a test that wants an installed package says so.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["SSLKIT_PLUGINS_ALLOW"] = "*.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with minutes of them when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """As in a terminal: a process in the background of a script starts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
