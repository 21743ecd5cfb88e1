"""What supervised training itself decides: which labels count, and that there must be some."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from methods.small import batch_of_views, build, check_gradients, check_range, progress
from tolerances import assert_close
from torch import Tensor

from sslkit.core.method import Views
from sslkit.errors import RecipeError
from sslkit.methods.supervised import Supervised, SupervisedConfig
from sslkit.plugins import Registry
from sslkit.recipe.schema import BackboneSection, Component, Recipe
from sslkit.stations import Facts, build_method
from sslkit.testing import CLASSES

LABELS = torch.tensor([0, 3, -1, 2, 1, -1, -7, 0])
KNOWN = [0, 1, 3, 4, 7]


def with_labels(labels: Tensor, local_count: int = 0) -> Views:
    return replace(batch_of_views(local_count), labels=labels)


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("local_count", [0, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_the_loss_is_torchs_on_what_is_known(network: str, local_count: int, smoothing: float) -> None:
    method = build(Supervised, SupervisedConfig(smoothing), network)
    views = with_labels(LABELS, local_count)
    logits = torch.stack(
        [method.classifier(method.backbone(v))[KNOWN] for v in views.each()]
    )  # [V, known, C]
    labels = LABELS[KNOWN].expand(len(logits), -1)
    output = method(views, progress())
    wanted = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)
    assert_close(output.loss, wanted)
    assert_close(output.metrics["accuracy"], (logits.argmax(-1) == labels).double().mean())
    assert output.features is not None
    assert_close(output.features, method.backbone(views.global_views[0]))


def test_nothing_known_costs_nothing() -> None:
    method = build(Supervised, SupervisedConfig())
    output = method(with_labels(torch.full_like(LABELS, -1), 2), progress())
    output.loss.backward()
    assert float(output.loss.detach()) == float(output.metrics["accuracy"]) == 0
    assert not any(p.grad.any() for p in method.parameters() if p.grad is not None)


def test_it_has_a_classifier_for_the_classes() -> None:
    method = build(Supervised, SupervisedConfig())
    assert method.classifier.out_features == CLASSES
    assert method.encoder is method.backbone
    check_gradients(method, {})


def test_data_without_labels_are_refused() -> None:
    registry = Registry.load(allow="")
    recipe = Recipe(
        method=Component("supervised", SupervisedConfig()),
        backbone=BackboneSection("vit_tiny_patch16_224", args={"embed_dim": 12, "depth": 1, "num_heads": 2}),
    )
    facts = Facts(image_size=32, steps_per_epoch=1, num_classes=None, canvas_size=32)
    with pytest.raises(RecipeError) as caught:
        build_method(recipe, registry, facts)
    assert "'method.name' is supervised, which needs labels" in str(caught.value)
    assert "data.labels=folders" in str(caught.value)
    method = build_method(recipe, registry, replace(facts, num_classes=3))
    assert isinstance(method, Supervised)
    assert method.classifier.out_features == 3


def test_it_alone_needs_labels() -> None:
    registry = Registry.load(allow="")
    names = registry.names("methods")
    assert [name for name in names if registry.get("methods", name).needs_labels] == ["supervised"]


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_ranges(value: Any) -> None:
    check_range(SupervisedConfig, "label_smoothing", value, "from 0 to 1")
