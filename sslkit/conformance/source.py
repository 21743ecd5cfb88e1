"""Where the code of a component is from, so that another process can load the very same."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sslkit.conformance.findings import NotChecked
from sslkit.doors import one_file


@dataclass(frozen=True)
class Source:
    """A module by its name, and its file with its content where it has one."""

    module: str
    file: Path | None
    content: bytes

    def load(self) -> None:
        """Make `sys.modules` hold it: imported where it can be, else from its content."""
        if self.module in sys.modules:
            return
        if self.module.startswith("sslkit_plugin_") and self.file is not None:
            one_file(self.file, self.content).load()  # named after its content, as a run has it
            return
        try:
            importlib.import_module(self.module)
        except ImportError:
            self._from_content()

    def _from_content(self) -> None:
        spec = importlib.util.spec_from_loader(self.module, None, origin=str(self.file))
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        module.__file__ = str(self.file)
        sys.modules[self.module] = module
        exec(compile(self.content, str(self.file), "exec", dont_inherit=True), module.__dict__)


def sources_of(things: Iterable[Any]) -> list[Source]:
    """The sources of classes, functions, and whatever else can be called.

    Raises:
        NotChecked: another process cannot get at one of them.
    """
    found: dict[str, Source] = {}
    for thing in map(_defined, things):
        if thing.__module__ == "__main__" or "<locals>" in thing.__qualname__:
            raise NotChecked(
                f"a second process cannot import {thing.__qualname__}: define it at the top of a module"
            )
        found.setdefault(thing.__module__, _source(thing.__module__))
    return list(found.values())


def _defined(thing: Any) -> Any:
    """What has a name in a module: the function of a `functools.partial`, the class of another object."""
    while isinstance(thing, partial):
        thing = thing.func
    return thing if hasattr(thing, "__qualname__") else type(thing)


def _source(module: str) -> Source:
    file = getattr(sys.modules[module], "__file__", None)
    path = None if file is None else Path(file)
    return Source(module, path, path.read_bytes() if path is not None and path.suffix == ".py" else b"")
