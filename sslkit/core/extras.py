"""Packages that only some components need, and that sslkit installs as extras."""

import importlib
from typing import Any

from sslkit.errors import SslkitError, indented


def required(package: str, component: str, advice: str, error: type[SslkitError]) -> Any:
    """The package behind a component, imported.

    Args:
        component: who needs it, such as "the tracker 'wandb'".
        advice: how to install it, or to do without.
        error: its kind.

    Raises:
        SslkitError: it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as missing:
        raise error(
            f"{component} needs the package {package}, which cannot be imported ({missing}){indented(advice)}"
        ) from missing
