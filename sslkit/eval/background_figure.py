"""figures/background.png: object over ground, block by block, and some triples."""

# T triples

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslkit.eval.background import Answers
from sslkit.style import COLOURS, GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SHOWN = 9
"""Triples in the picture."""
TOKENS = {"cls": ("CLS", COLOURS[0]), "patches": ("mean of the patches", COLOURS[2])}
CHOSEN, WRONG = COLOURS[2], COLOURS[1]
ROWS = ("anchor", "same object,\nother ground", "other object,\nsame ground")


def draw_answers(answers: Mapping[str, Answers], path: Path) -> Path:
    """One panel for each kind of ground, by block; below, the first triples, the nearer one framed."""
    figure = new_figure(10, 6.4)
    own, first = next(iter(answers.items()))
    title(
        figure,
        f"Near because of the object, not the ground: {100 * float(first.right.mean()):.0f} % of the triples"
        f" ({own} grounds)",
        f"Each anchor is compared with its own object on another ground and with another object on its own"
        f" ground ({len(first.triples)} triples a kind of ground). Bands: 95 % of the bootstrap over triples."
        " Dashed: indifference. Framed below: the nearer one, green if it is the object.",
    )
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    panels: Any = parts[0].subplots(1, len(answers), sharey=True, squeeze=False)
    for axes, (kind, answer) in zip(panels[0], answers.items(), strict=True):
        _draw_layers(axes, kind, answer)
    panels[0, 0].set_ylabel("share of triples\nwith the object nearer", fontsize=9)
    panels[0, 0].legend(fontsize=7, loc="best", frameon=False)
    _draw_triples(parts[1], answers)
    return save(figure, path)


def _draw_layers(axes: "Axes", kind: str, answer: Answers) -> None:
    for token, (label, colour) in TOKENS.items():
        known = {depth: e for (depth, name), e in answer.layers.items() if name == token}
        if known:
            low, high = [e.low for e in known.values()], [e.high for e in known.values()]
            axes.fill_between(list(known), low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                list(known),
                [e.value for e in known.values()],
                marker="o",
                markersize=4,
                color=colour,
                label=label,
            )
    styles = {"untrained": (COLOURS[4], "-."), "pixels": (GREY, ":")}
    for name, floor in answer.floors.items():
        colour, line = styles[name]
        axes.axhline(floor.value, color=colour, linestyle=line, linewidth=1.2, label=name)
    axes.axhline(0.5, color="#aaaaaa", linestyle="--", linewidth=0.8)
    depths = sorted({depth for depth, _ in answer.layers})
    axes.set_xticks(depths if len(depths) <= 12 else depths[::4])
    axes.set_xlabel("block", fontsize=9)
    axes.set_title(f"{kind}" if kind == "pasted" else f"{kind} grounds", fontsize=10)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_triples(part: "SubFigure", answers: Mapping[str, Answers]) -> None:
    each = SHOWN // len(answers)
    columns = [
        (kind, answer, t) for kind, answer in answers.items() for t in range(min(each, len(answer.triples)))
    ]
    grid: Any = part.subplots(len(ROWS), len(columns), squeeze=False)
    for column, (kind, answer, t) in enumerate(columns):
        right = float(answer.right[t])
        if t == 0 and len(answers) > 1:
            grid[0, column].set_title(kind, fontsize=9, loc="left")
        for row in range(len(ROWS)):
            axes = bare(grid[row, column])
            axes.imshow(shown(answer.triples.pixels[row, t]), interpolation="nearest")
            if (row, right) in ((1, 1.0), (2, 0.0)):
                for spine in axes.spines.values():
                    spine.set(color=CHOSEN if row == 1 else WRONG, linewidth=2.5)
    for axes, name in zip(grid[:, 0], ROWS, strict=True):
        axes.set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
