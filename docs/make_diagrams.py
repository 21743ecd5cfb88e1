"""Draws docs/images/methods/*.png: each method in one picture.

    python docs/make_diagrams.py            all of them
    python docs/make_diagrams.py byol       some

The inputs are demo scenes and the views that sslkit's own augmentations make of them.
"""

# B images, V views, C channels, S side of an image; positions in hundredths of the picture's width

import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from sslkit.augment.config import (
    BlurConfig,
    ColorJitterConfig,
    GrayscaleConfig,
    MultiCropConfig,
    PatchesConfig,
)
from sslkit.augment.multicrop import MultiCrop
from sslkit.augment.patches import Patches, patch_boxes
from sslkit.core.augmentation import Augmentation, ImageFormat, draw_for_step
from sslkit.core.method import Views
from sslkit.data.scenes import ScenesConfig, render_scene
from sslkit.style import COLOURS, GREY, new_figure, save, shown

FOLDER = Path(__file__).with_name("images") / "methods"
INCHES = 7.5
DPI = 160
BLUE, RED, GREEN, PINK = COLOURS[:4]
INK = "#222222"
FORMAT = ImageFormat(3, (0.0,) * 3, (1.0,) * 3)
SIDE = 192
SCENES = (2, 4, 16, 8)  # octopus, apple, violin, football: four that nobody mixes up
UP, DOWN = 31.0, 11.0  # the heights of the two rows
PATCH_SEED = 90
Point = tuple[float, float]


# ---- what goes in


@cache
def scenes() -> Tensor:
    """uint8 [B, C, S, S]."""
    config = ScenesConfig(image_size=SIDE, scale=[0.75, 0.85], rotation=12)
    pictures = [torch.tensor(render_scene(config, "train", i).image) for i in SCENES]
    return torch.stack(pictures).permute(0, 3, 1, 2)


def views_of(augmentation: Augmentation, seed: int) -> tuple[Views, Any]:
    """The scenes' views, in [0, 1], and what was drawn for them."""
    size = torch.full((len(SCENES), 2), SIDE)
    drawn = draw_for_step(augmentation, seed=seed, step=0, batch_size=len(SCENES))
    return augmentation.apply(scenes(), size, drawn), drawn


@cache
def crops() -> Views:
    blur = BlurConfig(p=[0.5, 0.1, 0.0])
    config = MultiCropConfig(
        global_size=96, global_scale=[0.45, 0.7], local_count=2, local_size=48, blur=blur
    )
    return views_of(MultiCrop(config, FORMAT), seed=5)[0]


# ---- what is drawn


class Part(NamedTuple):
    """The sides of something drawn, where arrows start and end."""

    left: Point
    right: Point
    top: Point
    bottom: Point


def part(x: float, y: float, w: float, h: float) -> Part:
    return Part((x - w / 2, y), (x + w / 2, y), (x, y + h / 2), (x, y - h / 2))


class Sketch:
    """An empty picture, from 0 to 100 across and from `low` to `high`."""

    def __init__(self, low: float = 1, high: float = 39) -> None:
        self.figure = new_figure(INCHES, INCHES * (high - low) / 100)
        self.figure.set_layout_engine("none")
        self.figure.set_dpi(DPI)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, 100), ylim=(low, high), autoscale_on=False)
        self.axes.axis("off")

    def text(self, x: float, y: float, words: str, colour: str = GREY) -> None:
        self.axes.text(x, y, words, color=colour, fontsize=9, ha="center", va="center", linespacing=1.15)

    def picture(
        self, x: float, y: float, side: float, image: Tensor, below: str = "", edge: str = ""
    ) -> Part:
        """An image [C, S, S] in [0, 1], its middle at (x, y)."""
        left, bottom = x - side / 2, y - side / 2
        sides = (left, left + side, bottom, bottom + side)
        self.axes.imshow(shown(image), extent=sides, aspect="auto", zorder=2)
        self.frame(left, bottom, side, edge or "#999999")
        self.text(x, bottom - 1.7, below)
        return part(x, y, side + 0.6, side + 0.6)

    def frame(self, left: float, bottom: float, side: float, colour: str) -> None:
        """With a white rim, so that it can be seen on any image."""
        for edge, lw in (("white", 3.2), (colour, 1.4)):
            self.axes.add_patch(Rectangle((left, bottom), side, side, fill=False, ec=edge, lw=lw, zorder=3))

    def box(self, x: float, y: float, words: str, colour: str, *, w: float = 11, h: float = 7) -> Part:
        style = "round,pad=0,rounding_size=1"
        corner = (x - w / 2, y - h / 2)
        self.axes.add_patch(FancyBboxPatch(corner, w, h, boxstyle=style, fc=f"{colour}22", ec=colour))
        self.text(x, y, words, INK)
        return part(x, y, w, h)

    def row(self, start: Part, colour: str, *names: str, x: float = 42, step: float = 16) -> list[Part]:
        """Boxes beside each other at the height of `start`, with arrows from one to the next."""
        boxes = [
            self.box(x + i * step, start.right[1], name, colour, h=9 if name.count("\n") > 1 else 7)
            for i, name in enumerate(names)
        ]
        self.chain(start, *boxes)
        return boxes

    def vector(self, x: float, y: float, name: str, colour: str) -> Part:
        """A projection: a round mark with its name."""
        self.axes.plot(x, y, "o", ms=17, mfc="white", mec=colour, mew=1.6)
        self.text(x, y, name, INK)
        return part(x, y, 4.4, 4.4)

    def bars(self, x: float, y: float, shares: Sequence[float], colour: str) -> Part:
        """A distribution."""
        lefts = [x - 4.5 + 9 * i / len(shares) for i in range(len(shares))]
        self.axes.bar(lefts, [8 * share for share in shares], 1.35, y - 3, align="edge", color=colour)
        self.axes.plot([x - 4.5, x + 4.5], [y - 3, y - 3], color=colour, lw=1)
        return part(x, y, 10, 7)

    def arrow(
        self, start: Point, end: Point, colour: str = GREY, *, head: str = "-|>", line: str = "-"
    ) -> None:
        shape = {"arrowstyle": f"{head},head_width=0.22,head_length=0.42", "color": colour, "ls": line}
        lw = 2 if colour in (GREEN, PINK) else 1.3
        self.axes.annotate("", end, start, arrowprops={**shape, "lw": lw, "shrinkA": 1.5, "shrinkB": 1.5})

    def chain(self, *parts: Part) -> None:
        for one, other in pairwise(parts):
            self.arrow(one.right, other.left)

    def moving_average(self, online: Part, target: Part) -> None:
        self.arrow(online.bottom, target.top, RED, line="--")
        self.text(online.bottom[0] + 6.4, (UP + DOWN) / 2, "moving\naverage", RED)

    def no_gradient(self, x: float, *, above: bool = False) -> None:
        """A bar across the lower row's arrow."""
        self.axes.plot([x, x], [DOWN - 2.3, DOWN + 2.3], color=INK, lw=2.6, solid_capstyle="butt")
        self.text(x, DOWN + (5 if above else -5), "no\ngradient", INK)

    def pull(self, one: Point, other: Point) -> None:
        middle = ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2)
        self.arrow(one, middle, GREEN)
        self.arrow(other, middle, GREEN)

    def push(self, one: Point, other: Point) -> None:
        self.arrow(one, other, PINK, head="<|-|>")


# ---- the methods


def two_views(sketch: Sketch) -> tuple[Part, Part]:
    """A scene and its two global crops."""
    scene = sketch.picture(7, (UP + DOWN) / 2, 12.5, scenes()[0] / 255, "image")
    first = sketch.picture(24, UP, 10.5, crops().global_views[0, 0], "view 1")
    second = sketch.picture(24, DOWN, 10.5, crops().global_views[1, 0], "view 2")
    sketch.arrow(scene.right, first.left)
    sketch.arrow(scene.right, second.left)
    return first, second


def dino() -> Sketch:
    sketch, small = Sketch(), crops().local_views
    _, second = two_views(sketch)
    assert small is not None
    for i, y in enumerate((UP + 2.8, UP - 2.8)):
        sketch.picture(33.2, y, 4.4, small[i, 0])
    sketch.text(33.2, UP - 7, "small\ncrops")
    student, head = sketch.row(part(33.2, UP, 5, 5), BLUE, "student", "head", x=46)
    teacher, teacher_head = sketch.row(second, RED, "teacher", "head,\ncentre,\nsharpen", x=46)
    sketch.chain(head, sketch.bars(81, UP, (0.18, 0.42, 0.12, 0.25, 0.1), BLUE))
    sketch.chain(teacher_head, sketch.bars(81, DOWN, (0.04, 0.8, 0.02, 0.12, 0.04), RED))
    sketch.moving_average(student, teacher)
    sketch.no_gradient(71.5)
    sketch.pull((81, UP - 4), (81, DOWN + 6))
    sketch.text(92, 21.5, "the student's\nshares of K\nprototypes\nmust become\nthe teacher's", GREEN)
    return sketch


def byol() -> Sketch:
    sketch = Sketch()
    first, second = two_views(sketch)
    online, _, predictor = sketch.row(first, BLUE, "online\nencoder", "projector", "predictor")
    target, projector = sketch.row(second, RED, "target\nencoder", "projector")
    q, z = sketch.vector(87, UP, "q", BLUE), sketch.vector(87, DOWN, "z", RED)
    sketch.chain(predictor, q)
    sketch.chain(projector, z)
    sketch.moving_average(online, target)
    sketch.no_gradient(75)
    sketch.pull(q.bottom, z.top)
    sketch.text(94.3, 21, "q must\npredict z", GREEN)
    return sketch


def simclr() -> Sketch:
    sketch = Sketch(1, 41)
    encoder = sketch.box(40, 21, "one\nencoder", BLUE, h=30)
    projector = sketch.box(56, 21, "projector", BLUE, h=30)
    space = sketch.box(83.5, 21, "", "#bbbbbb", w=30, h=36)
    corners = []
    for i, y in enumerate((UP, DOWN)):
        scene = sketch.picture(7, y, 11, scenes()[i] / 255, f"image {'AB'[i]}")
        for image, up, x in zip(crops().global_views[:, i], (4.6, -4.6), (74, 93), strict=True):
            view = sketch.picture(23, y + up, 8, image)
            sketch.arrow(scene.right, view.left)
            sketch.arrow(view.right, (encoder.left[0], y + up))
            corners.append(sketch.picture(x, y, 6.5, image))
    sketch.chain(encoder, projector, space)
    a1, a2, b1, b2 = corners
    sketch.pull(a1.right, a2.left)
    sketch.pull(b1.right, b2.left)
    sketch.push(a1.bottom, b1.top)
    sketch.push(a2.bottom, b2.top)
    sketch.push((77.5, 27.5), (89.5, 14.5))
    sketch.push((89.5, 27.5), (77.5, 14.5))
    sketch.text(83.5, 34.3, "pull together", GREEN)
    sketch.text(83.5, 6, "push all others apart", PINK)
    return sketch


def mocov2() -> Sketch:
    sketch = Sketch(-7, 38)
    first, second = two_views(sketch)
    encoder, projector = sketch.row(first, BLUE, "encoder", "projector")
    key_encoder, key_projector = sketch.row(second, RED, "key\nencoder", "projector")
    q, k = sketch.vector(93, UP, "q", BLUE), sketch.vector(79, DOWN, "k", RED)
    sketch.chain(projector, q)
    sketch.chain(key_projector, k)
    sketch.moving_average(encoder, key_encoder)
    sketch.no_gradient(69, above=True)
    newest, _, oldest = (
        sketch.picture(x, -2.5, 6, crops().global_views[1, i]) for i, x in ((1, 79), (2, 86), (3, 93))
    )
    sketch.arrow(k.bottom, newest.top)
    sketch.pull(q.bottom, (80.9, 12.3))
    sketch.push(q.bottom, oldest.top)
    sketch.text(80, 22.5, "pull\ntogether", GREEN)
    sketch.text(96.7, 15, "push\napart", PINK)
    sketch.text(67, -2.5, "queue: keys of\npast batches")
    return sketch


def mocov3() -> Sketch:
    sketch = Sketch(2, 41)
    first, second = two_views(sketch)
    encoder, _, predictor = sketch.row(first, BLUE, "encoder", "projector", "predictor", x=39, step=13)
    key_encoder, projector = sketch.row(second, RED, "key\nencoder", "projector", x=39, step=13)
    sketch.moving_average(encoder, key_encoder)
    sketch.no_gradient(65)
    for i in range(4):
        sketch.picture(76, 33.5 - 5 * i, 4.2, crops().global_views[0, i], edge=BLUE)
        sketch.picture(81.5 + 5 * i, 12.5, 4.2, crops().global_views[1, i], edge=RED)
        for j in range(4):
            colour = GREEN if i == j else f"{PINK}44"
            sketch.axes.add_patch(Rectangle((79.4 + 5 * j, 31.4 - 5 * i), 4.2, 4.2, fc=colour))
    sketch.arrow(predictor.right, (73.6, UP))
    sketch.arrow(projector.right, (79, DOWN))
    sketch.text(89, 38.5, "queries · keys", INK)
    sketch.text(89, 7.2, "own key: pull together", GREEN)
    sketch.text(89, 4, "others' keys: push apart", PINK)
    return sketch


def patch() -> Sketch:
    sketch = Sketch(-1, 41)
    jitter, grey = ColorJitterConfig(hue=0.04), GrayscaleConfig(p=0.0)
    config = PatchesConfig(size=64, scale=[0.36, 0.4], gap=0.2, color_jitter=jitter, grayscale=grey)
    views, drawn = views_of(Patches(config, FORMAT), seed=PATCH_SEED)
    encoder = sketch.box(48, 21, "one\nencoder", BLUE, h=34)
    middles = (UP, DOWN - 1)
    for image, y in enumerate(middles):
        sketch.picture(9, y, 15, scenes()[image] / 255)
    asked = ((0, UP + 4, "anchor", BLUE), (0, 21, "A", GREEN), (1, DOWN - 4, "B", PINK))
    for view, (image, y, name, colour) in enumerate(asked):
        box = patch_boxes(drawn.places[view], torch.full((len(SCENES), 2), SIDE))[image]
        top, left, side, _ = (15 * box / SIDE).tolist()
        x, bottom = 1.5 + left, middles[image] + 7.5 - top - side
        sketch.frame(x, bottom, side, colour)
        seen = sketch.picture(31, y, 8, views.global_views[view, image], name, colour)
        sketch.arrow((x + side, bottom + side / 2), seen.left, colour)
        sketch.arrow(seen.right, (encoder.left[0], y))
    for y, name, colour in ((28, "A", GREEN), (14, "B", PINK)):
        box = sketch.box(66, y, f"similarity\nanchor, {name}", colour, w=14)
        sketch.arrow((encoder.right[0], y), box.left)
        sketch.arrow(box.right, (80, 21 + (y - 21) / 4))
    sketch.text(90, 21, "which of A and B\nis from the\nanchor's image?\nchance: 50 %", INK)
    return sketch


def supervised() -> Sketch:
    sketch = Sketch(11, 30)
    scene = sketch.picture(7, 21, 12.5, scenes()[0] / 255, "image")
    view = sketch.picture(24, 21, 10.5, crops().global_views[0, 0], "view")
    sketch.arrow(scene.right, view.left)
    classifier = sketch.row(view, BLUE, "encoder", "classifier")[-1]
    said = sketch.bars(74, 21, (0.15, 0.3, 0.45, 0.2, 0.1), BLUE)
    wanted = sketch.bars(92, 21, (0.02, 0.02, 0.9, 0.02, 0.02), RED)
    sketch.chain(classifier, said)
    sketch.pull(said.right, wanted.left)
    sketch.text(74, 15.5, "shares of\nthe classes")
    sketch.text(92, 15.5, "the label:\nsea creature", RED)
    return sketch


PICTURES: dict[str, Callable[[], Sketch]] = {
    draw.__name__: draw for draw in (dino, byol, simclr, mocov2, mocov3, patch, supervised)
}


def main() -> None:
    for name in sys.argv[1:] or PICTURES:
        save(PICTURES[name]().figure, FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
