"""Where the network looked at each evaluation, made ready for the page's slider."""

# N images, h x w grid of patches

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslkit.eval.timeline import IMAGES, NAME, Frame, read_frames
from sslkit.report.page_pictures import data_uri
from sslkit.style import HEAT

MOST_FRAMES = 60
"""Positions of the slider."""
FULL = 4.0
"""Attention of so many times the average is bright at least, so that an even map is not bright all over."""


def attention_over_time(figures: Path, last_step: int) -> dict[str, Any] | None:
    """The images and a strip of heat maps for each step; None where nothing was kept.

    Steps after the last one are of a run that was since resumed from an earlier checkpoint.
    """
    folder = figures / NAME
    frames = [frame for frame in read_frames(folder) if frame.step <= last_step]
    if not frames or not (folder / IMAGES).is_file():
        return None
    if len(frames) > MOST_FRAMES:
        chosen = np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int)
        frames = [frames[i] for i in chosen]
    return {
        "images": data_uri((folder / IMAGES).read_bytes(), "image/png"),
        "count": len(frames[0].maps),
        "is_attention": frames[0].is_attention,
        "grid": list(frames[0].maps.shape[1:]),
        "frames": [_frame(frame) for frame in frames],
    }


def _frame(frame: Frame) -> dict[str, Any]:
    means = frame.maps.mean((1, 2))
    peaks = frame.maps.max((1, 2)) / np.maximum(means, np.finfo(np.float32).tiny)
    return {
        "step": frame.step,
        "strip": data_uri(heat_strip(frame.maps, FULL if frame.is_attention else 0.0), "image/png"),
        "peaks": [round(float(peak), 1) if np.isfinite(peak) else None for peak in peaks],
    }


def heat_strip(maps: npt.NDArray[np.float32], full: float) -> bytes:
    """Maps [N, h, w] beside each other as PNG, each from black, nothing, to its own largest.

    Args:
        full: a map that nowhere reaches so many times its average stays darker.
    """
    from matplotlib import colormaps
    from PIL import Image

    largest = np.maximum(maps.max((1, 2), keepdims=True), full * maps.mean((1, 2), keepdims=True))
    shares = np.nan_to_num(maps / np.where(largest > 0, largest, 1))
    levels = (np.concatenate(list(shares), axis=1) * 255).round().astype(np.uint8)  # [h, N w]
    image = Image.fromarray(levels, "L").convert("P")
    colours = colormaps[HEAT](np.arange(256), bytes=True)[:, :3]
    image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
