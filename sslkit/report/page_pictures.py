"""Pictures and tables of a run, made part of the page."""

# T side of a thumbnail, N images

import base64
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

WIDEST = 1600
"""Of an embedded picture, pixels."""
QUALITY = 86
MOST_ROWS = 30
"""Of a table on the page; the file has them all."""


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    title: str
    source: str
    """A data URI."""
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """The beginning of a CSV file."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    count: int
    """Rows of the file."""


@dataclass(frozen=True)
class Gallery:
    """What an evaluator drew and wrote."""

    pictures: Sequence[Picture]
    tables: Sequence[Table]


def gallery(folder: Path, leave_out: Sequence[str] = ()) -> Gallery:
    """The pictures and tables of a folder; those that cannot be read are left out."""
    names = [p for p in sorted(folder.glob("*")) if p.name not in leave_out and not p.name.startswith(".")]
    pictures = [picture(p) for p in names if p.suffix == ".png"]
    tables = [table(p) for p in names if p.suffix == ".csv"]
    return Gallery([p for p in pictures if p is not None], [t for t in tables if t is not None])


def picture(path: Path, title: str | None = None) -> Picture | None:
    """A PNG as a smaller WebP, no wider than the page; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            shown = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    shown.thumbnail((WIDEST, 4 * WIDEST))
    return Picture(title or words(path.stem), packed(shown), *shown.size)


def packed(image: "object") -> str:
    """An image of PIL's as a data URI."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return data_uri(file.getvalue(), "image/webp")


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def table(path: Path) -> Table | None:
    """The first rows; None where the file is none, or empty."""
    try:
        with path.open(encoding="utf-8", newline="", errors="replace") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, csv.Error):
        return None
    if not rows:
        return None
    shown = [[tidy(cell) for cell in row] for row in rows[1 : MOST_ROWS + 1]]
    return Table(words(path.stem), rows[0], shown, len(rows) - 1)


def tidy(cell: str) -> str:
    """Numbers to four digits, anything else as it is."""
    try:
        value = float(cell)
    except ValueError:
        return cell
    return cell if value == int(value or 0) and "." not in cell else f"{value:.4g}"


def words(name: str) -> str:
    return name.replace("_", " ")


# --- sheets of thumbnails ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sheet:
    """Many small images in one."""

    source: str
    """A data URI."""
    side: int
    """T, pixels; a multiple of 16, so that no thumbnail bleeds into its neighbour."""
    columns: int
    rows: int


def sheet(thumbnails: UInt8Array) -> Sheet:
    """Thumbnails [N, T, T, 3] row by row in a square."""
    from PIL import Image

    count, side = thumbnails.shape[:2]
    columns = max(1, int(np.ceil(np.sqrt(count))))
    rows = max(1, -(-count // columns))
    canvas = np.zeros((rows * columns, side, side, 3), np.uint8)
    canvas[:count] = thumbnails
    pixels = (
        canvas.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    )
    return Sheet(packed(Image.fromarray(pixels)), side, columns, rows)


def thumbnail_side(side: int, most: int) -> int:
    """The multiple of 16 that shows images of this side well enough."""
    return int(min(most, max(32, 16 * -(-side // 16))))


def evaluator_folders(figures: Path) -> Iterator[Path]:
    yield from sorted(p for p in figures.glob("*") if p.is_dir() and not p.name.startswith("."))
