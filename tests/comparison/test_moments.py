"""What is read off at which moment, and what it cost."""

import math
from pathlib import Path

import pytest
from hand_runs import KNN, at, climbing, cost, knn, write_run

from sslkit.compare import compare, markdown
from sslkit.errors import RunError


def test_equal_images_and_equal_time_take_the_last_evaluation_within(tmp_path: Path) -> None:
    slow = write_run(tmp_path / "slow", evals=climbing(0, 10, 20), steps=range(1, 21), speed=5.0)  # 40 s
    fast = write_run(tmp_path / "fast", evals=climbing(0, 15, 25, 38, 40), speed=10.0, optim__lr=0.2)  # 40 s
    wide = write_run(  # twice the batch: 400 images at step 20, 60 s
        tmp_path / "wide",
        evals=climbing(0, 9, 10, 14, 20),
        steps=range(1, 21),
        speed=400 / 60,
        optim__batch_size=20,
    )
    found = compare([slow, fast, wide])
    assert (found.budget.images, found.budget.images_of) == (200, "slow")
    assert found.budget.seconds == pytest.approx(40)
    assert at(found, "untrained") == [(0.0,), (0.0,), (0.0,)]
    assert at(found, "end") == [(0.2,), (0.4,), (0.2,)]
    assert at(found, "equal_images") == [(0.2,), (0.15,), (0.1,)]
    assert at(found, "equal_time") == [(0.2,), (0.4,), (0.1,)]
    assert "equal images: last evaluated well before all was used: fast at 75%" in found.warnings


def test_the_untrained_network_stands_for_no_later_moment(tmp_path: Path) -> None:
    short = write_run(tmp_path / "short", evals=climbing(0), steps=range(1, 5))
    long = write_run(tmp_path / "long", evals=climbing(0, 40), optim__lr=0.2)
    found = compare([short, long])
    assert at(found, "end") == [(None,), (0.4,)]
    assert at(found, "equal_images") == at(found, "equal_time") == [(None,), (None,)]
    assert found.spread(found.groups[0], KNN, "end").shown(3) == ""


def test_seeds_share_a_clock(tmp_path: Path) -> None:
    """One seed on a busy machine keeps its last evaluation: the group's mean time decides."""
    a = [
        write_run(tmp_path / f"a-{i}", evals=climbing(0, 20, 40), speed=speed, seed=i)
        for i, speed in enumerate((8.0, 12.0))
    ]
    b = write_run(tmp_path / "b", evals=climbing(0, 40), speed=5.0, optim__lr=0.2)
    found = compare([*a, b])
    assert found.budget.seconds == pytest.approx((50 + 400 / 12) / 2)
    assert at(found, "equal_time") == [(0.4, 0.4), (None,)]


def test_a_seed_that_stopped_early_sets_the_budget(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "a-0", evals=climbing(0, 10, 20, 40), speed=5.0)
    stopped = write_run(
        tmp_path / "a-1", evals=climbing(0, 10), steps=range(1, 13), speed=10.0, seed=1, status="stopped"
    )
    found = compare([whole, stopped, write_run(tmp_path / "b", evals=climbing(0, 5, 20), optim__lr=0.2)])
    assert found.budget.images == 120
    assert found.budget.seconds == pytest.approx((24 + 12) / 2)
    assert at(found, "equal_images") == [(0.1, 0.1), (0.05,)]


def test_time_between_two_records_is_counted(tmp_path: Path) -> None:
    every = write_run(tmp_path / "a", speed=10.0)
    tenth = write_run(tmp_path / "b", evals=climbing(0, 15, 40), steps=(10, 20, 30, 38), speed=10.0, seed=1)
    found = compare([every, tenth])
    assert cost(found, "minutes")[0] == pytest.approx((40 / 60, 38 / 60))
    assert cost(found, "ms_per_step")[0] == pytest.approx((1000, 1000))
    run = found.groups[0].runs[1]
    assert [run.seconds_until(step) for step in (0, 5, 10, 15, 39)] == [0.0, 5.0, 10.0, 15.0, None]


def test_a_speed_that_is_missing_leaves_time_open(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a")
    torn = {"kind": "step", "step": 41, "loss": None, "images_per_second": None}
    b = write_run(tmp_path / "b", more=[torn], optim__lr=0.2)
    found = compare([a, b])
    assert cost(found, "minutes")[1] == (None,)
    assert cost(found, "loss") == [(0.1,), (None,)]
    assert found.budget.seconds_of == "a"


def test_cost_is_of_the_end(tmp_path: Path) -> None:
    memory = {"peak_memory_mib": {"process": 300.5, "device": None}}
    found = compare([write_run(tmp_path / "a", record=memory), write_run(tmp_path / "b", optim__lr=0.2)])
    wanted = {"steps": 40, "images": 400, "epochs": 4.0, "loss": 0.1}
    assert {key: cost(found, key)[0][0] for key in wanted} == wanted
    assert cost(found, "memory_mib") == [(300.5,), (None,)]
    page = markdown(found)
    assert "peak MiB" in page
    assert "device MiB" not in page


# --- metrics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nan", [None, math.nan])
def test_nan_and_missing_evaluators_are_empty_cells(nan: float | None, tmp_path: Path) -> None:
    evals: dict[int, dict[str, float | None]] = {0: {"top1_k10": nan}, 40: {"top1_k10": 0.5}}
    a = write_run(tmp_path / "a-0", evals=evals)
    b = write_run(tmp_path / "a-1", seed=1)
    c = write_run(tmp_path / "c", evals={40: {"other": 1.0}}, optim__lr=0.2)
    found = compare([a, b, c])
    assert at(found, "untrained") == [(None, 0.1), (None,)]
    assert found.spread(found.groups[0], KNN, "untrained").shown(3) == "0.100 (1 of 2)"
    assert "| c | 1 |  |  |  |  |" in markdown(found)


def test_the_usual_metrics(tmp_path: Path) -> None:
    a = write_run(
        tmp_path / "a",
        evals={40: {"top1_k5": 0.1, "top1_k20": 0.2, "top1_k100": 0.3, "instance_top1_k20": 0.4}},
        more=[
            knn(40, {"top1": 0.5, "top5": 0.6}, evaluator="linear"),
            knn(40, {"accuracy": 0.7, "size": 8.0}, evaluator="patch_game"),
        ],
    )
    b = write_run(tmp_path / "b", evals={40: {"top1_k20": 0.2, "top1_k100": 0.3}}, optim__lr=0.2)
    usual = ("knn.top1_k20", "knn.instance_top1_k20", "linear.top1", "patch_game.accuracy")
    assert compare([a, b]).metrics == usual
    assert compare([a, b], ["linear.top5", "knn.top1_k5"]).metrics == ("linear.top5", "knn.top1_k5")


def test_without_the_usual_the_first_of_each_evaluator(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / n, more=[knn(40, {"b": 1.0, "a": 2.0}, evaluator="rank")], seed=i)
        for i, n in enumerate("ab")
    ]
    for run in runs:
        text = (run / "metrics.jsonl").read_text().replace("top1_k10", "other")
        (run / "metrics.jsonl").write_text(text)
    assert compare(runs).metrics == ("knn.other", "rank.a")


def test_an_unknown_metric_names_the_valid_ones(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1)]
    with pytest.raises(
        RunError, match=r"'knn.top1_k11'\n  did you mean 'knn.top1_k10'\?\n  valid: knn.top1_k10"
    ):
        compare(runs, ["knn.top1_k11"])


def test_a_resumed_and_re_evaluated_run(tmp_path: Path) -> None:
    """`sslkit eval` adds lines out of order, also on other data; a kill leaves half a line."""
    later = [
        knn(40, {"top1_k10": 0.9}),
        knn(20, {"top1_k10": 0.3}),
        knn(30, {"top1_k10": 0.99}, dataset="photos/val"),
        knn(20, {"top1": 0.4}, evaluator="linear"),
    ]
    a = write_run(tmp_path / "a", more=later)
    with (a / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 41, "lo')
    found = compare([a, write_run(tmp_path / "b", seed=1)])
    run = found.groups[0].runs[0]
    assert run.step == 40
    assert [(p.step, p.value) for p in run.curves[KNN]] == [(0, 0.1), (20, 0.3), (40, 0.5)]
    assert [p.seconds for p in run.curves[KNN]] == pytest.approx([0, 20, 40])
    assert found.metrics == (KNN, "linear.top1")
