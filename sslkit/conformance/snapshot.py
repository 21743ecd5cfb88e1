"""What a module keeps beside its state_dict: values that a checkpoint does not hold."""

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OF_TORCH = frozenset(vars(nn.Module()))
_DEPTH, _LONGEST = 3, 1000
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


_DRAWS = "what it draws; torch's global generator is saved"


def unsaved(module: nn.Module) -> dict[str, Any]:
    """Numbers, words, tensors, arrays, generators of numbers, and containers of them, copied.

    Those that its modules hold, by dotted name.
    """
    found: dict[str, Any] = {}
    for name, child in module.named_modules():
        for key, value in _attributes(child):
            kept = _copy(value, _DEPTH)
            if kept is not None:
                found[f"{name}.{key}" if name else key] = kept
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The values that differ, each as `self.steps (0 -> 2)`."""
    return [
        f"self.{name} ({_shown(before[name])} -> {_shown(value)})"
        for name, value in after.items()
        if name in before and not _equal(before[name], value)
    ]


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from ((key, value) for key, value in vars(module).items() if key not in _OF_TORCH)
    for key in module._non_persistent_buffers_set:
        yield key, module._buffers[key]


def _copy(value: Any, depth: int) -> Any:
    """A copy that later changes do not reach; None for what is not looked into."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (*_PLAIN, np.generic)):
        return (value,)
    if (drawn := _drawn(value)) is not None:
        return (_DRAWS, drawn)
    if isinstance(value, nn.Module) or depth == 0:
        return None
    if isinstance(value, Mapping):
        return _copies(value, depth)
    if isinstance(value, list | tuple | deque | set):
        return _copies(dict(enumerate(value)), depth)
    if type(value).__module__.partition(".")[0] in ("builtins", "torch", "functools"):
        return None
    return _copies(getattr(value, "__dict__", {}), depth)


def _drawn(value: Any) -> str | None:
    """Where a generator of numbers stands; None where it is none."""
    if type(value) is random.Random:
        return repr(value.getstate())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=False))
    return repr(value.get_state().tolist()) if isinstance(value, torch.Generator) else None


def _copies(values: Mapping[Any, Any], depth: int) -> dict[Any, Any] | None:
    if len(values) > _LONGEST:
        return None
    return {key: _copy(value, depth - 1) for key, value in values.items()}


def identical(a: Tensor, b: Tensor) -> bool:
    """Whether shape, type and all numbers are the same; NaN is NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return identical(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(value, b[key]) for key, value in a.items())
    return type(a) is type(b) and bool(a == b)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return value[0] if value[0] == _DRAWS else repr(value[0])[:40]
    if isinstance(value, Tensor | np.ndarray):
        return f"{'a tensor' if isinstance(value, Tensor) else 'an array'} {list(value.shape)}"
    return f"{len(value)} entries" if isinstance(value, dict) else "other"
