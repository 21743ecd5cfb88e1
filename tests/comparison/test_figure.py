"""comparison.png: where points stand, and what a group's line is."""

from pathlib import Path

import numpy as np
import pytest
from hand_runs import KNN, climbing, write_run
from PIL import Image

from sslkit.compare import compare
from sslkit.comparison.figure import _draw_group, _panels, draw
from sslkit.style import new_figure


def test_epochs_only_where_an_epoch_is_the_same_for_all(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1)
    c = write_run(tmp_path / "c", record={"setup": {"steps_per_epoch": 20}}, optim__lr=1.0)
    d = write_run(tmp_path / "d", record={"setup": {}}, optim__lr=1.0)
    alike = _panels(compare([a, b]))
    assert [(panel.label, panel.budget) for panel in alike] == [
        ("epochs", 4),
        ("training time, minutes", pytest.approx(40 / 60)),
    ]
    run = compare([a, b]).runs[0]
    assert [panel.place(run, run.curves[KNN][-1]) for panel in alike] == pytest.approx([4, 40 / 60])
    e = write_run(tmp_path / "e", record={"setup": {}})
    for pair in ([a, c], [a, d], [d, e]):
        panel = _panels(compare(pair))[0]
        assert (panel.label, panel.budget) == ("thousand images seen", 0.4)
        assert panel.place(run, run.curves[KNN][-1]) == 0.4


def test_the_line_joins_what_every_seed_has(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", evals=climbing(0, 10, 40))
    b = write_run(tmp_path / "b", evals={**climbing(0, 30), 40: {"top1_k10": 0.6}}, seed=1)
    found = compare([a, b])
    axes = new_figure(4, 4).subplots()
    _draw_group(axes, found.groups[0], KNN, lambda _, p: p.step, 100.0, colour="#000000", marker="o")
    line, floor = axes.lines
    assert list(line.get_xdata()) == [0, 40]  # type: ignore[arg-type]
    assert list(line.get_ydata()) == pytest.approx([0, 50])  # type: ignore[arg-type]
    assert set(floor.get_ydata()) == {0.0}  # type: ignore[arg-type]
    band, others = axes.collections
    assert band.get_paths()[0].get_extents().ymax == pytest.approx(50 + 200**0.5)
    assert np.asarray(others.get_offsets())[:, 0].tolist() == [10, 30]


def test_any_number_of_groups_can_be_drawn(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"{i}", evals=climbing(0), optim__lr=i + 1.0) for i in range(26)]
    with Image.open(draw(compare(runs), tmp_path / "c.png")) as image:
        assert image.width > 1000
