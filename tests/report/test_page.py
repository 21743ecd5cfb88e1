"""What stands on the page, without a browser."""

import base64
import io
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hand_runs import write_run
from image_sets import Pictures
from PIL import Image
from test_plugins import HEAD, Site

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalData
from sslkit.errors import RunError
from sslkit.eval.timeline import Frame
from sslkit.report.page import write_page
from sslkit.report.page_attention import attention_over_time, heat_strip
from sslkit.report.page_curves import constants, curves, drawn, invariance
from sslkit.report.page_features import Limits, Look, NoFeatures, features_of
from sslkit.report.page_pictures import sheet, table
from sslkit.report.page_run import headlines, read_run
from sslkit.train.export import blocked_in

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> 'ü\" 日本 {{ 7*7 }} \udc80"


def page(run: Path) -> str:
    return write_page(run).read_text("utf-8")


def without_plotly(html: str) -> str:
    return re.sub(r"<script nonce[^>]*>/\*\*\n\* plotly.*?</script>", "", html, flags=re.DOTALL)


def data(html: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def health(step: int, verdict: str, **told: str) -> dict[str, Any]:
    return {"kind": "health", "step": step, "verdict": verdict, **told}


def test_names_are_text_everywhere(tmp_path: Path) -> None:
    evil = HOSTILE.replace("\udc80", "")
    more = [
        health(40, "diverging", cause=evil, advice=evil, evidence=evil),
        {"kind": "step", "step": 41, "loss": 1.0, evil: 2.0},
        {"kind": "eval", "step": 40, "evaluator": evil, "dataset": evil, "metrics": {evil: 0.5}},
    ]
    run = write_run(
        tmp_path / "it's <b>", more=more, record={"error": HOSTILE, "command": HOSTILE}, name=evil
    )
    (run / "figures" / "<i>").mkdir(parents=True)
    (run / "figures" / "<i>" / "a.csv").write_text(f'x,"{evil.replace(chr(34), "")}"\n1,<b>\n', "utf-8")
    html = without_plotly(page(run))
    assert html.count("<script") == 2
    assert "<img src=x" not in html
    assert "<i>" not in html.replace("<i>diverging</i>", "")
    assert "{{ 7*7 }}" in html
    assert any(
        line["label"] == evil.replace("_", " ") for chart in data(html)["curves"] for line in chart["lines"]
    )


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    html = without_plotly(page(write_run(tmp_path / "a")))
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//""", html)
    assert not re.search(r"@import|url\((?!\$\{)", html)
    assert "default-src 'none'" in html


def test_the_verdict_and_the_numbers_come_first(tmp_path: Path) -> None:
    more = [health(20, "healthy"), health(40, "uniform collapse", cause="too warm", advice="method.x=1")]
    run = write_run(tmp_path / "a", more=more, record={"setup": {"num_classes": 4}})
    html = page(run)
    opening = html[html.index("<main>") : html.index('id="curves"')]
    for told in ("Uniform collapse", "Too warm", "method.x=1", "50.0 %", "untrained 10.0 %", "chance 25.0 %"):
        assert told in opening, told
    assert "uniform collapse from step 20" in opening


def test_a_number_stands_beside_its_interval_and_count(tmp_path: Path) -> None:
    last = {
        "kind": "eval",
        "step": 40,
        "evaluator": "linear",
        "dataset": "demo/val",
        "metrics": {"top1": 0.8, "rank": 12.5},
        "intervals": {"top1": [0.7, 0.9], "rank": [None, None]},
        "counts": {"top1": 60},
    }
    knn, linear = headlines(read_run(write_run(tmp_path / "a", more=[last])))
    assert (knn.label, linear.label) == ("kNN, class (k = 10)", "Linear classifier, class")
    assert linear.interval == "70.0 to 90.0 %"
    assert linear.count == 60
    assert linear.bar is not None
    assert linear.bar["low"] == 70.0
    assert "12.5" in page(tmp_path / "a")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    html = page(write_run(tmp_path / "a b"))
    for told in (
        "the run ended before its first check",
        "no checkpoint was written",
        "eval.evaluators.timeline={}",
    ):
        assert told in html
    for section in ("attention", "map", "neighbours", "crops", "invariance", "prototypes"):
        assert f'<section id="{section}"' not in html


def test_the_time_in_hooks_is_told(tmp_path: Path) -> None:
    time = {"plugin": "watch.py", "hook": "sslkit_step_finished", "calls": 700, "seconds": 0.4123}
    html = page(write_run(tmp_path / "a", record={"hooks": [time]}))
    assert re.search(r"watch\.py, sslkit_step_finished<[^<>]*>\s*<[^<>]*>0\.412 s in 700 calls<", html)


def test_a_run_that_failed_at_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a b", status="failed", record={"error": "the loss became nan\n  do this"})
    (run / "metrics.jsonl").unlink()
    (run / "checkpoints" / "step-00000010").mkdir(parents=True)
    html = page(run)
    assert "<strong>Failed</strong> at step 0: the loss became nan" in html
    assert f"sslkit run &#39;{run}&#39; --resume" in html
    assert "plotly.js v" not in html, "no chart, no library"


def evaluators(*names: str, needs: str = "frozenset()") -> str:
    """The source of a plugin."""
    return (
        f"{HEAD}\n@dataclass\nclass Config:\n    width: int = 1\n\n"
        f"class Toy:\n    Config = Config\n    needs = {needs}\n\n"
        f"@hookimpl\ndef sslkit_evaluators():\n    return dict.fromkeys({names}, Toy)\n"
    )


def test_installed_evaluators_cost_no_run_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("SSLKIT_PLUGINS_ALLOW", "toy-*")
    site = Site(tmp_path / "site")
    site.install("toy-page", "1", evaluators("alone", "knn", "twice"))
    site.install("toy-rival", "1", evaluators("twice"))
    site.install("toy-vague", "1", evaluators("vague", needs="['labels']"))
    site.install("toy-unasked", "1", evaluators("unasked"))
    out = [{"name": name, "status": "left out"} for name in ("toy-unasked", "toy-gone", "sslkit.eval.linear")]
    run = write_run(tmp_path / "a", record={"plugins": out, "setup": {"num_classes": 4}})
    (run / "checkpoints" / "step-00000010").mkdir(parents=True)
    html = page(run)
    (told,) = re.findall(r"([\w, ]+) were not asked", html)
    names = told.strip().split(", ")
    assert "alone" in names
    assert not {"linear", "twice", "unasked", "vague"} & {*names}
    assert blocked_in(run) == ["toy-unasked", "sslkit.eval.linear"]
    assert "there is no plugin" not in html


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in"):
        write_page(tmp_path)


# --- curves ------------------------------------------------------------------------------------------------


def steps(count: int, **values: Any) -> list[dict[str, Any]]:
    return [{"kind": "step", "step": n, "loss": 1 / n, **values} for n in range(1, count + 1)]


def test_many_steps_become_means() -> None:
    (chart,) = curves(drawn(steps(10_001), None, None))
    (line,) = chart["lines"]
    assert len(line["x"]) == len(line["y"]) == len(line["smooth"]) <= 1500
    chunk = -(-10_001 // 1500)
    np.testing.assert_allclose(line["y"][3], np.mean(1 / np.arange(3 * chunk + 1, 4 * chunk + 1)), rtol=1e-4)
    np.testing.assert_allclose(
        line["y"][-1], np.mean(1 / np.arange(10_001 - 10_001 % chunk + 1, 10_002)), rtol=1e-4
    )


def test_what_does_not_change_is_told_in_words() -> None:
    found = drawn(steps(5, weight_decay=0.04), None, None)
    assert [chart["title"] for chart in curves(found)] == ["Loss"]
    assert constants(found) == ["weight decay 0.04"]


def test_a_loss_that_is_not_finite_leaves_a_gap() -> None:
    (chart,) = curves(drawn([*steps(2), {"kind": "step", "step": 3, "loss": None}], None, None))
    assert chart["lines"][0]["y"] == [1.0, 0.5, None]


def test_invariance_takes_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(
        "operation,trained,strength,similarity,similarity_low,more\nhue,true,0,1,,x\nhue,true,1,.5,.4,x\nblur,false,,,,\nrot,false,1,.2,,\n"
    )
    lines = invariance(path)
    assert lines is not None
    assert [(line["label"], line["trained"], line["y"]) for line in lines] == [
        ("hue", True, [1.0, 0.5]),
        ("rot", False, [0.2]),
    ]
    assert lines[0]["low"] == [None, 0.4]


# --- pictures ----------------------------------------------------------------------------------------------


def test_an_even_map_is_dark_and_a_peak_is_bright() -> None:
    maps = np.ones((2, 4, 4), np.float32)
    maps[1, 0, 0] = 100
    with Image.open(io.BytesIO(heat_strip(maps, 4.0))) as image:
        light = np.asarray(image.convert("L"))  # [4, 8]
    assert light[:, :4].max() < 80
    assert light[0, 4] > 200


def test_frames_after_the_last_step_are_left_out(tmp_path: Path) -> None:
    for step in (0, 10, 20):
        Frame(step, np.ones((2, 3, 3), np.float32), is_attention=True).write(tmp_path / "timeline")
    assert attention_over_time(tmp_path, 10) is None, "without the images"
    (tmp_path / "timeline" / "images.png").write_bytes(b"png")
    found = attention_over_time(tmp_path, 10)
    assert found is not None
    assert [frame["step"] for frame in found["frames"]] == [0, 10]


def test_a_sheet_is_row_by_row() -> None:
    greys = np.array([0, 50, 100, 150, 200], np.uint8)
    found = sheet(np.broadcast_to(greys[:, None, None, None], (5, 16, 16, 3)))
    with Image.open(io.BytesIO(base64.b64decode(found.source.partition(",")[2]))) as image:
        pixels = np.asarray(image)
    assert (found.columns, found.rows) == (3, 2)
    for i, grey in enumerate(greys):
        row, column = divmod(i, 3)
        assert abs(int(pixels[16 * row + 8, 16 * column + 8, 0]) - int(grey)) < 6


def test_a_long_table_is_begun(tmp_path: Path) -> None:
    (tmp_path / "per_class.csv").write_text("class,top1\n" + "".join(f"c{i},{i / 7}\n" for i in range(99)))
    found = table(tmp_path / "per_class.csv")
    assert found is not None
    assert (found.title, found.count, len(found.rows)) == ("per class", 99, 30)
    assert found.rows[1] == ["c1", "0.1429"]


# --- features ----------------------------------------------------------------------------------------------


class MeanColour(torch.nn.Module):
    """Features [B, 3]; times and plus something."""

    def __init__(self, times: float, plus: float) -> None:
        super().__init__()
        self.times, self.plus = times, plus

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.times * x.mean((2, 3)) + self.plus


def look(times: float = 1.0, plus: float = 0.0) -> Look:
    backbone: Backbone = MeanColour(times, plus)  # type: ignore[assignment]
    return Look(backbone, torch.device("cpu"), nullcontext)


def coloured(count: int, seed: int, labelled: bool = True) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 1, 1, generator=generator).expand(-1, -1, 16, 16).contiguous()
    labels = torch.arange(count) % 3 if labelled else None
    return Pictures(images, labels, classes=("a", "b", "c") if labelled else None)


def test_neighbours_are_the_nearest_by_cosine() -> None:
    bank, queries = coloured(40, 1), coloured(30, 2)
    found = features_of(look(), EvalData(bank, queries), Limits())
    near = found["neighbours"]
    q, b = (s.images[:, :, 0, 0].double().numpy() for s in (queries, bank))
    cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    for row, key in enumerate(near["queries"]["keys"]):
        best = np.argsort(-cosine[int(key.split(".")[0])])[:8]
        assert [near["found"]["keys"][i] for i in near["nearest"][row]] == [f"{i}.png" for i in best]
        assert near["queries"]["labels"][row] == int(key.split(".")[0]) % 3
    assert near["queries"]["labels"][:3] == [0, 1, 2], "one of each class first"
    np.testing.assert_allclose(found["map"]["similarity"], cosine.max(1), atol=6e-4)
    assert len(found["map"]["x"]) == 30


def test_limits_hold_and_a_set_without_labels() -> None:
    found = features_of(look(), EvalData(coloured(90, 1, False), coloured(80, 2, False)), Limits(20, 30))
    assert (found["images"], found["of"], found["bank"], found["of_bank"]) == (20, 80, 30, 90)
    assert found["map"]["labels"] is None


def test_a_slow_machine_sees_fewer() -> None:
    found = features_of(look(), EvalData(coloured(90, 1), coloured(80, 2)), Limits(seconds=0.0))
    assert (found["images"], found["bank"]) == (64, 64)


@pytest.mark.parametrize(
    ("times", "plus", "why"), [(0.0, 1.0, "the same features"), (1.0, float("nan"), "not finite")]
)
def test_collapsed_features_have_no_map(times: float, plus: float, why: str) -> None:
    with pytest.raises(NoFeatures, match=why):
        features_of(look(times, plus), EvalData(coloured(70, 1), coloured(70, 2)), Limits())
