"""From templates and data to one HTML file that opens anywhere, without a network."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslkit.train.rundir import write_aside

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
"""What all pages share: base.html.j2, base.css, base.js and macros."""


@dataclass(frozen=True)
class Missing:
    """What is not on the page."""

    what: str
    why: str
    command: str = ""
    """That adds it; empty where there is none."""


def rendered(name: str, folder: Path = TEMPLATES, *, data: Any, has_charts: bool, **context: Any) -> str:
    """A page from `<name>.html.j2`, `<name>.css` and `<name>.js`, which build on those of `base`.

    Args:
        folder: where the three are.
        data: for the page's script, as JSON.
        has_charts: whether plotly is part of the page; without charts it is 4.5 MB for nothing.
        context: what the template asks for; `sections` as (id, title) are its navigation, `missing` is what
            it lacks.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    import sslkit

    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"json": _json, "upper_first": _upper_first}
    return environment.get_template(f"{name}.html.j2").render(
        **context,
        data=data,
        css=_joined(folder, f"{name}.css", "base.css"),
        js=_joined(folder, f"{name}.js", "base.js"),
        plotly=Markup(get_plotlyjs()) if has_charts else None,
        nonce=secrets.token_urlsafe(16),
        version=sslkit.__version__,
    )


def write_html(path: Path, page: str) -> Path:
    """Write a page so that nobody ever reads half of it; names of files in it may be no text."""
    write_aside(path, page.encode("utf-8", "replace").decode("utf-8"))
    return path


def _joined(folder: Path, own: str, base: str) -> "Markup":
    """What all pages have, then what this one has."""
    from markupsafe import Markup

    return Markup((TEMPLATES / base).read_text("utf-8") + (folder / own).read_text("utf-8"))


def _json(value: Any) -> "Markup":
    """For a <script>: nothing in it can end the element or open a comment."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
