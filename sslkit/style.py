"""What all pictures share: size, colours, how they are written."""

# C channels, H, W size of an image

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which the colour-blind can tell apart."""
GREY = "#666666"
HEAT = "inferno"
"""Colour map of heat maps: its lightness grows with the value."""
OUTLINE = COLOURS[1]
DPI = 120


def new_figure(width: float, height: float) -> "Figure":
    """An empty picture of so many inches, apart from pyplot and its global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG so that nobody ever sees half of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    FigureCanvasAgg(figure).print_png(aside)  # type: ignore[no-untyped-call]
    return aside.replace(path)


def title(figure: "Figure", text: str, below: str = "") -> None:
    """A heading, and a smaller line that says how to read the picture; both taken literally, without TeX."""
    width = figure.get_figwidth()
    figure.suptitle(fill(text, int(9 * width)), fontsize=12, fontweight="bold", parse_math=False)
    if below:
        lines = [fill(line, int(13 * width)) for line in below.splitlines()]
        figure.supxlabel("\n".join(lines), fontsize=9, color=GREY, parse_math=False)


def bare(axes: "Axes") -> "Axes":
    """Axes without ticks and with a thin frame, so that a white image can be seen on the page."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#bbbbbb", linewidth=0.5)
    return axes


def shown(image: Tensor) -> npt.NDArray[np.float32]:
    """An image [C, H, W] in [0, 1] as matplotlib takes it, [H, W, 3]: one channel grey, at most three."""
    channels = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)  # [3, H, W]
    array: npt.NDArray[np.float32] = channels.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    return array
