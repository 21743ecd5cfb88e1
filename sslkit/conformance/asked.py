"""What a user says beside a component's name: keys of its configuration, and what it is checked with."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sslkit.conformance.configs import config_for_checks, given_draft, keys_of
from sslkit.conformance.findings import NotChecked, raised
from sslkit.conformance.small import BATCH, CLASSES
from sslkit.core.augmentation import Augmentation, ImageFormat
from sslkit.core.backbone import Backbone
from sslkit.core.method import Views
from sslkit.core.randomness import seeded
from sslkit.errors import PluginError, RecipeError, SslkitError, nearest
from sslkit.nn.backbones import timm_backbone
from sslkit.plugins import Registry
from sslkit.recipe.layers import Draft, parse_override
from sslkit.recipe.places import COMMAND_LINE, no_such_key, shown
from sslkit.recipe.schema import DataSection
from sslkit.recipe.typed import convert, hints

SOURCE_KEYS = ("root", "split", "labels", "channels")
"""Keys of the `data` section that a data set is opened with."""
OWN_SECTIONS = {"methods": "method", "augmentations": "augment", "datasets": "data"}
"""Sections of a recipe whose keys are a component's own."""
SHARED_KEYS = {"augment": ("name",), "data": SOURCE_KEYS, "backbone": ("name", "args")}
"""Keys that say what components are checked with."""


@dataclass
class Asked:
    """Words such as `out_dim=64 backbone.name=glom data.root=photos`, sorted; the last of two alike holds."""

    own: dict[str, Any] = field(default_factory=dict)
    """Keys of the component's configuration, nested."""
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was written with a section before it: method, augment, data, backbone."""

    @classmethod
    def read(cls, words: Sequence[str]) -> "Asked":
        """Raises `RecipeError` for what is not of the form key=value."""
        draft = Draft()
        for word in words:
            draft.put(parse_override(word))
        names = (*OWN_SECTIONS.values(), "backbone")
        sections = {
            key: given for key, given in draft.tree.items() if key in names and isinstance(given, dict)
        }
        args = sections.get("backbone", {}).get("args")
        if not isinstance(args, dict | None):
            raise COMMAND_LINE.error(
                f"'backbone.args' is {shown(args)}, but must be a mapping\n  such as backbone.args.depth=2"
            )
        return cls({key: given for key, given in draft.tree.items() if key not in sections}, sections)

    @property
    def backbone(self) -> str | None:
        """Name of the network that methods and evaluators are checked with."""
        name = self.sections.get("backbone", {}).get("name")
        return None if name is None else str(name)

    @property
    def args(self) -> dict[str, Any]:
        """Arguments of a network."""
        return dict(self.sections.get("backbone", {}).get("args") or {})

    @property
    def source(self) -> dict[str, Any]:
        """What a data set is opened with; raises `RecipeError` for a value of the wrong type."""
        given = {key: value for key, value in self.sections.get("data", {}).items() if key in SOURCE_KEYS}
        if "split" in given and given["split"] is None:  # data.split= asks for all
            given["split"] = ""
        types, draft = hints(DataSection), given_draft(given, "data")
        typed = {key: convert(value, types[key], ("data", key), draft) for key, value in given.items()}
        return typed | ({"root": Path(typed["root"]).expanduser()} if typed.get("root") is not None else {})

    @property
    def augmentation(self) -> str | None:
        """Name of the augmentation whose views methods are checked with."""
        name = self.sections.get("augment", {}).get("name")
        return None if name is None else str(name)

    @property
    def augment(self) -> dict[str, Any]:
        """Keys of that augmentation."""
        return {key: value for key, value in self.sections.get("augment", {}).items() if key != "name"}

    def changes(self, kind: str, config: Any) -> dict[str, Any]:
        """The keys that go to a component's configuration."""
        known = keys_of(config)
        section = self.sections.get(OWN_SECTIONS.get(kind, ""), {})
        return {key: value for key, value in (self.own | section).items() if key in known}

    def check_used(self, configs: Mapping[tuple[str, str], Any], augmentation: Collection[str] = ()) -> None:
        """Raise `RecipeError` for a key that nothing has.

        Args:
            configs: the components' configurations, by kind and name.
            augmentation: keys of the one that is named.
        """
        names = ", ".join(name for _, name in configs)
        if self.own and not configs:
            raise COMMAND_LINE.error(
                f"there is no configuration here that has a key '{next(iter(self.own))}'"
                "\n  arguments of a backbone stand under backbone.args, as in backbone.args.depth=2"
            )
        _check_keys((), self.own, {key for config in configs.values() for key in keys_of(config)}, names)
        for section, given in self.sections.items():
            own = {
                key
                for (kind, _), config in configs.items()
                if OWN_SECTIONS.get(kind) == section
                for key in keys_of(config)
            }
            named = augmentation if section == "augment" else ()
            shared = SHARED_KEYS.get(section, ())
            if section == "data" and not any(kind == "datasets" for kind, _ in configs):
                shared = ()
            _check_keys((section,), given, {*own, *named, *shared}, f"'{section}' here")


def _check_keys(path: tuple[str, ...], given: Mapping[str, Any], valid: Collection[str], label: str) -> None:
    for key in given:
        if key not in valid:
            raise COMMAND_LINE.error(no_such_key((*path, key), sorted(valid), label))


def factory_of(name: str, registry: Registry) -> Callable[..., Backbone]:
    """The factory of a backbone by its name in recipes: a plugin's, or one of timm's networks.

    Raises:
        PluginError: there is none, or two plugins have it.
    """
    import timm

    known = registry.names("backbones")
    if name not in known and timm.is_model(name):
        return TimmNetwork(name).build
    try:
        factory: Callable[..., Backbone] = registry.get("backbones", name, where="backbone.name")
    except PluginError as error:
        if name in known or nearest(name, known):  # two plugins have it; or one has nearly that
            raise
        raise PluginError(f"{error}{nearest(name, timm.list_models())}") from None
    return factory


@dataclass(frozen=True)
class TimmNetwork:
    """One of timm's networks; a second process can have its `build`."""

    name: str

    def build(self, *, channels: int, image_size: int, drop_path_rate: float, **args: Any) -> Backbone:
        """As a plugin's factory does; without stochastic depth where the network has none."""
        common: dict[str, Any] = {"channels": channels, "image_size": image_size, "args": args}
        try:
            return timm_backbone(self.name, drop_path_rate=drop_path_rate, **common)
        except RecipeError:
            return timm_backbone(self.name, **common)


def views_of(name: str, registry: Registry, given: Mapping[str, Any]) -> dict[str, Views]:
    """The views that an augmentation makes of small random pictures, by what they are called.

    Args:
        given: keys of its configuration.

    Raises:
        SslkitError: there is none of that name, or it makes no views.
    """
    cls = registry.get("augmentations", name, where="augment.name")
    try:
        return {f"views of {name}": _views(cls, given)}
    except SslkitError:
        raise
    except NotChecked as reason:
        raise PluginError(f"'{name}' makes no views to check with: {reason}") from None
    except Exception as error:
        raise PluginError(f"'{name}' makes no views to check with: it {raised(error)}") from error


def _views(cls: type[Augmentation], given: Mapping[str, Any]) -> Views:
    built = cls(config_for_checks(cls, given), ImageFormat(3, (0.45,) * 3, (0.25,) * 3))
    with seeded(0, "views"):
        canvas = torch.randint(256, (BATCH, 3, built.canvas_size, built.canvas_size), dtype=torch.uint8)
        labels = torch.randint(CLASSES, (BATCH,))
        params = built.draw(BATCH)
    made: Views = built.apply(canvas, torch.full((BATCH, 2), built.canvas_size), params)
    return Views(made.global_views, made.local_views, labels, torch.arange(BATCH))
