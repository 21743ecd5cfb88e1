"""figures/health/health.png: the spectrum, the spread of each dimension, and distances of pairs."""

# N images, q views, D features

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.evaluator import Estimate
from sslkit.style import COLOURS, GREY, new_figure, save, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = torch.linspace(0, 4, 61, dtype=torch.float64)
"""Squared distances on the unit sphere."""
PAIRS = 200_000
"""Pairs of different images that the histogram is of, at most."""


def draw_health(features: Tensor, views: Tensor, estimates: Mapping[str, Estimate], path: Path) -> Path:
    """Three panels.

    Args:
        features: of the images as they are, [N, D].
        views: of augmented views of them, [N, q, D].
        estimates: the evaluator's numbers.
    """
    figure = new_figure(11, 4.2)
    dims = features.shape[1]
    title(
        figure,
        f"The features use {estimates['rankme'].value:.1f} of {dims} dimensions (RankMe)",
        f"{len(features):,} held-out images."
        " Left: a flat curve uses many directions, one that falls off a few."
        " Middle: dimensions that are the same for all images are dead."
        " Right: views of an image should lie near each other, images far apart.",
    )
    axes: Any = figure.subplots(1, 3)
    _draw_spectrum(axes[0], features, estimates["alpha_req"].value)
    _draw_deviations(axes[1], features)
    _draw_distances(axes[2], features, views)
    for each in axes:
        each.tick_params(labelsize=8)
        each.spines[["top", "right"]].set_visible(False)
    return save(figure, path)


def _draw_spectrum(axes: "Axes", features: Tensor, alpha: float) -> None:
    x = features.double()
    for values, name, colour in (
        (torch.linalg.svdvals(x), "as they are", COLOURS[0]),
        (torch.linalg.svdvals(x - x.mean(0)), "without their mean", COLOURS[1]),
    ):
        shares = (values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)).clamp(min=1e-8)
        axes.plot(range(1, len(shares) + 1), shares.tolist(), color=colour, linewidth=1.8, label=name)
    axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="share of the singular values")
    axes.set_title(f"spectrum: alpha-ReQ {alpha:.2f}", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="lower left")


def _draw_deviations(axes: "Axes", features: Tensor) -> None:
    scale = features.square().mean().sqrt().clamp(min=torch.finfo(features.dtype).tiny)
    deviations = (features.std(0, correction=0) / scale).sort(descending=True).values  # [D]
    edges = [rank + 0.5 for rank in range(len(deviations) + 1)]
    axes.stairs(deviations.tolist(), edges, fill=True, color=COLOURS[0])
    axes.set(xlabel="dimension, sorted", ylabel="deviation / root mean square")
    axes.set_title("spread of each dimension", fontsize=10)


def _draw_distances(axes: "Axes", features: Tensor, views: Tensor) -> None:
    x = F.normalize(views, dim=2)  # [N, q, D]
    of_views = (x[:, ::2] - x[:, 1::2]).square().sum(2).flatten()  # [N q / 2]
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(len(x), (2, PAIRS), generator=generator)
    different = first != second
    of_images = (x[first, 0] - x[second, 0])[different].square().sum(1)
    for distances, name, colour in (
        (of_views, "two views of an image", COLOURS[2]),
        (of_images, "two images", GREY),
    ):
        shares = torch.histogram(distances.double(), BINS).hist / len(distances)
        axes.stairs(shares.numpy(), BINS.numpy(), fill=True, color=colour, alpha=0.65, label=name)
    axes.set(xlabel="squared distance on the unit sphere", ylabel="share of the pairs")
    axes.set_title("alignment and uniformity", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
