"""Words beside a component's name: sorted, and refused where nothing has such a key."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sslkit.conformance.asked import Asked, factory_of, views_of
from sslkit.conformance.small import SmallSetup
from sslkit.conformance.source import sources_of
from sslkit.errors import PluginError, RecipeError, SslkitError
from sslkit.nn.pocket import vit_pocket
from sslkit.plugins import Registry

REGISTRY = Registry.load(allow="")


@dataclass
class Config:
    """Some settings."""

    out_dim: int = 1
    """Width."""
    unresolved: "Nowhere" = 1  # type: ignore[name-defined]  # noqa: F821
    """Anything."""


def test_words_are_sorted_by_what_they_are_for() -> None:
    words = ["out_dim=64", "flip.p=0", "backbone.name=glom", "backbone.args.depth=2", "data.root=photos"]
    asked = Asked.read([*words, "augment.name=patches", "augment.size=8", "method.temperature=0.1"])
    assert asked.own == {"out_dim": 64, "flip": {"p": 0}}
    assert (asked.backbone, asked.args, asked.augmentation) == ("glom", {"depth": 2}, "patches")
    assert asked.source == {"root": Path("photos")}
    assert Asked.read(["data.split=", "data.channels=1"]).source == {"split": "", "channels": 1}
    assert Asked.read(["backbone={name: glom}", "backbone.args="]).args == {}
    assert Asked.read(["a=1", "a.b=2"]).own == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("out_dmi=1", "no key 'out_dmi'.*did you mean 'out_dim'.*keys of toy, toy: out_dim"),
        ("method.out_dmi=1", "no key 'method.out_dmi'.*did you mean 'method.out_dim'"),
        ("backbone.arg=1", "no key 'backbone.arg'.*did you mean 'backbone.args'.*: args, name"),
        ("data.rot=1", "no key 'data.rot'.*did you mean 'data.root'"),
        ("augment.siez=1", "no key 'augment.siez'.*did you mean 'augment.size'"),
        ("backbone=x", "no key 'backbone'"),
    ],
)
def test_a_key_that_nothing_has_is_told_with_the_nearest(word: str, told: str) -> None:
    with pytest.raises(RecipeError, match=f"(?s){told}"):
        Asked.read([word]).check_used({("methods", "toy"): Config, ("datasets", "toy"): Config}, ["size"])


def test_keys_for_what_is_not_checked_are_told() -> None:
    with pytest.raises(RecipeError, match=r"no key .data\.root."):
        Asked.read(["data.root=x"]).check_used({("methods", "toy"): Config})
    with pytest.raises(RecipeError, match=r"(?s)no configuration here .* 'depth'.*backbone.args.depth=2"):
        Asked.read(["depth=2"]).check_used({})


def test_keys_that_something_has_are_taken() -> None:
    words = ["out_dim=1", "method.out_dim=2", "unresolved=1", "augment.size=3", "data.root=x"]
    asked = Asked.read([*words, "backbone.name=x", "backbone.args.anything=1"])
    asked.check_used({("methods", "toy"): Config, ("datasets", "toy"): Config}, ["size"])
    assert asked.changes("methods", Config) == {"out_dim": 2, "unresolved": 1}
    assert asked.changes("evaluators", Config) == {"out_dim": 1, "unresolved": 1}


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("backbone.args=3", "'backbone.args' is 3, but must be a mapping"),
        (
            "data.channels=x",
            r"'data.channels' is 'x', but must be a whole number \(given on the command line",
        ),
        ("out_dim", "not of the form key=value"),
    ],
)
def test_a_value_of_the_wrong_type_is_told(word: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        _ = Asked.read([word]).source


def test_a_network_is_a_plugins_or_timms() -> None:
    assert factory_of("vit_pocket", REGISTRY) is vit_pocket
    with pytest.raises(PluginError, match=r"(?s)'backbone.name' is 'resnet81'.*did you mean 'resnet18'"):
        factory_of("resnet81", REGISTRY)
    for name in ("resnet10t", "dla46_c"):  # the second has no stochastic depth
        factory = pickle.loads(pickle.dumps(factory_of(name, REGISTRY)))
        assert sources_of([factory])[0].module == "sslkit.conformance.asked"
        backbone = SmallSetup(factory).backbone()
        assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, backbone.embed_dim)


def test_views_are_those_of_the_augmentation() -> None:
    (views,) = views_of("patches", REGISTRY, {"size": 16}).values()
    assert views.global_views.shape[-2:] == (16, 16)
    with pytest.raises(SslkitError, match=r"'size' is 'x', but must be .* \(given on the command line"):
        views_of("patches", REGISTRY, {"size": "x"})


BROKEN = """
from dataclasses import dataclass
from sslkit import Augmentation, hookimpl


@dataclass
class Config:
    pass


class Broken(Augmentation):
    Config = Config

    def draw(self, n):
        raise ZeroDivisionError("no draws")

    def apply(self, canvas, size, params):
        pass


@hookimpl
def sslkit_augmentations():
    return {"broken": Broken}
"""


def test_an_augmentation_that_raises_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    with pytest.raises(PluginError, match="'broken' makes no views to check with: it raised"):
        views_of("broken", Registry.load([str(tmp_path / "broken.py")]), {})
