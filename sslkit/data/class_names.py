"""From labels as they are stored, numbers or words, to class indices and class names."""

# N images

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslkit.errors import DataError

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """The labels of a split."""

    labels: Labels
    """[N], positions in `classes`."""
    classes: tuple[str, ...]


def from_words(words: Sequence[str]) -> Labelled:
    """Classes are the distinct words, sorted."""
    classes, labels = np.unique(np.array(words, dtype=str), return_inverse=True)
    return Labelled(labels.astype(np.int64), tuple(classes.tolist()))


def from_numbers(numbers: Labels, names: Sequence[str] | None, place: str) -> Labelled | None:
    """Classes by number; None if all are negative, which is how test splits without labels are stored.

    Raises `DataError` for a number without a name, or where some are negative and some are not.
    """
    if (numbers < 0).all():
        return None
    low, high = int(numbers.min()), int(numbers.max())
    names = tuple(str(number) for number in range(high + 1)) if names is None else tuple(names)
    if low < 0 or high >= len(names):
        raise DataError(
            f"{place}: labels reach from {low} to {high}, but there are {len(names)} class names (0 to "
            f"{len(names) - 1}); mend the labels, or set data.labels=none"
        )
    return Labelled(numbers, names)


def from_texts(texts: Sequence[str], names: Sequence[str] | None, place: str) -> Labelled | None:
    """Labels written as text: numbers if all are, words otherwise; None if all are empty."""
    if not any(texts):
        return None
    if not all(texts):
        raise DataError(
            f"{place}: {sum(not text for text in texts)} of {len(texts)} images have no label; "
            "add the labels, or set data.labels=none"
        )
    if all(text.lstrip("-").isdecimal() for text in texts):
        return from_numbers(np.array(texts, dtype=np.int64), names, place)
    return from_words(texts)


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """The names in `classes.json`, if it is there.

    It holds a list of names, a list of {"label": number, "name": name}, or {number: name}.
    """
    path = folder / "classes.json"
    if not path.is_file():
        return None
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path} cannot be read ({error}); valid: a list of names, a list of {{"label", "name"}}, '
            'or {"0": name, ...}'
        ) from error


def _parse(content: Any) -> tuple[str, ...]:
    if isinstance(content, dict):
        content = [{"label": int(label), "name": name} for label, name in content.items()]
    if all(isinstance(entry, str) for entry in content):
        return tuple(content)
    by_label = {int(entry["label"]): str(entry["name"]) for entry in content}
    if sorted(by_label) != list(range(len(content))):
        raise ValueError(f"its labels are not 0 to {len(content) - 1}, each once")
    return tuple(by_label[label] for label in range(len(content)))
