"""Each check of a tracker sees what it is for; the run that it hears is like a real one."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from conformance import broken_trackers as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of
from runs import make_photos, tiny_recipe

from sslkit import run
from sslkit.conformance.records import a_run, end
from sslkit.core.tracker import Record, Tracker
from sslkit.testing import ConformanceError, check_tracker, tracker_findings

MISTAKES: list[Mistake] = [
    ("it_is_built", broken.WantsMore, ["TypeError", "project"]),
    ("it_hears_a_run", broken.KnowsStepsAlone, ["KeyError", "in log"]),
    ("it_hears_a_run", broken.ChangesRecords, ["changes the step record"]),
    ("it_takes_what_is_not_a_number", broken.WritesStrictJSON, ["ValueError", "in log"]),
    ("it_ignores_what_it_does_not_know", broken.KnowsEveryKind, ["KeyError: 'weather'"]),
    ("it_takes_figures", broken.MovesFigures, ["FileNotFoundError", "in figure"]),
    ("it_can_be_closed_twice", broken.ClosesOnce, ["ValueError", "in close"]),
    ("it_goes_on_after_a_stop", broken.StartsOnce, ["FileExistsError"]),
    ("the_run_is_left_alone", broken.TakesTheRunsFile, ["metrics.jsonl", "a folder of yours"]),
]


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    check: str, cls: type[Tracker], words: list[str]
) -> None:
    found = {finding.check: finding for finding in tracker_findings(cls)}
    assert_told(found[check], words)


def test_no_check_is_without_a_mistake() -> None:
    assert_complete(MISTAKES, tracker_findings(broken.Plain))


def test_one_whose_package_is_missing_is_no_success() -> None:
    with pytest.raises(ConformanceError, match=r"(?s)nothing of IsNotInstalled.*pip install cloud"):
        check_tracker(broken.IsNotInstalled)


@dataclass
class Heard:
    """The records of a real run, by kind."""

    records: dict[str, list[Record]]


@pytest.mark.slow
def test_the_run_that_it_hears_is_like_a_real_one(tmp_path: Path) -> None:
    (tmp_path / "ear.py").write_text(EAR)
    recipe = tiny_recipe(
        make_photos(tmp_path / "photos"), trackers=["ear"], plugins=[str(tmp_path / "ear.py")]
    )
    run(recipe, quiet=True, out=tmp_path / "run")
    real: dict[str, set[str]] = defaultdict(set)
    for line in (tmp_path / "run/heard.txt").read_text().splitlines():
        kind, *keys = line.split()
        real[kind] |= {*keys}
    ours: dict[str, set[str]] = defaultdict(set)
    for record in (*a_run(tmp_path), end(tmp_path)):
        ours[record["kind"]] |= record.keys()
    for kind in ("start", "eval", "end"):
        assert ours[kind] == real[kind], kind
    for kind in ("step", "health"):
        assert ours[kind] <= real[kind], kind


EAR = """
from dataclasses import dataclass
from sslkit import Tracker, hookimpl


@dataclass
class EarConfig:
    \"\"\"No settings.\"\"\"


class Ear(Tracker):
    Config = EarConfig

    def __init__(self, config, run_dir, name):
        self.path = run_dir / "heard.txt"

    def log(self, record):
        with self.path.open("a") as file:
            print(record["kind"], *record, file=file)


@hookimpl
def sslkit_trackers():
    return {"ear": Ear}
"""
