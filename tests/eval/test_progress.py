"""What a person who waits is shown."""

import io

import pytest

from sslkit.eval.progress import Shown


class Clock:
    """A second passes whenever it is looked at, or so many."""

    def __init__(self, step: float) -> None:
        self.time, self.step = 0.0, step

    def __call__(self) -> float:
        self.time += self.step
        return self.time


class Screen(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    encoding = "ascii"


def test_a_line_now_and_then_where_there_is_no_terminal() -> None:
    pipe = Pipe()
    items = list(
        Shown(pipe, Clock(4.0))(range(7), 700, "features of a/val", size=lambda _: 100, unit="images")
    )
    assert items == list(range(7))
    assert pipe.getvalue().splitlines() == [
        "  features of a/val: 300 of 700 images - 25.0 images/s - 0:16 left",
        "  features of a/val: 600 of 700 images - 25.0 images/s - 0:04 left",
    ]


def test_what_was_done_before_is_no_speed() -> None:
    pipe = Pipe()
    list(Shown(pipe, Clock(20.0))(range(2), 12, "work", done=9))
    assert pipe.getvalue().splitlines() == ["  work: 10 of 12 - 0:40 left", "  work: 11 of 12 - 0:20 left"]


@pytest.mark.parametrize("file", [Pipe(), Screen()])
def test_nothing_of_quick_work(file: io.StringIO) -> None:
    assert list(Shown(file, Clock(0.01))(range(9), 9, "quick")) == list(range(9))
    assert file.getvalue() == ""


def test_a_bar_on_a_terminal_and_one_within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, clock = Screen(), Clock(2.0)
    shown = Shown(screen, clock)
    for _ in shown(range(3), 3, "shards [of] all"):
        assert list(shown(range(2), 2, "features", unit="images")) == [0, 1]
    text = screen.getvalue()
    assert "shards [of] all" in text
    assert "features" in text
    assert "images/s" in text
    assert shown._bars is None
