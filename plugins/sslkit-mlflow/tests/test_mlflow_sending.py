from threading import Event

import pytest
from sslkit_mlflow.sending import Sender


def test_calls_are_made_in_order() -> None:
    made = list[int]()
    sender = Sender()
    for number in range(200):
        sender.send(made.append, number)
    sender.close()
    assert made == list(range(200))


def test_nobody_waits_for_a_call() -> None:
    gate, made = Event(), list[int]()
    sender = Sender()
    sender.send(gate.wait, 30.0)
    sender.send(made.append, 1)
    sender.check()
    assert not made
    gate.set()
    sender.close()
    assert made == [1]


def fail() -> None:
    raise OSError("the server is gone")


def test_after_a_failure_nothing_more_is_sent() -> None:
    made = list[int]()
    sender = Sender()
    sender.send(made.append, 1)
    sender.send(fail)
    sender.send(made.append, 2)
    with pytest.raises(OSError, match="the server is gone"):
        sender.close()
    assert made == [1]


def test_a_failure_is_told_at_the_next_check() -> None:
    sender, failed = Sender(), Event()
    sender.send(fail)
    sender.send(failed.set)  # not made
    sender._pool.shutdown()
    with pytest.raises(OSError, match="the server is gone"):
        sender.check()
    assert not failed.is_set()
