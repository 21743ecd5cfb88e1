"""The conformance kit: what every component must keep to, built in or a plugin's.

from sslkit.testing import check_method

def test_it_conforms():
    check_method(MyMethod, MyConfig(width=16))
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from sslkit.conformance.augmentation import augmentation_findings
from sslkit.conformance.backbone import backbone_findings
from sslkit.conformance.configs import documented
from sslkit.conformance.dataset import dataset_findings
from sslkit.conformance.evaluator import evaluator_findings
from sslkit.conformance.executor import executor_findings
from sslkit.conformance.findings import ConformanceError, Finding, Unmet, raise_failures
from sslkit.conformance.method import EXPENSIVE, method_findings
from sslkit.conformance.small import BATCH, CLASSES, CROP, IMAGE, SmallSetup, make_views
from sslkit.conformance.tracker import tracker_findings
from sslkit.core.augmentation import Augmentation
from sslkit.core.backbone import Backbone
from sslkit.core.dataset import Dataset
from sslkit.core.evaluator import Evaluator
from sslkit.core.executor import Executor
from sslkit.core.method import Method, Views
from sslkit.core.tracker import Tracker
from sslkit.plugins import Registry

__all__ = [
    "BATCH",
    "CLASSES",
    "CROP",
    "EXPENSIVE",
    "IMAGE",
    "ConformanceError",
    "Finding",
    "SmallSetup",
    "augmentation_findings",
    "backbone_findings",
    "check_augmentation",
    "check_backbone",
    "check_config",
    "check_dataset",
    "check_evaluator",
    "check_executor",
    "check_method",
    "check_tracker",
    "dataset_findings",
    "evaluator_findings",
    "executor_findings",
    "make_views",
    "method_findings",
    "tracker_findings",
]


def check_method(
    cls: type[Method],
    config: Any = None,
    *,
    backbone: Callable[..., Backbone] | None = None,
    args: Mapping[str, Any] | None = None,
    views: Mapping[str, Views] | None = None,
    leave_out: Collection[str] = (),
) -> None:
    """Check a method on a small ViT and a small ResNet, with and without local views.

    Args:
        cls: the method.
        config: its configuration, small enough for a test; None: `Config.for_checks()`, or its defaults.
        backbone, args: a factory and its arguments, in place of ViT and ResNet, for a method that needs a
            network of its own.
        views: batches by what they are called, in place of those with and without local views, for a method
            that needs an augmentation of its own.
        leave_out: names of checks that are not made; `EXPENSIVE` are those that take half of the time.

    Raises:
        ConformanceError: naming each check that failed, on which network and views, and what to change.
    """
    found = method_findings(cls, config, backbone=backbone, args=args, views=views, leave_out=leave_out)
    raise_failures(found, cls.__name__)


def check_backbone(factory: Callable[..., Backbone], args: Mapping[str, Any] | None = None) -> None:
    """Check a factory of backbones, as `sslkit_backbones` returns it.

    Args:
        args: its `backbone.args`, that make it small enough for a test.

    Raises:
        ConformanceError: naming each check that failed, and what to change.
    """
    raise_failures(backbone_findings(factory, args), getattr(factory, "__name__", repr(factory)))


def check_augmentation(cls: type[Augmentation], config: Any = None) -> None:
    """Check an augmentation on canvases of pictures of all proportions.

    Raises:
        ConformanceError: naming each check that failed, and what to change.
    """
    raise_failures(augmentation_findings(cls, config), cls.__name__)


def check_dataset(
    cls: type[Dataset],
    config: Any = None,
    *,
    root: Path | str | None = None,
    split: str = "train",
    labels: Literal["auto", "folders", "none"] = "auto",
    channels: int = 3,
) -> None:
    """Check a data set on data that the test makes; a dozen small images are enough.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
        root, split, labels, channels: what a recipe's `data` section says.

    Raises:
        ConformanceError: naming each check that failed, and what to change.
    """
    found = dataset_findings(cls, config, root=root, split=split, labels=labels, channels=channels)
    raise_failures(found, cls.__name__)


def check_evaluator(
    cls: type[Evaluator],
    config: Any = None,
    *,
    backbone: Callable[..., Backbone] | None = None,
    args: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> None:
    """Check an evaluator on a small ViT and a small ResNet, and on pictures that know everything.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
        backbone, args: a factory and its arguments, in place of both networks.
        registry: answers for names in recipes; None: the built-ins alone.

    Raises:
        ConformanceError: naming each check that failed, on which network, and what to change.
    """
    found = evaluator_findings(cls, config, backbone=backbone, args=args, registry=registry)
    raise_failures(found, cls.__name__)


def check_tracker(cls: type[Tracker], config: Any = None) -> None:
    """Check a tracker: it hears a small run, stops, and goes on.

    Raises:
        ConformanceError: naming each check that failed, and what to change.
    """
    raise_failures(tracker_findings(cls, config), cls.__name__)


def check_executor(cls: type[Executor], config: Any = None) -> None:
    """Check an executor with some ten small commands of this Python.

    Raises:
        ConformanceError: naming each check that failed, and what to change.
    """
    raise_failures(executor_findings(cls, config), cls.__name__)


def check_config(config: type) -> None:
    """A `Config` is a dataclass with a docstring of its own and under every field.

    Raises:
        ConformanceError: naming the fields without one.
    """
    try:
        documented(config)
    except Unmet as problem:
        raise ConformanceError(str(problem)) from None
