"""Each check of an executor sees what it is for, and says what to change."""

from pathlib import Path

import pytest
from conformance import broken_executors as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of

from sslkit.conformance import executor
from sslkit.conformance.executor import ExecutorKit
from sslkit.conformance.findings import run
from sslkit.core.executor import Executor
from sslkit.testing import ConformanceError, check_executor, executor_findings

MISTAKES: list[Mistake] = [
    ("it_is_built", broken.WantsMore, ["TypeError", "queue"]),
    ("jobs_run_and_it_says_how_they_ended", broken.CallsAFailureASuccess, ["'bad' failed", "exit code 3"]),
    ("jobs_run_and_it_says_how_they_ended", broken.ThrowsErrorsAway, ["lacks 'to stderr'", "Job.log"]),
    ("no_more_run_than_are_allowed", broken.BeginsAll, ["Resources(jobs=1)", "beside another one"]),
    ("no_more_run_than_are_allowed", broken.BeginsTheLastFirst, ["begun as 2, 1, 0", "in the order"]),
    ("stop_lets_jobs_save", broken.StopsWithoutMercy, ["before a job had saved", "SIGTERM"]),
    ("stop_lets_jobs_save", broken.AsksUntilItEnds, ["times before it had saved", "send it once"]),
    ("stop_lets_jobs_save", broken.StopsAndGoesOn, ["still waiting"]),
    ("kill_ends_what_runs", broken.ForgetsWhatItKills, ["missing in ended()"]),
    ("kill_ends_what_runs", broken.SaysThatItKills, ["still runs after kill", "SIGKILL"]),
]


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    tmp_path: Path, check: str, cls: type[Executor], words: list[str]
) -> None:
    kit = ExecutorKit(cls, cls.Config(), tmp_path)
    try:
        finding = run(vars(executor)[check], "", kit)
    finally:
        kit.end()
    assert_told(finding, words)


def test_no_check_is_without_a_mistake() -> None:
    assert_complete(MISTAKES, executor_findings(broken.Plain))


def test_one_without_its_cluster_is_no_success() -> None:
    with pytest.raises(ConformanceError, match=r"(?s)nothing of HasNoCluster.*login node"):
        check_executor(broken.HasNoCluster)
