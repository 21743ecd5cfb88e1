"""A study's page in headless Chromium, with names that are out for trouble."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ablation.hand_studies import exact, study_of, write_runs
from browsing import DESKTOP, PHONE, Visit, needs_chromium

from sslkit.ablation.page import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, needs_chromium]
ARM = "<u>'\"&lt;{{7*7}}$x^2$%{x}"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a 'b' <c>")
    arms = {ARM: {"method.center_momentum": 0.5}} | {
        f"momentum_{i}": {"method.center_momentum": 0.9 + i / 100} for i in range(1, 8)
    }
    study = study_of(folder, name=ARM, title="<img src=x onerror=alert(1)>", arms=arms, seeds=[0, 1])
    ends = exact({arm.name: (0.4, 0.42) if arm.name == ARM else (0.7, 0.71) for arm in study.arms})
    ill = {ARM: {"verdict": "uniform collapse", "cause": "<u>", "advice": "</script>"}}
    return write_page(write_runs(study, folder / "out", ends, ill=ill))


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    opened = Visit(browser, report, **DESKTOP)
    yield opened
    opened.context.close()


def test_it_opens_without_an_error_and_without_a_network(visit: Visit) -> None:
    visit.look_at("#curves .chart:nth-child(2)")
    assert not visit.outside
    assert not visit.said
    assert visit.page.locator("u").count() == 0
    assert visit.page.locator("h1").inner_text() == ARM
    assert visit.page.locator("#arms button").nth(1).inner_text() == ARM


def test_the_dots_stand_where_the_numbers_say(visit: Visit) -> None:
    lines = visit.page.locator(".forest tbody .zero")
    places = {round(box["x"]) for i in range(lines.count()) if (box := lines.nth(i).bounding_box())}
    assert len(places) == 1, "one line at zero through all rows"
    row = visit.page.locator(".forest tbody tr").nth(1)
    dot = row.locator(".mean").bounding_box()
    assert dot is not None
    assert dot["x"] + dot["width"] < places.pop() - 50
    assert "difference -0.295 (n 2)" in (row.locator(".place").get_attribute("title") or "")


def test_an_arm_is_seen_alone_beside_the_baseline(visit: Visit) -> None:
    visit.look_at("#curves .chart:nth-child(1)")
    seen = "() => document.querySelector('.plot').data.filter((t) => t.name && t.opacity === 1).length"
    bands = "() => document.querySelector('.plot').data.filter((t) => t.fill && t.opacity > 0).length"
    assert (visit.page.evaluate(seen), visit.page.evaluate(bands)) == (9, 0)
    visit.page.locator("#arms button").nth(3).click()
    assert (visit.page.evaluate(seen), visit.page.evaluate(bands)) == (2, 2)
    visit.page.locator("#arms button").nth(3).click()
    assert visit.page.evaluate(seen) == 9


def test_pointing_at_a_curve_tells_its_arm_as_it_is_written(visit: Visit) -> None:
    visit.look_at("#curves .chart:nth-child(1)")
    visit.page.locator("#arms button").nth(1).click()
    point = visit.page.locator(".plot").first.locator(".scatterlayer .trace").nth(-3).locator(".point").last
    box = point.bounding_box()  # the baseline's band and curve are drawn after it
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.wait_for_selector(".hoverlayer .hovertext", timeout=10_000)
    told = visit.page.locator(".hoverlayer").first.text_content() or ""
    assert ARM in told
    assert "at 400 images" in told
    assert "2 seeds" in told


def test_dark_mode_reaches_the_charts(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, **{**DESKTOP, "color_scheme": "dark"})
    visit.look_at("#curves")
    baseline = "() => document.querySelector('.plot').data.at(-1).line.color"
    dark = visit.page.evaluate(baseline)
    visit.page.locator("#theme").click()
    assert (dark, visit.page.evaluate(baseline)) == ("#e9e8e4", "#1b1c1e")
    visit.context.close()


def test_nothing_is_wider_than_a_phone(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, **PHONE)
    visit.look_at("#curves")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 375
    assert not visit.said
    visit.context.close()
