"""figures/patch_game.png: how the game goes as it gets harder, and some games."""

# C channels, p side of a patch, S side of an image

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sslkit.eval.patch_rounds import Rounds, Score, Setting
from sslkit.style import COLOURS, GREY, bare, new_figure, save, shown, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

SHOWN = 6
"""Games in the picture."""
LOOKS = {
    "": "colour",
    "_grey": "grey",
    "_standardized": "standardized",
    "_scrambled": "pixels\nscrambled",
    "_shuffled": "A from a\nthird image",
}
"""What the bars are called, by the ending of the metric."""
VERDICTS = {1.0: ("right", COLOURS[2]), 0.5: ("tie", GREY), 0.0: ("wrong", COLOURS[1])}
CHOSEN = {1.0: 1, 0.0: 2}
"""Row of the patch that was chosen: A or B."""


def draw_patch_game(
    scores: Mapping[str, Score], named: Mapping[str, Setting], rounds: Rounds, path: Path
) -> Path:
    """Three panels with one standard error to either side, and the first games of the reference."""
    reference = scores[""]
    figure = new_figure(9.5, 7.2)
    share, error = 100 * reference.accuracy, 100 * reference.standard_error
    title(
        figure,
        f"Which patch is from the anchor's image? {share:.1f} ± {error:.1f} % right",
        f"{reference.right.numel():,} games on held-out images. A is from the anchor's image, B from another,"
        f" at A's place. Unless said otherwise a patch has {named[''].scale:g} of the image's side and lies"
        f" {named[''].gap:g} patches from the anchor.\n"
        "Dashed: guessing, which A from a third image must come down to. Lines: one standard error.",
    )
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.1])
    top, bottom = parts
    size, gap, look = top.subplots(1, 3, sharey=True, width_ratios=[1, 1, 1.35])
    _draw_line(
        size, {named[name].scale: score for name, score in scores.items() if name.startswith("_size_")}
    )
    size.set_xlabel("side of a patch, share of the image's")
    size.invert_xaxis()
    _draw_line(gap, {named[name].gap: score for name, score in scores.items() if name.startswith("_gap_")})
    gap.set_xlabel("gap between anchor and A, patches")
    _draw_bars(look, {label: scores[name] for name, label in LOOKS.items()})
    size.set_ylabel("share of games right")
    _draw_games(bottom, rounds, named[""], reference.right.flatten()[:SHOWN].tolist())
    return save(figure, path)


def _draw_line(axes: "Axes", by_value: Mapping[float, Score]) -> None:
    values = sorted(by_value)
    scores = [by_value[value] for value in values]
    axes.errorbar(
        values,
        [s.accuracy for s in scores],
        yerr=[s.standard_error for s in scores],
        marker="o",
        markersize=4,
        capsize=3,
        color=COLOURS[0],
    )
    axes.set_xticks(values, [f"{value:g}" for value in values])
    _finish(axes)


def _draw_bars(axes: "Axes", by_label: Mapping[str, Score]) -> None:
    scores = list(by_label.values())
    axes.bar(
        range(len(scores)),
        [s.accuracy for s in scores],
        yerr=[s.standard_error for s in scores],
        color=[COLOURS[0]] * 3 + [GREY] * 2,
        width=0.7,
    )
    axes.set_xticks(range(len(scores)), list(by_label), fontsize=8)
    _finish(axes)


def _finish(axes: "Axes") -> None:
    axes.axhline(0.5, color=GREY, linestyle="--", linewidth=1)
    axes.set_ylim(0, 1.02)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_games(part: "SubFigure", rounds: Rounds, setting: Setting, right: Sequence[float]) -> None:
    """One column a game; the patch that was chosen has a frame."""
    patches = _in_unit_range(
        next(rounds.games(setting))[:, : len(right)], rounds.images
    )  # [3, games, C, p, p]
    grid: Any = part.subplots(3, len(right), squeeze=False)
    for column, verdict in enumerate(right):
        word, colour = VERDICTS[verdict]
        grid[0, column].set_title(word, fontsize=9, color=colour)
        for row, patch in enumerate(patches[:, column]):
            axes = bare(grid[row, column])
            axes.imshow(shown(patch), interpolation="nearest")
            if row == CHOSEN.get(verdict):
                for spine in axes.spines.values():
                    spine.set(color=colour, linewidth=2.5)
    for axes, name in zip(grid[:, 0], ("anchor", "A", "B"), strict=True):
        axes.set_ylabel(name, fontsize=9, rotation=0, labelpad=22, verticalalignment="center")


def _in_unit_range(patches: Tensor, images: Tensor) -> Tensor:
    """Each channel's darkest value to 0 and its brightest to 1: the normalisation is not known here."""
    low, high = (x.view(-1, 1, 1) for x in (images.amin((0, 2, 3)), images.amax((0, 2, 3))))  # [C, 1, 1]
    return ((patches - low) / (high - low).clamp(min=1e-6)).cpu()
