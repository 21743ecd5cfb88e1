"""Is this an augmentation? Every check of it, on canvases of random pictures of all proportions."""

# B images, C channels, S side of the canvas, V views

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sslkit.conformance.configs import configured
from sslkit.conformance.devices import works_on_another_device
from sslkit.conformance.findings import Check, Finding, NotChecked, demand, examine, pass_gates
from sslkit.conformance.method_checks import one_thread
from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.core.method import Views
from sslkit.core.randomness import seeded
from sslkit.errors import SslkitError

COUNT = 8
SIZES = ((300, 400), (48, 48), (40, 500), (77, 31))
"""(height, width) of the images that the canvases were made from."""
PARTS = (slice(0, 1), slice(1, 4), slice(4, 8))
"""Shares of processes and micro-batches, of different sizes."""
CLOSE = 1e-4
LARGEST = 20.0
"""No pixel that is normalised by any sane mean and deviation is further from zero."""


@dataclass(frozen=True)
class AugmentationKit:
    """An augmentation's class and configuration, and what it is given."""

    cls: type[Augmentation]
    config: Any
    channels: int = 3

    def build(self) -> Augmentation:
        """For images of `channels` channels."""
        mean, std = (0.45,) * self.channels, (0.25,) * self.channels
        return self.cls(self.config, ImageFormat(self.channels, mean, std))

    def canvas(self, side: int, count: int = COUNT) -> tuple[Tensor, Tensor]:
        """Canvases [B, C, S, S] uint8 that use all values, and original sizes [B, 2]."""
        with seeded(0, "canvas"):
            coarse = torch.rand(count, self.channels, 8, 8)
        canvas = (interpolate(coarse, (side, side)) * 255).byte()
        return canvas, torch.tensor(SIZES).repeat(count // len(SIZES) + 1, 1)[:count]

    def views(self, built: Augmentation, seed: int = 0) -> Views:
        """Of the whole batch, drawn with that seed; a copy, which a later `apply` does not reach."""
        with seeded(seed, "augment"):
            params = built.draw(COUNT)
        views: Views = built.apply(*self.canvas(built.canvas_size), params)
        return _copied(views)


def augmentation_findings(cls: type[Augmentation], config: Any = None) -> Iterator[Finding]:
    """Check an augmentation.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
    """
    config = yield from configured(cls, config, it_is_built)
    if config is None:
        return
    with one_thread():
        alive = yield from pass_gates(GATES, {"": AugmentationKit(cls, config)})
        yield from examine(CHECKS, alive)


def it_is_built(kit: AugmentationKit) -> None:
    """For images of three channels; it says what it makes and what it needs."""
    try:
        built = kit.build()
    except SslkitError as error:
        raise NotChecked(f"it refuses images of {kit.channels} channels: {error}") from error
    demand(isinstance(built, Augmentation), f"it is a {type(built).__name__}, not a sslkit.Augmentation")
    for name in ("canvas_size", "image_size"):
        value = getattr(built, name, None)
        demand(isinstance(value, int) and value > 0, f"{name} is {value!r}, but must be pixels, above 0")
    sizes = getattr(built, "view_sizes", None)
    demand(
        isinstance(sizes, tuple) and built.image_size in sizes and len({*sizes}) == len(sizes),
        f"view_sizes is {sizes!r}, but must be a tuple of all sides, each once, image_size among them",
    )


def views_have_their_shapes(kit: AugmentationKit) -> None:
    """Global views [G, B, C, image_size, image_size], local ones [L, B, C, h, h], float32, no gradient."""
    built = kit.build()
    views = kit.views(built)
    demand(isinstance(views, Views), f"apply gives a {type(views).__name__}, not Views")
    _check_shape(kit, views.global_views, built.image_size, "global_views")
    local, known = views.local_views, {built.image_size}
    if local is not None:
        _check_shape(kit, local, local.shape[-1], "local_views")
        known.add(local.shape[-1])
    demand(
        known == {*built.view_sizes},
        f"view_sizes is {built.view_sizes}, but the views have sides {sorted(known)}",
    )


def _check_shape(kit: AugmentationKit, x: Tensor, side: int, name: str) -> None:
    wanted = (COUNT, kit.channels, side, side)
    demand(
        x.ndim == 5 and tuple(x.shape[1:]) == wanted,
        f"{name} is {tuple(x.shape)}, but must be [views, B, C, side, side] with {wanted} behind the first",
    )
    demand(x.dtype == torch.float32, f"{name} is {x.dtype}, but must be float32")
    demand(bool(x.isfinite().all()), f"{name} has numbers that are not finite")
    demand(not x.requires_grad, f"{name} carries a gradient: apply under torch.no_grad()")


def views_are_normalised(kit: AugmentationKit) -> None:
    """Brought to [0, 1], less the format's mean and over its deviation."""
    for name, x in _tensors(kit.views(kit.build())).items():
        demand(
            x.abs().max().item() < LARGEST,
            f"{name} go up to {x.abs().max().item():.3g}: divide the canvas by 255, then subtract the mean of"
            " image_format and divide by its std",
        )
        demand(
            x.min().item() < 0,
            f"no pixel of {name} is below 0: subtract the mean of image_format and divide by its std",
        )


def draws_follow_the_generator_alone(kit: AugmentationKit) -> str | None:
    """The same seed gives the same draws, in any instance, whatever was drawn before."""
    first, second = kit.build(), kit.build()
    wanted = kit.views(first)
    with seeded(1, "augment"):
        second.draw(3)
    random.random()
    demand(
        _same(kit.views(second), wanted) and _same(kit.views(first), wanted),
        "the same seed gives other draws the second time: draw from torch's global CPU generator alone (no"
        " numpy, no random, no generator or counter of your own)",
    )
    return "it draws nothing" if _same(kit.views(first, seed=1), wanted) else None


def apply_draws_nothing(kit: AugmentationKit) -> None:
    """The same parameters give the same views; canvas and generator stay as they were."""
    built = kit.build()
    with seeded(0, "augment"):
        params = built.draw(COUNT)
    canvas, size = kit.canvas(built.canvas_size)
    kept, generator = canvas.clone(), torch.get_rng_state()
    first: Views = built.apply(canvas, size, params)
    drew = not torch.equal(generator, torch.get_rng_state())
    torch.set_rng_state(generator)
    demand(not drew, "apply draws from torch's generator: draw everything in draw(n)")
    demand(torch.equal(canvas, kept), "apply changes the canvas: work on a copy")
    kept_views = _copied(first)
    demand(_same(built.apply(canvas, size, params), kept_views), "the same parameters give other views twice")


def rows_of_parts_are_the_whole(kit: AugmentationKit) -> None:
    """`params.rows(part)` on a part of the images gives that part of the views."""
    built = kit.build()
    with seeded(0, "augment"):
        params = built.draw(COUNT)
    canvas, size = kit.canvas(built.canvas_size)
    whole = _tensors(built.apply(canvas, size, params))
    parts = [built.apply(canvas[part], size[part], params.rows(part)) for part in PARTS]
    told = (
        "parts of the batch get other views than the whole batch: rows(part) must cut every drawn tensor, and"
        " apply must treat each image by itself"
    )
    for name, x in whole.items():
        difference = (torch.cat([getattr(part, name) for part in parts], 1) - x).abs().max().item()
        demand(difference <= CLOSE, f"{told} ({name} differ by up to {difference:.3g})")


def it_takes_small_canvases_and_one_image(kit: AugmentationKit) -> None:
    """A canvas is no larger than the data's own images; a share may be a single image."""
    built = kit.build()
    for side in (built.canvas_size, 8):
        with seeded(0, "augment"):
            params = built.draw(1)
        views: Views = built.apply(*kit.canvas(side, count=1), params)
        for name, x in _tensors(views).items():
            edge = built.image_size if name == "global_views" else x.shape[-1]
            shape, wanted = tuple(x.shape[1:]), (1, kit.channels, edge, edge)
            demand(
                shape == wanted and edge in built.view_sizes,
                f"of one canvas of {side} pixels it makes {name} {shape} instead of {wanted}",
            )


def it_takes_grey_images_or_says_why_not(kit: AugmentationKit) -> None:
    """With one channel it works, or `__init__` refuses with a `RecipeError` that says what to switch off."""
    grey = replace(kit, channels=1)
    try:
        built = grey.build()
    except SslkitError as error:
        raise NotChecked(f"it refuses one channel: {str(error).splitlines()[0]}") from error
    for name, x in _tensors(grey.views(built)).items():
        edge = built.image_size if name == "global_views" else x.shape[-1]
        _check_shape(grey, x, edge, f"{name} of grey images")


def it_changes_no_global_state(kit: AugmentationKit) -> None:
    """Neither torch's settings nor the generators of numpy and Python."""
    before = _globals()
    kit.views(kit.build())
    changed = [name for name, value in _globals().items() if value != before[name]]
    demand(not changed, f"it changes {', '.join(changed)}, which belongs to everybody")


def _globals() -> dict[str, Any]:
    generator = np.random.get_state(legacy=False)
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "numpy's generator": repr(generator),
        "Python's generator": random.getstate(),
    }


def it_works_on_a_gpu(kit: AugmentationKit) -> None:
    """Tensors are made where the canvas is; without a GPU told on torch's device without numbers."""
    built = kit.build()
    with seeded(0, "augment"):
        params = built.draw(COUNT)
    canvas, size = kit.canvas(built.canvas_size)
    works_on_another_device(lambda device: built.to(device).apply(canvas.to(device), size.to(device), params))


def _tensors(views: Views) -> dict[str, Tensor]:
    """The views by name, without local ones where there are none."""
    named = {"global_views": views.global_views, "local_views": views.local_views}
    return {name: x for name, x in named.items() if x is not None}


def _copied(views: Views) -> Views:
    return replace(views, **{name: x.clone() for name, x in _tensors(views).items()})


def _same(a: Views, b: Views) -> bool:
    one, other = _tensors(a), _tensors(b)
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


GATES: tuple[Check[AugmentationKit], ...] = (it_is_built, views_have_their_shapes)
CHECKS: tuple[Check[AugmentationKit], ...] = (
    views_are_normalised,
    draws_follow_the_generator_alone,
    apply_draws_nothing,
    rows_of_parts_are_the_whole,
    it_takes_small_canvases_and_one_image,
    it_takes_grey_images_or_says_why_not,
    it_changes_no_global_state,
    it_works_on_a_gpu,
)
"""What `check_augmentation` checks, in this order."""
