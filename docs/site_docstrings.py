"""Docstrings as the site shows them: a range such as "> 0" is no quotation. `mkdocs.yml` names the class."""

import re
from typing import Any

import griffe

QUOTED = re.compile(r"(^\s*|: )(?=>)", re.MULTILINE)
"""Where > would be taken for the mark of a quotation: where a line or the meaning of an argument begins."""


class Ranges(griffe.Extension):
    """Keeps > as it is."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = QUOTED.sub(r"\1\\", obj.docstring.value)
