"""What a person sees of a study while it runs, on a terminal and in a file."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from sslkit.ablation import live
from sslkit.ablation.live import Shown, summary, time_left
from sslkit.ablation.places import Places
from sslkit.ablation.watch import Status, Watch

METRIC = "knn.top1_k10"


def watch(
    arm: str,
    status: Status,
    *,
    seed: int = 0,
    step: int = 0,
    total: int | None = 700,
    value: float | None = None,
    seconds: float | None = None,
    verdict: str = "",
    error: str = "",
) -> Watch:
    made = Watch(arm, seed, Places(Path("study")), METRIC, status=status, step=step, total_steps=total)
    made.value, made.verdict, made.error = value, verdict, error
    if seconds is not None:
        made._seconds.append(seconds)
    return made


def some() -> list[Watch]:
    return [
        watch("baseline", "finished", step=700, value=0.7512, verdict="healthy", seconds=0.2),
        watch("no_color_jitter", "running", step=300, value=0.6, seconds=0.25),
        watch("teacher_.08", "running", step=1200, total=2000, value=0.1, verdict="uniform collapse"),
        watch(
            "warmup", "failed", error="the loss became nan at step 31 (lr 0.5, gradient norm nan), and more"
        ),
        watch("rotation", "stopped", step=3, error="killed by SIGKILL"),
        watch("global_only", "waiting", total=None),
    ]


class Terminal(io.TextIOWrapper):
    """A terminal's output, kept."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """Without what moves the cursor and colours."""
        self.flush()
        raw = self.buffer.getvalue()  # type: ignore[attr-defined]
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw.decode(self.encoding))
        return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal that can do everything; of 100 columns unless told otherwise."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return sized(monkeypatch, 100, 40)


def sized(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> pytest.MonkeyPatch:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    return monkeypatch


def table(watches: Sequence[Watch], encoding: str = "utf-8") -> list[str]:
    terminal = Terminal(encoding)
    with Shown(METRIC, terminal) as shown:
        shown.update(watches)
    return terminal.lines()


# On a terminal


def test_the_table_says_where_each_run_is(size: pytest.MonkeyPatch) -> None:
    head, _, *rows, caption = table(some())
    assert head.split() == ["arm", "seed", "progress", METRIC, "left"]
    assert [re.split(r"\s{2,}", row.strip()) for row in rows] == [
        ["baseline", "0", "700/700", "0.751", "finished"],
        ["no_color_jitter", "0", "300/700", "0.600", "1:40", "running"],
        ["teacher_.08", "0", "1,200/2,000", "0.100", "running, uniform collapse"],
        ["warmup", "0", "failed: the loss became nan at step …"],
        ["rotation", "0", "3/700", "stopped (killed by SIGKILL)"],
        ["global_only", "0", "waiting"],
    ]
    assert caption.strip().startswith("1 of 6 runs finished · 2 running · 1 failed · 1 collapsed · about ")


@pytest.mark.parametrize(("width", "height"), [(100, 40), (80, 24), (60, 15), (40, 12), (30, 10)])
def test_it_fits(size: pytest.MonkeyPatch, width: int, height: int) -> None:
    sized(size, width, height)
    crowd = [watch(f"arm_{i}", "waiting", seed=seed) for seed in range(3) for i in range(20)]
    crowd[30:30] = some()
    lines = table(crowd)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert any("no_color" in line for line in lines)  # those that run are always there
    if width >= 60:
        assert any("0.600" in line and "running" in line for line in lines)


def test_the_numbers_stay_whole_beside_a_long_error(size: pytest.MonkeyPatch) -> None:
    sized(size, 60, 20)
    rows = table(some())
    assert any("no_color_jitter" in row and " 0.600 " in row for row in rows)


def test_it_shows_the_latest(size: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with Shown(METRIC, terminal) as shown:
        shown.update([watch("a", "running", step=1)])
        shown.stopping()
        shown.update([watch("a", "stopped", step=2)])
    lines = terminal.lines()
    assert "stopping: the runs save their state" in "\n".join(lines)
    assert "2/700" in lines[-2]
    assert "1/700" not in lines[-2]
    assert "stopped" in lines[-2]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("width", [100, 30])
def test_a_terminal_of_few_letters(size: pytest.MonkeyPatch, encoding: str, width: int) -> None:
    sized(size, width, 10)
    crowd = [*some(), *(watch(f"größer_{i}", "failed", error="→ 5 € · ±") for i in range(20))]
    lines = table(crowd, encoding)
    assert "1 of 26 runs" in "\n".join(lines)
    assert "·" not in "\n".join(lines)


# In a file


class Told:
    """The lines that a file gets, update by update."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self._file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        self.shown, self._seen = Shown(METRIC, self._file), 0

    def after(self, *watches: Watch) -> list[str]:
        self.shown.update(watches)
        self._file.flush()
        text = self._file.buffer.getvalue().decode(self._file.encoding)
        new, self._seen = text[self._seen :], len(text)
        return [re.sub(r"\s{2,}", "  ", line).strip() for line in new.splitlines()]


def test_a_file_gets_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    waiting = watch("a", "waiting")
    assert told.after(waiting) == ["0 of 1 runs finished · 0 running"]
    assert told.after(waiting) == []
    assert told.after(watch("a", "running")) == ["a-0  running"]
    assert told.after(watch("a", "running", step=5, value=0.1, verdict="uniform collapse")) == []
    assert told.after(watch("a", "finished", value=0.25, verdict="uniform collapse")) == [
        f"a-0  finished, uniform collapse  {METRIC} 0.250"
    ]
    assert told.after(watch("a", "finished", value=0.25, verdict="uniform collapse")) == []
    monkeypatch.setattr(live, "BETWEEN_LINES", 0.0)
    assert told.after(watch("a", "finished")) == ["a-0  finished", "1 of 1 runs finished · 0 running"]


def test_what_was_finished_before_is_not_told_again_but_what_failed_is() -> None:
    first = [watch("a", "finished"), watch("b", "failed", error="no images"), watch("c", "waiting")]
    assert Told().after(*first) == [
        "b-0  failed: no images",
        "1 of 3 runs finished · 0 running · 1 failed",
    ]


def test_a_file_of_few_letters() -> None:
    assert Told("ascii").after(watch("größer", "failed", error="5 €")) == [
        "gr??er-0  failed: 5 ?",
        "0 of 1 runs finished - 0 running - 1 failed",
    ]


# Numbers


def test_the_time_left_is_of_all_that_is_not_over() -> None:
    runs = [
        watch("a", "finished", step=100, total=100, seconds=1.0),
        watch("b", "running", step=40, total=100, seconds=2.0),
        watch("c", "running", step=0, total=100),  # not a step yet: as the others are on average
        watch("d", "waiting", total=None),
        watch("e", "failed", step=10, total=100),
    ]
    assert time_left(runs) == pytest.approx((60 * 2.0 + 100 * 1.5 + 100 * 1.5) / 2)
    assert time_left(runs[:1]) is None
    assert time_left([watch("a", "running", step=1)]) is None


def test_the_summary() -> None:
    runs = [watch("a", "running", step=40, total=100, seconds=60.0), watch("b", "waiting", total=None)]
    assert summary(runs) == "0 of 2 runs finished · 1 running · about 2:40:00 left"
    assert summary([watch("a", "finished", verdict="dead features")]) == (
        "1 of 1 runs finished · 0 running · 1 collapsed"
    )
