"""The page in headless Chromium, from a real run with names that are out for trouble."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browsing import DESKTOP, PHONE, Visit, needs_chromium
from PIL import Image
from runs import tiny_recipe

import sslkit.run as door
from sslkit.eval.timeline import Frame
from sslkit.report.page import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, needs_chromium]
CLASSES = ("<img src=x onerror=alert(1)>", 'it\'s "ü" & $x^2$ Ж')


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a 'b' <c>")
    rng = np.random.default_rng(0)
    for i in range(200):
        (folder / "photos" / CLASSES[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 100, (24, 24, 3), dtype=np.uint8)
        pixels[..., i % 2] += 120
        Image.fromarray(pixels).save(folder / "photos" / CLASSES[i % 2] / f"<b>{i}.png")
    recipe = tiny_recipe(
        folder / "photos", name="<b>\"tiny'", eval={"evaluators": {"knn": {"k": [3]}, "timeline": {}}}
    )
    recipe["runtime"]["max_steps"] = 12
    run = door.run(recipe, out=folder / "run & <i>", quiet=True).run_dir
    maps = np.ones((6, 4, 4), np.float32)
    maps[:, 1, 2] = 9  # so few steps change little
    Frame(12, maps, is_attention=True).write(run / "figures" / "timeline")
    return write_page(run)


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    opened = Visit(browser, report, **DESKTOP)
    yield opened
    opened.context.close()


def test_it_opens_without_an_error_and_without_a_network(visit: Visit) -> None:
    visit.look_at("#curves")
    visit.look_at("#map")
    assert not visit.outside
    assert not visit.said
    assert visit.page.title().startswith("<b>\"tiny'")
    assert visit.page.locator("h1 b").count() == 0
    legend = visit.page.locator("#scatter .legend").text_content() or ""
    assert all(name in legend for name in CLASSES)


def test_the_slider_changes_the_picture(visit: Visit) -> None:
    slider, heat = visit.page.locator("#step"), visit.page.locator(".look .heat").first
    last = heat.evaluate("e => getComputedStyle(e).backgroundImage")
    slider.focus()
    visit.page.keyboard.press("Home")
    assert heat.evaluate("e => getComputedStyle(e).backgroundImage") != last
    assert visit.page.locator("#step-told").inner_text() == "before training"
    visit.page.keyboard.press("End")
    assert heat.evaluate("e => getComputedStyle(e).backgroundImage") == last


def test_hover_and_arrow_keys_show_the_thumbnail(visit: Visit) -> None:
    visit.look_at("#map")
    card = visit.page.locator("#card")
    assert not card.is_visible()
    point = visit.page.locator("#scatter .point").first.bounding_box()
    assert point is not None
    visit.page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    visit.page.wait_for_selector("#card", state="visible")
    thumb = "e => getComputedStyle(e.querySelector('.thumb')).backgroundImage.slice(0, 20)"
    assert card.evaluate(thumb) == 'url("data:image/webp'
    assert "nearest in training" in card.inner_text()
    visit.page.locator("#scatter").focus()
    before = card.get_attribute("data-image")
    visit.page.keyboard.press("ArrowRight")
    assert card.get_attribute("data-image") != before


def test_another_query_has_other_neighbours(visit: Visit) -> None:
    first = visit.page.locator("#found").inner_html()
    visit.page.locator("#queries button").nth(1).click()
    assert visit.page.locator("#found").inner_html() != first
    assert visit.page.locator("#queries [aria-pressed=true]").count() == 1


def test_a_zoom_in_one_curve_is_a_zoom_in_all(visit: Visit) -> None:
    visit.look_at("#curves .chart:nth-child(1)")
    visit.look_at("#curves .chart:nth-child(3)")
    visit.page.evaluate("Plotly.relayout(document.querySelector('.plot'), {'xaxis.range': [2, 6]})")
    visit.page.wait_for_function(
        "document.querySelectorAll('.plot')[2].layout.xaxis.range?.join() === '2,6'", timeout=10_000
    )


def test_dark_mode_follows_the_system_and_the_button(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, **{**DESKTOP, "color_scheme": "dark"})
    visit.look_at("#curves")
    background = "() => getComputedStyle(document.body).backgroundColor"
    ticks = "() => getComputedStyle(document.querySelector('.xtick text')).fill"
    dark = visit.page.evaluate(background), visit.page.evaluate(ticks)
    visit.page.locator("#theme").click()
    light = visit.page.evaluate(background), visit.page.evaluate(ticks)
    assert dark[0] == "rgb(20, 21, 23)"
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[1] != light[1], "the charts follow"
    visit.context.close()


def test_nothing_is_wider_than_a_phone(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, **PHONE)
    visit.look_at("#map")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 375
    assert visit.page.evaluate("document.querySelector('#scatter').layout.dragmode") is False
    assert not visit.said
    visit.context.close()
