"""The user's cache folder: what can be made again, and need not be."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO


def cache_folder() -> Path:
    """`SSLKIT_CACHE`, else `XDG_CACHE_HOME/sslkit`, else `~/.cache/sslkit`."""
    if own := os.environ.get("SSLKIT_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sslkit"


def write_aside(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file under another name, then rename it: nobody ever sees half of it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            write(file)
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(path)
