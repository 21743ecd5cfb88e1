"""What the commands share: options that are said once, and how errors and JSON are told."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sslkit.errors import SslkitError

RecipeWord = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A file, the name of a packed recipe, or a run directory.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, such as optim.lr=0.001."),
]
Variant = Annotated[
    str | None, typer.Option(metavar="NAME", help="A variant of the recipe; 'none' for the bare file.")
]
Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE", help="A one-file plugin to load. Repeatable.")
]
NoPlugins = Annotated[
    list[str] | None, typer.Option("--no-plugin", metavar="NAME", help="A plugin to leave out. Repeatable.")
]
RunOut = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The run directory; default: the next free runs/NAME."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in RECIPE or --out.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def errors_told(debug: bool) -> Iterator[None]:
    """What the user can mend: a message, exit code 2. Anything else: where its traceback is, exit code 1."""
    try:
        yield
    except (typer.Exit, BrokenPipeError):
        raise
    except KeyboardInterrupt as error:
        if str(error):
            typer.echo(str(error), err=True)
        raise typer.Exit(130) from None
    except SslkitError as error:
        typer.echo(traceback.format_exc() if debug else f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except Exception as error:
        typer.echo(traceback.format_exc() if debug else _unforeseen(error), err=True)
        raise typer.Exit(1) from None


def _unforeseen(error: Exception) -> str:
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile("w", prefix="sslkit-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(f"{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
    first = str(error).partition("\n")[0]
    return (
        f"error: {type(error).__name__}{f': {first}' if first else ''}\n"
        "  nobody foresaw this: a fault in sslkit or in a plugin\n"
        f"  the traceback: {log.name} (or add --debug)"
    )


def print_json(value: Any) -> None:
    """One JSON document on the standard output."""
    import json

    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))
