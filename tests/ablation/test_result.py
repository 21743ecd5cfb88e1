"""Results of studies whose runs were written by hand, so that every number is known."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hand_runs import write_run

from sslkit.ablation.page_forest import marks
from sslkit.ablation.places import Places
from sslkit.ablation.result import StudyResult, as_record, measured, read_result
from sslkit.ablation.section import MetricSection
from sslkit.ablation.statistics import paired_difference
from sslkit.ablation.study import read_study
from sslkit.ablation.tables import as_csv, headline, sections, verdict_lines
from sslkit.comparison.reading import Point
from sslkit.comparison.tables import as_markdown

STUDY = """
sslkit_study: 1
name: hand
title: Which way is up?
base: dino_pocket
variant: study
seeds: [0, 1, 2]
arms:
  flat: {augment.flip.p: 0}
  up: {augment.blur.p: 0}
metrics:
  - {name: knn.top1_k10}
  - {name: knn.top1_k10, measured: area}
  - {name: knn.top1_k10, measured: best}
"""
VALUES = {"baseline": (0.5, 0.6, 0.7), "flat": (0.5, 0.61, 0.69), "up": (0.6, 0.71, 0.8)}
COLLAPSE = {
    "kind": "health",
    "step": 10,
    "verdict": "uniform collapse",
    "cause": "too soft",
    "advice": "method.teacher_temperature=0.04",
}


def hand_study(
    folder: Path,
    values: Mapping[str, Sequence[float | None]] = VALUES,
    text: str = STUDY,
    more: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
) -> StudyResult:
    """A study with one value a seed at the end of each run; None: the run is not there."""
    folder.mkdir(exist_ok=True)
    file = folder / "hand.yaml"
    file.write_text(text)
    places = Places(folder / "study")
    for arm, ends in values.items():
        for seed, end in enumerate(ends):
            if end is not None:
                evals = {0: {"top1_k10": 0.1}, 20: {"top1_k10": 0.9}, 40: {"top1_k10": end}}
                own = (more or {}).get(arm, ())
                write_run(places.run(f"{arm}-{seed}"), evals=evals, seed=seed, more=own)
    return read_result(read_study(file), places)


def test_each_metric_is_measured_where_the_study_says() -> None:
    curve = [Point(0, 0, 0.0, 0.2), Point(10, 100, 1.0, 0.8), Point(40, 400, 4.0, 0.4)]
    end, best, area = (MetricSection("knn.x", measured=how) for how in ("end", "best", "area"))
    least = MetricSection("knn.x", measured="best", better="lower")
    assert [measured(curve, m, 40) for m in (end, best, least)] == [0.4, 0.8, 0.4]
    assert measured(curve, area, 40) == pytest.approx((100 * 0.5 + 300 * 0.6) / 400)
    assert [measured(curve[:1], m, 40) for m in (end, best, area)] == [None, None, None]


def test_an_end_that_is_no_number_is_not_an_earlier_one() -> None:
    curve = [Point(0, 0, 0.0, 0.2), Point(10, 100, 1.0, 0.8)]  # at step 40 it was a NaN
    end, best, area = (MetricSection("knn.x", measured=how) for how in ("end", "best", "area"))
    assert [measured(curve, m, 40) for m in (end, best, area)] == [None, 0.8, None]


def test_arms_are_paired_with_the_baseline_by_seed(tmp_path: Path) -> None:
    result = hand_study(tmp_path)
    up = result.arms[2].measures[0]
    assert up.values == VALUES["up"]
    assert up.difference == paired_difference(VALUES["up"], VALUES["baseline"])
    assert up.difference is not None
    assert up.difference.mean == pytest.approx((0.1 + 0.11 + 0.1) / 3)
    assert result.arms[0].measures[0].difference is None


def test_verdicts_follow_from_the_corrected_numbers(tmp_path: Path) -> None:
    result = hand_study(tmp_path)
    flat, up = (arm.measures[0].verdict for arm in result.arms[1:])
    assert flat is not None
    assert up is not None
    assert (flat.word, up.word) == ("no difference shown", "better")
    assert up.text in " ".join(verdict_lines(result))


def test_less_is_better_where_the_study_says_so(tmp_path: Path) -> None:
    text = STUDY.replace("{name: knn.top1_k10}", "{name: knn.top1_k10, better: lower}")
    verdict = hand_study(tmp_path, text=text).arms[2].measures[0].verdict
    assert verdict is not None
    assert verdict.word == "worse"


def test_a_run_that_is_missing_leaves_its_pair_out(tmp_path: Path) -> None:
    result = hand_study(tmp_path, {**VALUES, "up": (0.6, None, 0.8)})
    measure = result.arms[2].measures[0]
    assert measure.values == (0.6, None, 0.8)
    assert measure.difference == paired_difference((0.6, 0.8), (0.5, 0.7))
    assert not result.is_complete
    assert result.missing == 1
    assert "1 run not over yet" in headline(result)


def test_a_study_without_a_run_says_so(tmp_path: Path) -> None:
    result = hand_study(tmp_path, {})
    assert result.budget is None
    assert result.missing == 9
    assert "no pair of finished runs" in as_markdown(sections(result))


def test_a_collapse_is_counted_and_told_in_the_doctors_words(tmp_path: Path) -> None:
    result = hand_study(tmp_path, more={"up": [COLLAPSE]})
    assert [arm.collapsed for arm in result.arms] == [0, 0, 3]
    text = as_markdown(sections(result))
    assert "3 of 3" in text
    assert (
        "up (all seeds): uniform collapse: too soft; what to change: method.teacher_temperature=0.04" in text
    )


@pytest.mark.parametrize("cause", ["the loss tells nothing apart", None])
def test_a_run_that_learned_nothing_is_told_where_it_was_long_enough(
    tmp_path: Path, cause: str | None
) -> None:
    nothing = {"kind": "health", "step": 10, "verdict": "not learning yet", "cause": cause, "advice": None}
    result = hand_study(tmp_path, more={"up": [nothing]})
    told = f"up (all seeds): not learning yet: {cause}" in as_markdown(sections(result))
    assert told == (cause is not None)
    assert list(marks(result.arms[2])) == (["not learning yet 3 of 3"] if cause else [])


def test_a_run_that_recovered_is_not_collapsed(tmp_path: Path) -> None:
    healthy = {"kind": "health", "step": 30, "verdict": "healthy", "cause": None, "advice": None}
    result = hand_study(tmp_path, more={"up": [COLLAPSE, healthy]})
    assert result.arms[2].collapsed == 0
    assert "collapse:" not in as_markdown(sections(result))


def test_a_failed_run_is_a_result_and_has_no_value(tmp_path: Path) -> None:
    hand_study(tmp_path)
    places = Places(tmp_path / "study")
    record = json.loads((places.run("up-1") / "run.json").read_text())
    (places.run("up-1") / "run.json").write_text(
        json.dumps({**record, "status": "failed", "error": "the loss is not finite\n  lower the lr"})
    )
    result = read_result(read_study(tmp_path / "hand.yaml"), places)
    assert result.is_complete
    assert result.arms[2].measures[0].values == (0.6, None, 0.8)
    assert "up (seed 1): failed: the loss is not finite" in as_markdown(sections(result))


def test_at_equal_cost_a_slower_or_longer_arm_is_read_earlier(tmp_path: Path) -> None:
    file = tmp_path / "hand.yaml"
    file.write_text(STUDY)
    places = Places(tmp_path / "study")
    evals = {0: {"top1_k10": 0.1}, 20: {"top1_k10": 0.3}, 40: {"top1_k10": 0.5}}
    for arm, speed, batch in (("baseline", 10.0, 10), ("flat", 5.0, 10), ("up", 20.0, 20)):
        for seed in range(3):
            write_run(
                places.run(f"{arm}-{seed}"), evals=evals, seed=seed, speed=speed, optim__batch_size=batch
            )
    result = read_result(read_study(file), places)
    equal = {arm.name: arm.measures[0].equal for arm in result.arms}
    assert {name: each["equal_images"].mean for name, each in equal.items()} == pytest.approx(
        {"baseline": 0.5, "flat": 0.5, "up": 0.3}
    )
    assert {name: each["equal_time"].mean for name, each in equal.items()} == pytest.approx(
        {"baseline": 0.5, "flat": 0.3, "up": 0.5}
    )


def test_csv_and_json_hold_all_numbers(tmp_path: Path) -> None:
    result = hand_study(tmp_path)
    rows = list(csv.DictReader(io.StringIO(as_csv(result))))
    assert [row["arm"] for row in rows] == [arm for arm in VALUES for _ in range(3)]
    up = next(row for row in rows if row["arm"] == "up" and row["measured"] == "end")
    assert [float(up[f"seed {seed}"]) for seed in range(3)] == [*VALUES["up"]]
    assert up["verdict"] == "better"
    record = json.loads(json.dumps(as_record(result)))
    found = record["arms"][2]["measures"][0]
    assert found["difference"]["mean"] == pytest.approx(float(up["difference"]))
    assert found["values"] == [*VALUES["up"]]
    assert record["arms"][2]["changes"] == {"augment.blur.p": {"baseline": [1.0, 0.1, 0.5], "arm": 0.0}}
    assert record["arms"][2]["runs"][0]["curves"]["knn.top1_k10"][-1]["value"] == 0.6


@pytest.mark.parametrize(
    "word", ["mean ± sd", "95 % (paired t)", "95 % (bootstrap)", "p (Holm)", "equal images"]
)
def test_the_tables_have_what_a_reader_needs(tmp_path: Path, word: str) -> None:
    assert word in as_markdown(sections(hand_study(tmp_path)))
