"""What users are told when something cannot be done: what was got, what is valid, how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import fill


class SslkitError(Exception):
    """Something that the user can mend; the command line prints it without a traceback (exit code 2)."""


class RecipeError(SslkitError):
    """A recipe or an override has an unknown key, a wrong type or an impossible value."""


class PluginError(SslkitError):
    """A plugin is missing, broken, refused, or in conflict with another."""


class DataError(SslkitError):
    """Images are missing, unreadable or too few."""


class MissingSplitError(DataError):
    """The data has no split of the name that was asked for."""


class RunError(SslkitError):
    """A run directory, a checkpoint or the training itself is not in a state to go on."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """'did you mean ...?' as a line of its own, or nothing where no valid name is near."""
    found = get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f"\n  did you mean '{found[0]}'?" if found else ""


def indented(text: str) -> str:
    """A line of advice under the first line of an error, wrapped and indented."""
    return "\n" + fill(
        text,
        width=118,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
