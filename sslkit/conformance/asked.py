"""What a user says beside a component's name: keys of its configuration, and what it is checked with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sslkit.conformance.configs import config_for_checks
from sslkit.conformance.small import BATCH, CLASSES, IMAGE
from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.core.method import Views
from sslkit.core.randomness import seeded
from sslkit.errors import RecipeError, indented, nearest
from sslkit.plugins import Registry
from sslkit.recipe.layers import parse_override
from sslkit.recipe.typed import hints

SOURCE_KEYS = ("root", "split", "labels", "channels")
"""Keys of the `data` section that a data set is opened with."""
OWN_SECTIONS = {"methods": "method", "augmentations": "augment", "datasets": "data"}
"""Sections of a recipe whose keys are a component's own."""


@dataclass
class Asked:
    """Words such as `out_dim=64 backbone.name=glom data.root=photos`, sorted."""

    own: dict[str, Any] = field(default_factory=dict)
    """Keys of the component's configuration, nested."""
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was written with a section before it: method, augment, data, backbone."""

    @classmethod
    def read(cls, words: Sequence[str]) -> "Asked":
        """Raises `RecipeError` for what is not of the form key=value."""
        asked = cls()
        for word in words:
            change = parse_override(word)
            first, *rest = map(str, change.path)
            in_section = rest and first in (*OWN_SECTIONS.values(), "backbone")
            _put(asked.sections.setdefault(first, {}) if in_section else asked.own, change, in_section)
        return asked

    @property
    def backbone(self) -> str | None:
        """Name of the network that methods and evaluators are checked with."""
        name = self.sections.get("backbone", {}).get("name")
        return None if name is None else str(name)

    @property
    def args(self) -> dict[str, Any]:
        """Arguments of a network."""
        return dict(self.sections.get("backbone", {}).get("args", {}))

    @property
    def source(self) -> dict[str, Any]:
        """What a data set is opened with."""
        given = {k: v for k, v in self.sections.get("data", {}).items() if k in SOURCE_KEYS}
        if given.get("root") is not None:
            given["root"] = Path(str(given["root"])).expanduser()
        if "split" in given and given["split"] is None:  # data.split= asks for all
            given["split"] = ""
        return given

    @property
    def augmentation(self) -> str | None:
        """Name of the augmentation whose views methods are checked with."""
        name = self.sections.get("augment", {}).get("name")
        return None if name is None else str(name)

    def changes(self, kind: str, config: Any) -> dict[str, Any]:
        """The keys that go to a component's configuration."""
        known = hints(config)
        section = self.sections.get(OWN_SECTIONS.get(kind, ""), {})
        shared = ("name", *(SOURCE_KEYS if kind == "datasets" else ()))
        given = {key: value for key, value in section.items() if key not in shared}
        return {key: value for key, value in self.own.items() if key in known} | given

    def check_used(self, configs: Mapping[str, Any]) -> None:
        """Raise `RecipeError` for a key that none of the components' configurations has."""
        valid = {key for config in configs.values() for key in hints(config)}
        for key in self.own:
            if key not in valid:
                listed = f"keys of {', '.join(configs) or 'nothing'}: {', '.join(sorted(valid)) or 'none'}"
                raise RecipeError(f"there is no key '{key}'{nearest(key, valid)}{indented(listed)}")


def _put(tree: dict[str, Any], change: Any, in_section: Any) -> None:
    *path, last = map(str, change.path[1:] if in_section else change.path)
    for key in path:
        tree = tree.setdefault(key, {})
    tree[last] = change.value


def views_of(name: str, registry: Registry, given: Mapping[str, Any]) -> dict[str, Views]:
    """The views that an augmentation makes of small random pictures, by what they are called.

    Args:
        given: keys of its configuration.
    """
    cls = registry.get("augmentations", name, where="augment.name")
    config = config_for_checks(cls, given)
    built: Augmentation = cls(config, ImageFormat(3, (0.45,) * 3, (0.25,) * 3))
    with seeded(0, "views"):
        canvas = torch.randint(256, (BATCH, 3, built.canvas_size, built.canvas_size), dtype=torch.uint8)
        labels = torch.randint(CLASSES, (BATCH,))
        params = built.draw(BATCH)
    made: Views = built.apply(canvas, torch.full((BATCH, 2), built.canvas_size), params)
    return {f"views of {name}": Views(made.global_views, made.local_views, labels, torch.arange(BATCH))}


def side_of(views: Mapping[str, Views]) -> int:
    """Side in pixels of the global views."""
    return next((batch.global_views.shape[-1] for batch in views.values()), IMAGE)
