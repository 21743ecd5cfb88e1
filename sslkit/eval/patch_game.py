"""The game of patch discrimination on held-out images: which of two patches is from the anchor's image?"""

# N images, C channels, S side of an image

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sslkit.core.evaluator import EvalContext, EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.core.patches import ROUNDING
from sslkit.errors import DataError, RecipeError
from sslkit.eval.features import eval_mode
from sslkit.eval.in_memory import spread
from sslkit.eval.patch_rounds import Rounds, Score, Setting
from sslkit.hookspecs import hookimpl

GRID = 8
"""Pixels that the input's side is a multiple of, for a network without patches of its own."""
FEWEST = 3
"""Images: the anchor's, B's, and the third one of the control."""
FIGURE = "patch_game"


@dataclass
class PatchGameConfig:
    """Rounds of the patch game on held-out images, and how hard they are made."""

    scale: float = 0.3
    """Side of a patch as a share of the image's side, above 0 to 1 / (2 + gap)."""
    gap: float = 0.5
    """Least distance between anchor and A, across or down, in sides of a patch, >= -1; below 0 they may
    overlap (Doersch et al. 2015: 0.5)."""
    scales: list[float] = field(default_factory=lambda: [0.4, 0.3, 0.2, 0.1])
    """Sides of a patch that are tried with `gap`, each above 0 to 1 / (2 + gap)."""
    gaps: list[float] = field(default_factory=lambda: [-0.5, 0.0, 0.5, 1.0])
    """Gaps that are tried with `scale`, each -1 to 1 / scale - 2."""
    size: int | None = None
    """Side that patches are resized to for the network, pixels, a multiple of its patch size; best the size
    that it was trained at. null: a quarter of `eval.crop`, up to the next multiple (of 8 pixels for a
    convolutional network), and at least two patches."""
    rounds: int = 1
    """Games with each image as the anchor's, >= 1."""
    images: int = 600
    """At most so many images, >= 3, spread evenly over the held-out ones; all are kept in memory."""

    def __post_init__(self) -> None:
        for key, least in (("rounds", 1), ("images", FEWEST)):
            if getattr(self, key) < least:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be {least} or more")
        if self.size is not None and self.size < 1:
            raise RecipeError(f"'size' is {self.size}, but must be 1 or more (pixels), or null")
        for key, gap in (("gap", self.gap), *(("gaps", gap) for gap in self.gaps)):
            if not -1 <= gap < math.inf:
                raise RecipeError(f"'{key}' has {gap:g}, but must be -1 or more (sides of a patch)")
            _check_scale("scale", self.scale, gap)
        for scale in self.scales:
            _check_scale("scales", scale, self.gap)


def _check_scale(key: str, scale: float, gap: float) -> None:
    if not 0 < scale <= 1 / (2 + gap) + ROUNDING:
        largest = math.floor(1e4 / (2 + gap) + ROUNDING) / 1e4
        raise RecipeError(
            f"'{key}' has {scale:g}, but with a gap of {gap:g} it must be above 0 and at most {largest:g}:"
            " the anchor, the gap and A have to fit into the image"
        )


class PatchGame(Evaluator):
    """Plays the game of patch discrimination with any backbone.

    In each game the network sees an anchor, A from the same image and B from another one, which lies where A
    lies in its own image, and chooses the candidate that is more similar to the anchor: by the method's own
    `similarity(anchors [B, D], candidates [B, D]) -> [B]` of the backbone's features if it has one, else by
    their cosine. A tie counts one half. The games are the same for all subjects, and those of all settings
    are of the same images.

    `accuracy` with `standard_error` and `games`: at `scale` and `gap`. `accuracy_size_0.4` and so on: other
    sizes of patch. `accuracy_gap_-0.5`: other gaps. `accuracy_grey`: each pixel with the mean over its
    channels, which of normalised images is a grey without the luma's weights. `accuracy_standardized`: each
    channel of each patch with mean 0 and deviation 1. Controls: `accuracy_scrambled`, the pixels of each
    patch in random order, so that its colours alone are left; `accuracy_shuffled`, A from a third image,
    which is one half within its error for any network.
    """

    Config = PatchGameConfig

    def __init__(self, config: PatchGameConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.patch_figure import draw_patch_game

        images = gather(data.test, self.config.images).to(context.device)  # [N, C, S, S]
        size = input_side(self.config.size, subject.backbone.patch_size, images.shape[-1])
        rounds = Rounds(images, self.config.rounds, size)
        named = settings(self.config)
        scores = _play(subject, rounds, named)
        estimates = {f"accuracy{name}": score.estimate() for name, score in scores.items()}
        reference = scores[REFERENCE]
        plain = {"standard_error": reference.standard_error, "games": float(reference.right.numel())}
        path = context.figures / f"{FIGURE}.png"
        draw_patch_game(scores, named, rounds, path)
        result = Result.of(estimates, figures={FIGURE: path})
        counts = {**result.counts, **dict.fromkeys(plain, len(images))}
        return replace(result, metrics={**result.metrics, **plain}, counts=counts)


def input_side(wanted: int | None, grid: int | None, image_side: int) -> int:
    """Side of the network's input in pixels, from the key `size` and the side of its own patches.

    Raises:
        RecipeError: the network cannot take images of the wanted side.
    """
    if wanted is None:
        return max(2, math.ceil(image_side / 4 / (grid or GRID))) * (grid or GRID)
    if grid and wanted % grid:
        raise RecipeError(
            f"'patch_game.size' is {wanted}, but the network's own patches are {grid} px large"
            f"\n  choose a multiple of {grid}, such as {math.ceil(wanted / grid) * grid}"
        )
    return wanted


REFERENCE = ""
"""The setting that `accuracy` without an ending tells of."""


def settings(config: PatchGameConfig) -> dict[str, Setting]:
    """Every way of playing, by the ending of its metric."""
    reference = Setting(config.scale, config.gap)
    return {
        REFERENCE: reference,
        **{f"_size_{scale:g}": replace(reference, scale=scale) for scale in config.scales},
        **{f"_gap_{gap:g}": replace(reference, gap=gap) for gap in config.gaps},
        "_grey": replace(reference, look="grey"),
        "_standardized": replace(reference, look="standardized"),
        "_scrambled": replace(reference, look="scrambled"),
        "_shuffled": replace(reference, shuffled=True),
    }


@torch.no_grad()
def _play(subject: Subject, rounds: Rounds, named: Mapping[str, Setting]) -> dict[str, Score]:
    with ExitStack() as modes:
        for module in (subject.backbone, subject.method):
            if module is not None:
                modes.enter_context(eval_mode(module))
        played = {setting: rounds.play(subject, setting) for setting in dict.fromkeys(named.values())}
    return {name: played[setting] for name, setting in named.items()}


def gather(image_set: ImageSet, most: int) -> Tensor:
    """At most so many images of a set, spread evenly, on the CPU, [N, C, S, S]; `DataError` for too few."""
    total = len(image_set)
    if total < FEWEST:
        raise DataError(
            f"patch_game needs {FEWEST} held-out images or more, but {image_set.name} has {total}"
        )
    some = image_set.part(spread(total, most), "patch_game")
    return torch.cat([batch.images for batch in some.batches()])


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"patch_game": PatchGame}
