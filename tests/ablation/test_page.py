"""What stands on a study's page, without a browser."""

import base64
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ablation.hand_studies import GRID, exact, noisy, study_of, write_runs
from ablation.studies import write_study
from PIL import Image
from runs import make_photos

from sslkit.ablation.page import write_page
from sslkit.ablation.page_curves import curves, styles
from sslkit.ablation.page_forest import Row, axis_of, forest
from sslkit.ablation.page_grid import heat_map
from sslkit.ablation.page_views import Crops, crops, whole_images
from sslkit.ablation.places import Places
from sslkit.ablation.result import StudyResult, read_result
from sslkit.ablation.statistics import paired_difference
from sslkit.ablation.study import read_study
from sslkit.report.rendering import Missing

ARMS = {"lower": {"method.center_momentum": 0.5}, "higher": {"method.center_momentum": 0.99}}
ARM = "<u>'\"&lt;{{7*7}}$x^2$日本"
EVIL = f"</script><script>alert(1)</script><u onclick=alert(2)> {ARM} \udc80"


def page(result: StudyResult) -> str:
    html = write_page(result).read_text("utf-8")
    return re.sub(r"<script nonce[^>]*>/\*\*\n\* plotly.*?</script>", "", html, flags=re.DOTALL)


def data(html: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def text(html: str) -> str:
    """Without tags, and with one blank where there are several."""
    bare = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", bare)


def section(html: str, name: str) -> str:
    start = html.index(f'id="{name}">')
    return html[start : html.index("</section>", start)]


def three(tmp_path: Path, values: Mapping[str, tuple[float | None, ...]], **written: Any) -> StudyResult:
    study = study_of(tmp_path, name="three", title="Which way?", arms=ARMS, baseline="base")
    return write_runs(study, tmp_path / "out", exact(values), **written)


FLAT = {"base": (0.5, 0.6, 0.7), "lower": (0.4, 0.51, 0.6), "higher": (0.51, 0.58, 0.73)}


def row_of(result: StudyResult, name: str) -> Row:
    (row,) = (row for row in forest(result).rows if row.name == name)
    return row


# --- the whole ---------------------------------------------------------------------------------------------


def test_names_are_text_everywhere(tmp_path: Path) -> None:
    evil = EVIL.replace("\udc80", "")
    photos = make_photos(tmp_path / f"<u>{ARM}")
    study = study_of(
        tmp_path,
        name=ARM,
        title=evil,
        baseline=f"{ARM}0",
        arms={ARM: {"augment.flip.p": 0}, "quiet": {"data.root": str(tmp_path / "<u>gone")}},
        overrides={"closing": evil, "data": {"name": "folder", "root": str(photos)}, "optim.batch_size": 8},
        seeds=[0, 1],
    )
    ill = {ARM: {"verdict": "uniform collapse", "cause": evil, "advice": evil}}
    result = write_runs(
        study, tmp_path / "out <u>", noisy({}), ill=ill, failed={"quiet-1": EVIL}, device=EVIL, sslkit=EVIL
    )
    html = page(result)
    assert html.count("<script") == 2
    assert "<u" not in re.sub(r"<ul\b", "", html)
    assert "{{7*7}}" in html
    assert [arm["name"] for arm in data(html)["arms"]] == [f"{ARM}0", ARM, "quiet"]


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    html = page(three(tmp_path, FLAT))
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//""", html)
    assert not re.search(r"@import|url\(", html)
    assert "default-src 'none'" in html


def test_the_answer_comes_first(tmp_path: Path) -> None:
    ill = {"lower": {"verdict": "uniform collapse", "cause": "the teacher is too warm", "advice": "a.b=1"}}
    html = page(three(tmp_path, FLAT, ill=ill))
    opening = text(html[html.index("<main>") : html.index('id="curves"')])
    for told in (
        "three Which way?",
        "base dino_pocket, variant study",
        "3 arms x 3 seeds",
        "400 images (14 epochs) a run",
        "Worse lower (uniform collapse 3 of 3)",
        "No difference shown higher",
        "corrected for 2 arms (Holm)",
        "All runs saw 400 training images",
    ):
        assert told in opening, told
    assert re.search(r"no difference shown with 3 seeds; about \d+ would be needed p \d\.\d{3}", opening)
    assert "Not complete" not in opening
    mind = text(section(html, "mind"))
    assert "lower (all seeds): uniform collapse: the teacher is too warm; what to change: a.b=1" in mind
    assert "method.center_momentum 0.9 → 0.5" in text(section(html, "changes"))


def test_what_is_not_over_is_told_with_the_command(tmp_path: Path) -> None:
    values = {**FLAT, "lower": (0.4, None, None)}
    html = page(three(tmp_path, values, failed={"higher-2": "it broke"}))
    told = text(section(html, "verdicts"))
    assert "Not complete 2 runs not over: lower (seeds 1, 2)." in told
    assert f"sslkit ablate {tmp_path}/study.yaml --seeds 0,1,2 --out {tmp_path}/out" in told
    assert "failed 1 of 3" in told
    assert "2 of 3 not over" in told
    assert "higher (seed 2): failed: it broke" in text(section(html, "mind"))


def test_a_study_that_has_not_begun(tmp_path: Path) -> None:
    html = page(three(tmp_path, dict.fromkeys(FLAT, (None,) * 3)))
    assert "9 runs not over" in html
    assert '<section id="curves"' not in html
    assert "plotly" not in html.replace("Charts: plotly.js", ""), "no chart, no library"


def test_the_record_leads_to_the_runs(tmp_path: Path) -> None:
    result = three(tmp_path, FLAT, sslkit="7.7", packages={"torch": "2.9"}, device="cpu")
    (result.places.run("lower-1") / "report.html").touch()
    changed = result.places.run("lower-1") / "run.json"
    changed.write_text(changed.read_text().replace('"2.9"', '"2.8"'))
    record = section(page(read_result(result.study, result.places)), "record")
    assert '<a href="runs/lower-1/report.html">0.510</a>' in record
    assert record.count("<a ") == 1
    assert "torch 2.9; torch 2.8" in text(record)
    assert "center_momentum: 0.5" in record


# --- the rows ----------------------------------------------------------------------------------------------


def test_dots_and_intervals_stand_on_one_axis(tmp_path: Path) -> None:
    result = three(tmp_path, FLAT)
    drawn = forest(result)
    lower = row_of(result, "lower")
    difference = paired_difference(FLAT["lower"], FLAT["base"])
    assert difference.interval is not None
    assert lower.at is not None
    assert lower.bar is not None
    per_unit = (lower.at - drawn.zero) / difference.mean  # per cent of the axis
    assert per_unit > 0
    for place, value in zip(
        (lower.bar.low, lower.bar.high, *lower.seeds), (*difference.interval, -0.1, -0.09, -0.1), strict=True
    ):
        assert place == pytest.approx(drawn.zero + per_unit * value, abs=0.05)
    assert lower.bootstrap is not None
    assert (lower.bootstrap.low, lower.bootstrap.high) == (min(lower.seeds), max(lower.seeds))
    assert (lower.tone, lower.verdict, lower.difference) == ("bad", "worse", "-0.097")
    assert not drawn.is_cut
    for at, label in drawn.ticks:
        assert at == pytest.approx(drawn.zero + per_unit * float(label), abs=0.05)


def test_an_interval_of_two_seeds_is_cut_and_squashes_no_other() -> None:
    narrow = [paired_difference([0.5 + 0.01 * i, 0.52, 0.5], [0.5, 0.5, 0.5]) for i in range(4)]
    huge = paired_difference([0.5, 0.6], [0.5, 0.5])
    axis = axis_of([*narrow, huge], [0.0, 0.1])
    bar = axis.bar(huge.interval)
    assert bar is not None
    assert (bar.is_cut_low, bar.is_cut_high) == (True, True)
    assert (bar.low, bar.high) == (0, 100)
    for difference in narrow:
        bar = axis.bar(difference.interval)
        assert bar is not None
        assert (bar.is_cut_low, bar.is_cut_high) == (False, False)
    assert axis.high - axis.low < 0.3


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [-0.1]])
def test_any_differences_have_an_axis(values: list[float]) -> None:
    axis = axis_of([paired_difference([value], [0.0]) for value in values], values)
    assert axis.low < min([0.0, *values])
    assert axis.high > max([0.0, *values])
    assert "0" in [label for _, label in axis.ticks()]


def test_where_less_is_better_right_is_worse(tmp_path: Path) -> None:
    metrics = [{"name": "knn.top1_k10", "better": "lower"}]
    study = study_of(tmp_path, arms=ARMS, baseline="base", metrics=metrics)
    result = write_runs(study, tmp_path / "out", exact(FLAT))
    assert (forest(result).left, forest(result).right) == ("better", "worse")
    assert row_of(result, "lower").tone == "good"


def test_one_seed_has_a_dot_and_no_interval(tmp_path: Path) -> None:
    study = study_of(tmp_path, arms=ARMS, baseline="base", seeds=[0])
    row = row_of(write_runs(study, tmp_path / "out", exact(FLAT)), "lower")
    assert row.at is not None
    assert (row.bar, row.bootstrap, row.p) == (None, None, "")
    assert row.verdict == "not known from 1 seed: a study needs two or more"


# --- curves and grid ---------------------------------------------------------------------------------------


def test_curves_have_mean_and_band_and_start_untrained(tmp_path: Path) -> None:
    result = three(tmp_path, {**FLAT, "higher": (None, None, None), "lower": (0.4, 0.6, None)})
    main, instance = curves(result)
    assert (main["title"], instance["title"]) == ("knn.top1_k10", "knn.instance_top1_k10")
    base, lower, higher = main["lines"]
    assert base["x"] == [0, 100, 200, 400]
    assert base["mean"][0] == base["low"][0] == base["high"][0] == 0.3
    assert (base["low"][-1], base["mean"][-1], base["high"][-1]) == (0.5, 0.6, 0.7)
    assert (lower["mean"][-1], lower["n"]) == (0.5, [2, 2, 2, 2])
    assert higher is None


def test_arms_are_told_apart_and_the_baseline_from_all(tmp_path: Path) -> None:
    arms = {f"arm{i}": {"method.center_momentum": i / 20} for i in range(12)}
    first, *others = styles(study_of(tmp_path, arms=arms))
    assert (first["baseline"], first["colour"]) == (True, None)
    assert len({(arm["colour"], arm["dash"]) for arm in others}) == 12


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    folder = tmp_path_factory.mktemp("grid")
    study = study_of(folder, name="prior", baseline="one,quiet", grid=GRID, seeds=[0, 1])
    values = {f"{a},{b}": (0.7 - i / 10, 0.72 - i / 10) for i, (a, b) in enumerate(_cells())}
    return write_runs(study, folder / "out", exact({**values, "none,photo": (None, None)}))


def _cells() -> list[tuple[str, str]]:
    return [(a, b) for a in GRID["axes"]["objects"] for b in GRID["axes"]["ground"]]  # type: ignore[index]


def test_a_full_grid_of_two_axes_is_a_heat_map(grid: StudyResult) -> None:
    found = heat_map(grid)
    assert found is not None
    assert (found.row_axis, found.column_axis, found.columns) == ("objects", "ground", ("quiet", "photo"))
    assert [name for name, _ in found.rows] == ["one", "several", "none"]
    (first, second), (third, _), (fifth, last) = (cells for _, cells in found.rows)
    assert first is not None
    assert second is not None
    assert third is not None
    assert fifth is not None
    assert last is not None
    assert (first.is_baseline, first.mean, first.difference, first.share) == (True, "0.710", "", 100)
    assert (second.is_baseline, second.mean, second.difference) == (False, "0.610", "-0.100")
    assert second.share == 75
    assert (third.name, third.mean) == ("several,quiet", "0.510")
    assert fifth.share == 0
    assert (last.mean, last.share) == ("", None)


def test_a_grids_colours_and_dashes_are_its_axes(grid: StudyResult) -> None:
    drawn = {arm["name"]: (arm["colour"], arm["dash"]) for arm in styles(grid.study)}
    assert [drawn[f"{a},{b}"] for a, b in _cells()] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_one_factor_at_a_time_is_no_heat_map(tmp_path: Path) -> None:
    study = study_of(tmp_path, baseline="base", grid={**GRID, "mode": "one_factor"}, seeds=[0])
    result = write_runs(study, tmp_path / "out", noisy({}))
    assert heat_map(result) is None


# --- what the arms see -------------------------------------------------------------------------------------

SEEN = """\
sslkit_study: 1
name: seen
base: base.yaml
seeds: [0]
metrics: [{name: knn.top1_k3}]
arms:
  no_flip: {augment.flip.p: 0}
  global_only: {augment.local_count: 0}
  sharp: {method.teacher_temperature: 0.02}
  no_flip_sharp: {augment.flip.p: 0, method.teacher_temperature: 0.02}
"""


def seen(folder: Path, study: str = SEEN) -> StudyResult:
    file = write_study(folder, study, optim={"batch_size": 8}, data={"canvas": 24})
    return read_result(read_study(file), Places(folder / "out"))


def pixels(source: str) -> "np.typing.NDArray[np.uint8]":
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        return np.asarray(image)


def shown_crops(result: StudyResult) -> Crops:
    missing = list[Missing]()
    found = crops(result, missing)
    assert not missing
    assert found is not None
    return found


def test_crops_are_alike_but_for_what_an_arm_changes(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    found = shown_crops(seen(tmp_path))
    assert [row.names for row in found.rows] == [
        ("baseline", "sharp"), ("no_flip", "no_flip_sharp"), ("global_only",)
    ]  # fmt: skip
    assert [row.changes for row in found.rows] == [(), ("flip.p 0.5 → 0.0",), ("local_count 2 → 0",)]
    baseline, no_flip, global_only = (row.groups for row in found.rows)
    assert [[tile.is_local for tile in group] for group in baseline] == [[False, False, True, True]] * 3
    assert [len(group) for group in global_only] == [2, 2, 2]
    for all_crops, some in zip(baseline, global_only, strict=True):
        assert all_crops[:2] == some
    pairs = [(a, b) for x, y in zip(baseline, no_flip, strict=True) for a, b in zip(x, y, strict=True)]
    assert any(a != b for a, b in pairs), "an image is chosen that shows it"
    for a, b in pairs:
        first, second = pixels(a.source), pixels(b.source)
        assert np.array_equal(first, second) or np.array_equal(first, second[:, ::-1])
    assert {pixels(tile.source).shape for tile in baseline[0]} == {(16, 16, 3), (8, 8, 3)}
    assert (len(found.whole), found.drawn_alike) == (3, True)


def test_other_augmentations_draw_otherwise(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    arms = "arms: {patches: {augment: {name: patches, size: 8}}}\n"
    found = shown_crops(seen(tmp_path, SEEN.partition("arms:")[0] + arms))
    assert (len(found.whole), found.drawn_alike) == (3, False)
    assert {pixels(tile.source).shape for tile in found.rows[1].groups[0]} == {(8, 8, 3)}


def test_arms_that_change_no_crops_have_no_such_section(grid: StudyResult, tmp_path: Path) -> None:
    study = study_of(tmp_path, arms=ARMS)
    result = write_runs(study, tmp_path / "out", noisy({}))
    missing = list[Missing]()
    assert crops(result, missing) is None
    assert whole_images(result, missing) == ()
    assert not missing


def test_data_that_are_gone_are_told(tmp_path: Path) -> None:
    result = seen(tmp_path)  # the photos were never made
    result.places.folder.mkdir()
    html = page(result)
    assert '<section id="crops"' not in html
    told = text(section(html, "missing"))
    assert "Crops of baseline, sharp, no_flip, no_flip_sharp, global_only : " in told
    assert "photos" in told


def test_arms_with_other_data_show_their_images(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos")
    make_photos(tmp_path / "flat", side=16)
    other = f"arms: {{other: {{data.root: {tmp_path / 'flat'}}}, gone: {{data.root: {tmp_path / 'gone'}}}}}\n"
    result = seen(tmp_path, SEEN.partition("arms:")[0] + other)
    missing = list[Missing]()
    baseline, changed = whole_images(result, missing)
    assert (baseline.names, changed.names) == (("baseline",), ("other",))
    assert {pixels(tile.source).shape[0] for tile in baseline.groups[0]} == {24}
    assert {pixels(tile.source).shape[0] for tile in changed.groups[0]} == {16}
    assert len(changed.groups[0]) == 8
    assert [m.what for m in missing] == ["images of gone"]
