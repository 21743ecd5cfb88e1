"""Real signals to this process."""

import signal
import time

import pytest

from sslkit.train.signals import SAME_SECONDS, stop_request


def test_the_first_signal_asks_and_one_right_after_it_is_the_same() -> None:
    with stop_request() as request:
        assert not request.asked
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert request.asked
        assert request.exit_code == 143


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_a_later_one_does_not_wait() -> None:
    with stop_request() as request:
        signal.raise_signal(signal.SIGINT)
        time.sleep(1.1 * SAME_SECONDS)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert request.exit_code == 130


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_request():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
