"""Several trackers: one that fails is closed and left out, and the others hear on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sslkit.core.tracker import Record, Tracker, Trackers


@dataclass
class Config:
    """None."""


class Listening(Tracker):
    """Keeps what it hears; fails at a record of kind `trouble` if it `fails`."""

    Config = Config

    def __init__(self, *, fails: bool = False) -> None:
        self.heard: list[Any] = []
        self.fails = fails

    def log(self, record: Record) -> None:
        self.heard.append(record["kind"])
        if self.fails and record["kind"] == "trouble":
            raise OSError("the server is gone")

    def figure(self, name: str, path: Path) -> None:
        self.heard.append(name)

    def close(self) -> None:
        self.heard.append("closed")
        if self.fails:
            raise OSError("still gone")


def test_a_tracker_that_fails_is_closed_and_left_out() -> None:
    own, failing, sound = Listening(), Listening(fails=True), Listening()
    trackers = Trackers(own, [failing, sound])
    with pytest.warns(UserWarning, match="the tracker Listening failed and is left out: the server is gone"):
        trackers.log({"kind": "trouble"})
    trackers.log({"kind": "step"})
    trackers.figure("crops", Path("crops.png"))
    trackers.close()
    assert own.heard == ["trouble", "step", "closed"]
    assert failing.heard == ["trouble", "closed"]
    assert sound.heard == ["trouble", "step", "crops", "closed"]
