"""Writes docs/reference.md, docs/reference/ and docs/api/ from the code's own docstrings.

python docs/make_reference.py            write them
python docs/make_reference.py --check    exit 1 if they are not what the code says
"""

import sys
from pathlib import Path

import api_pages
import reference_pages

DOCS = Path(__file__).parent


def main() -> None:
    pages = {**reference_pages.pages(), **api_pages.pages()}
    if "--check" in sys.argv:
        check(pages)
        return
    for old in extra(pages):
        old.unlink()
    for name, text in pages.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check(pages: dict[str, str]) -> None:
    wrong = [name for name, text in pages.items() if not is_the_same(DOCS / name, text)]
    wrong += [path.relative_to(DOCS).as_posix() for path in extra(pages)]
    if wrong:
        told = ", ".join(f"docs/{name}" for name in wrong)
        sys.exit(f"not what the code says: {told}\n  run python docs/make_reference.py")


def is_the_same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def extra(pages: dict[str, str]) -> list[Path]:
    """Pages in the two folders that are not made any more."""
    there = [path for folder in ("reference", "api") for path in sorted((DOCS / folder).glob("*.md"))]
    return [path for path in there if path.relative_to(DOCS).as_posix() not in pages]


if __name__ == "__main__":
    main()
