"""Where a value of a recipe was written, so that an error can say so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sslkit.errors import RecipeError, SslkitError, indented, nearest

Path = tuple[str | int, ...]
"""Keys from the top of the recipe down to a value; numbers count in lists."""


@dataclass(frozen=True)
class Place:
    """A file's line, the command line, or a default."""

    before: str = ""
    """Such as 'my.yaml, line 7'; an error starts with it."""
    after: str = ""
    """Such as 'given on the command line'; follows an error's first line in brackets."""

    def tell(self, message: str) -> str:
        """The message with this place in its first line."""
        headline, newline, rest = message.partition("\n")
        before = f"{self.before}: " if self.before else ""
        after = f" ({self.after})" if self.after else ""
        return f"{before}{headline}{after}{newline}{rest}"

    def error(self, message: str) -> RecipeError:
        return RecipeError(self.tell(message))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors for the user that are raised within get this place."""
        try:
            yield
        except SslkitError as error:
            raise type(error)(self.tell(str(error))) from error


COMMAND_LINE = Place(after="given on the command line")
DEFAULT = Place(after="the default")
PlaceOf = Callable[[Path], Place]
"""Answers for any path within what was written at one go."""


def dotted(path: Path) -> str:
    """`optim.lr`, `trackers[0].name`."""
    words = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return words.removeprefix(".")


def shown(value: Any) -> str:
    """A value as an error quotes it: as YAML has it, and not too long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def no_such_key(path: Path, valid: list[str], label: str) -> str:
    """An unknown key, the nearest and all valid ones."""
    prefix = dotted(path[:-1])
    near = nearest(str(path[-1]), valid)
    if near and prefix:
        near = near.replace("mean '", f"mean '{prefix}.")
    keys = f"keys of {label}: {', '.join(valid)}" if valid else f"{label} has no keys"
    return f"there is no key '{dotted(path)}'{near}{indented(keys)}"
