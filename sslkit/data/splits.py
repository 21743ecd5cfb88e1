"""Which folder or files of a data set belong to a split. Splits are found by their names, never guessed."""

import re
from collections.abc import Callable
from pathlib import Path

from sslkit.core.dataset import DataSource
from sslkit.errors import DataError, MissingSplitError, nearest

WHOLE = ""
"""Asks for all the data, where they are not split."""
_SAME = (("train",), ("val", "valid", "validation"), ("test",))
KNOWN = tuple(name for names in _SAME for name in names)
"""Names that make a folder or a file a split."""
DATABASE = ("db", "train")
"""Names of the images that are searched, where data are a database and queries."""
QUERIES = ("queries", *KNOWN[1:])
"""Names of the images that are searched for."""
_SHARD_OF = re.compile(r"(\d+)-of-(\d+)$")


def spellings(split: str) -> tuple[str, ...]:
    """The names a split may have, its own first: val may also be valid or validation."""
    same = next((names for names in _SAME if split in names), ())
    return (split, *(name for name in same if name != split))


def existing_root(source: DataSource, kind: str) -> Path:
    """The source's root; raises `DataError` where there is none."""
    if source.root is None:
        raise DataError(f"data.name={kind} needs to know where the images are: set data.root=PATH")
    if not source.root.exists():
        raise DataError(f"data.root: there is no {source.root.absolute()}{_near_path(source.root)}")
    return source.root


def split_folder(root: Path, split: str, has_folder: Callable[[str], bool]) -> str:
    """The name of a split's folder below the root, or "" for `WHOLE`."""
    here = [name for name in KNOWN if has_folder(name)]
    if split == WHOLE:
        refuse_whole(root, here)
        return ""
    for name in spellings(split):
        if has_folder(name):
            return name
    raise missing_split(root, split, here)


def split_files(root: Path, split: str, suffix: str) -> list[Path]:
    """The files of a split, in order: SPLIT.suffix, SPLIT-00000-of-00002.suffix, SPLIT/*.suffix.

    The first two are looked for in the root, then in its folder data, as on the Hugging Face hub.
    A root that is a file has no splits: it is the whole.
    """
    if root.is_file():
        if split != WHOLE:
            raise missing_split(root, split, [])
        return [root]
    found = {name: files for name in _tried(split) if (files := _named(root, name, suffix))}
    if split == WHOLE:
        refuse_whole(root, list(found))
        found = {WHOLE: sorted(root.glob(f"*{suffix}")) or sorted(root.glob(f"data/*{suffix}"))}
    for files in found.values():
        return _complete(files)
    raise missing_split(root, split, [name for name in KNOWN if _named(root, name, suffix)])


def missing_split(root: Path | str, split: str, there: list[str]) -> MissingSplitError:
    """The error that says which splits there are instead."""
    if not there:
        return MissingSplitError(f"{root} has no split '{split}', nor any other")
    return MissingSplitError(
        f"{root} has no split '{split}'; it has {', '.join(there)}{nearest(split, there)}"
    )


def is_queries(split: str, root: Path) -> bool:
    """Of data that are a database and queries: which of them a split is; train and val mean them too.

    Raises `DataError` for any other name: nothing of these data can be held out instead.
    """
    if split in DATABASE or split in QUERIES:
        return split in QUERIES
    raise DataError(
        f"{root} has no split '{split}'; it has db (also called train) and queries (also called val)"
        + nearest(split, ("db", "queries"))
    )


def refuse_whole(root: Path, there: list[str]) -> None:
    """Taking everything would train on what is meant for testing."""
    if there:
        raise DataError(f"{root} is divided into {', '.join(there)}: name one of them as data.split")


def _tried(split: str) -> tuple[str, ...]:
    return KNOWN if split == WHOLE else spellings(split)


def _named(root: Path, name: str, suffix: str) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"([-_.]?\d.*)?" + re.escape(suffix))
    for folder in (root, root / "data"):
        if files := sorted(path for path in folder.glob(f"*{suffix}") if pattern.fullmatch(path.name)):
            return files
    return sorted((root / name).glob(f"*{suffix}"))


def _complete(files: list[Path]) -> list[Path]:
    """Raises where names such as train-00000-of-00002 say that some are missing."""
    numbered = [match for path in files if (match := _SHARD_OF.search(path.stem))]
    if len(numbered) == len(files) > 0 and len(files) < (count := int(numbered[0][2])):
        there = {int(match[1]) for match in numbered}
        gone = [str(number) for number in range(count) if number not in there]
        raise DataError(
            f"{files[0].parent}: {len(files)} of {count} parts are there, missing: {', '.join(gone[:5])}"
            + (", ..." if len(gone) > 5 else "")
        )
    return files


def _near_path(root: Path) -> str:
    parent = root.absolute().parent
    return nearest(root.name, (path.name for path in parent.iterdir())) if parent.is_dir() else ""
