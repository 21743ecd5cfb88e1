"""Any 2-d augmentation of kornia by its name, tried out before training."""

import inspect
from collections.abc import Mapping
from typing import Any

import kornia.augmentation as K
import torch
from torch import Tensor

from sslkit.augment.config import VIEW_KINDS, per_kind
from sslkit.augment.ops import Drawn, Operation, Shape
from sslkit.errors import RecipeError, indented, nearest

TRIED = 4
"""Images that an augmentation is tried on."""


def extra_classes() -> dict[str, Any]:
    """The classes of `kornia.augmentation` that change images one by one, by name."""
    members = inspect.getmembers(K, inspect.isclass)
    return {
        name: cls
        for name, cls in members
        if issubclass(cls, K.AugmentationBase2D) and not name.endswith("Base2D")
    }


def extra_operation(entry: Mapping[str, Any], number: int, kind: int, shape: Shape) -> Operation | None:
    """One entry of `augment.extra` for one kind of view; None where its p is 0.

    Args:
        entry: name, arguments and perhaps p.
        number: its place in the list.
        kind: an index into `VIEW_KINDS`.
        shape: of one image of the view, (C, s, s).

    Raises:
        RecipeError: kornia has no such class, refuses the arguments or the images, changes their shape, or
            makes an image depend on its batch.
    """
    key, name = f"augment.extra[{number}]", entry["name"]
    cls = _class_named(name, key)
    own = {k: _as_tuple(value) for k, value in entry.items() if k not in ("name", "p")}
    try:
        p = per_kind(entry["p"])[kind] if "p" in entry else _own_p(cls(**own))
        if p == 0:
            return None
        operation = Operation(f"extra[{number}]", lambda p: cls(**own, p=p), p, shape)
        fault = _fault(operation, shape)
    except Exception as error:  # whatever kornia raises comes from the user's arguments or images
        fault = f"{type(error).__name__}: {error}" + indented(f"arguments: {inspect.signature(cls)}")
    if fault:
        kind_name = VIEW_KINDS[kind]
        raise RecipeError(f"'{key}': {name} cannot be used on {kind_name} crops {[*shape]}\n  {fault}")
    return operation


def _class_named(name: str, key: str) -> Any:
    classes = extra_classes()
    if name not in classes:
        why = "is not one that changes images one by one" if hasattr(K, name) else "kornia does not have"
        raise RecipeError(
            f"'{key}.name' is '{name}', which {why}{nearest(name, classes)}"
            + indented(f"classes of kornia.augmentation: {', '.join(classes)}")
        )
    return classes[name]


def _own_p(augmentation: Any) -> float:
    return float(augmentation.p * augmentation.p_batch)


def _as_tuple(value: Any) -> Any:
    """YAML knows lists only, kornia often wants tuples."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _fault(operation: Operation, shape: Shape) -> str | None:
    """What is wrong with an augmentation, seen on a few noise images that it is certainly applied to."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        images = torch.rand(TRIED, *shape)
        drawn = _chosen(operation.draw(TRIED))
        before = torch.get_rng_state()
        whole = operation.apply(images.clone(), drawn)
        if not torch.equal(before, torch.get_rng_state()):
            return "it draws at random while it is applied, so that a resume could not repeat it"
        if whole.shape != images.shape:
            return f"it changes the shape of an image to {[*whole.shape[1:]]}"
        halves = [operation.apply(images[part].clone(), drawn.rows(part)) for part in _HALVES]
    if not torch.allclose(torch.cat(halves), whole, atol=1e-5):
        return "it makes an image depend on the others of its batch"
    return None


_HALVES = (slice(0, TRIED // 2), slice(TRIED // 2, TRIED))


def _chosen(drawn: Drawn) -> Drawn:
    every: dict[str, Tensor] = {**drawn.values, "batch_prob": torch.ones(TRIED)}
    return Drawn(every, drawn.per_image)
