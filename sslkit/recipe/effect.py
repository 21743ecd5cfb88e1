"""Which keys of a recipe can change a result, and so part what was measured from what is run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sslkit.recipe.layers import Change
from sslkit.recipe.places import Path, dotted

WITHOUT_EFFECT = (
    *("sslkit", "name", "seed", "plugins", "trackers", "closing", "expect", "checkpoint", "health"),
    *("runtime.device", "runtime.threads", "runtime.strategy", "runtime.compile", "runtime.deterministic"),
    *("runtime.log_every", "data.workers"),
)
"""Keys and sections that tell no two runs apart, but for rounding and speed; the seed is averaged over."""


def has_effect(key: str) -> bool:
    """Whether a dotted key can change what a run learns or measures."""
    return not any(key == section or key.startswith(f"{section}.") for section in WITHOUT_EFFECT)


def changes_results(layer: Sequence[Change]) -> bool:
    """Whether a layer of a recipe names any such key."""
    return any(has_effect(dotted(path)) for change in layer for path in _leaves(change.path, change.value))


def _leaves(path: Path, value: Any) -> Iterator[Path]:
    """The keys that a value sets; an empty mapping sets its own, as `eval.evaluators.health={}` does."""
    if not isinstance(value, Mapping) or not value:
        yield path
        return
    for key, child in value.items():
        yield from _leaves((*path, key), child)
