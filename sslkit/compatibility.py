"""Whether a plugin was built for this version of sslkit."""

import re
from collections.abc import Iterable

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sslkit.errors import PluginError
from sslkit.hookspecs import API_VERSION

_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")


class RefusedError(PluginError):
    """A plugin was built for a version of sslkit that this is not."""


def check_demands(demands: Iterable[str], version: str | None) -> None:
    """What a package's metadata ask of sslkit holds; read before anything of it is imported.

    Raises:
        RefusedError: this version of sslkit is outside the range.
    """
    for demand in map(Requirement, demands):
        if canonicalize_name(demand.name) != "sslkit" or version is None or "unknown" in version:
            continue
        if demand.marker and not demand.marker.evaluate({"extra": ""}):
            continue
        if not demand.specifier.contains(version, prereleases=True):
            raise RefusedError(
                f"it asks for sslkit{demand.specifier}, but this is sslkit {version}: take the release of the"
                " plugin for this version, or the other sslkit"
            )


def check_api(plugin: object) -> None:
    """`SSLKIT_API` beside a plugin's hooks names a version of the hooks that this sslkit has.

    A plugin without it counts as built for version 1.

    Raises:
        RefusedError: it names another major version, or a newer minor one.
        PluginError: it is no version.
    """
    declared = getattr(plugin, "SSLKIT_API", "1")
    found = _VERSION.fullmatch(declared) if isinstance(declared, str) else None
    if found is None:
        raise PluginError(f'SSLKIT_API is {declared!r}, but must be a version such as "1" or "{API_VERSION}"')
    wanted, ours = (int(found[1]), int(found[2] or 0)), tuple(map(int, API_VERSION.split(".")))
    if wanted[0] != ours[0] or wanted > ours:
        newer = wanted > ours
        raise RefusedError(
            f"it was built for version {declared} of sslkit's hooks, but this sslkit has {API_VERSION}: "
            + ("upgrade sslkit (pip install -U sslkit)" if newer else "take a newer release of the plugin")
        )
