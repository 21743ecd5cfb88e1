"""Self-supervised learning for vision: what users and plugin authors need, imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit.core.augmentation import Augmentation
    from sslkit.core.backbone import Backbone, Tokens
    from sslkit.core.dataset import Dataset, Sample
    from sslkit.core.evaluator import Evaluator, Result
    from sslkit.core.method import Method, ParameterGroup, Progress, Setup, StepOutput, Views
    from sslkit.core.tracker import Tracker
    from sslkit.hookspecs import hookimpl
    from sslkit.run import run
    from sslkit.train.export import load_backbone

    __version__: str

_HOMES = {
    "sslkit.core.augmentation": ("Augmentation",),
    "sslkit.core.backbone": ("Backbone", "Tokens"),
    "sslkit.core.dataset": ("Dataset", "Sample"),
    "sslkit.core.evaluator": ("Evaluator", "Result"),
    "sslkit.core.method": ("Method", "ParameterGroup", "Progress", "Setup", "StepOutput", "Views"),
    "sslkit.core.tracker": ("Tracker",),
    "sslkit.hookspecs": ("hookimpl",),
    "sslkit.train.export": ("load_backbone",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Augmentation",
    "Backbone",
    "Dataset",
    "Evaluator",
    "Method",
    "ParameterGroup",
    "Progress",
    "Result",
    "Sample",
    "Setup",
    "StepOutput",
    "Tokens",
    "Tracker",
    "Views",
    "__version__",
    "hookimpl",
    "load_backbone",
    "run",
]


def __getattr__(name: str) -> Any:
    if name == "run":  # the module, which can be called: see its end
        return import_module("sslkit.run")
    if name == "__version__":
        return _version()
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'sslkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sslkit")
    except PackageNotFoundError:
        return "unknown (not installed)"
