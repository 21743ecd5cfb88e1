"""From a kind and a name to the text of every file, and to the commands that come next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import requires, version
from pathlib import Path
from shlex import quote
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from sslkit.scaffold.kinds import KINDS, TRIED, Kind
from sslkit.scaffold.naming import class_name

TEMPLATES = Path(__file__).parent / "templates"
COMMON = ("torch",)
"""What every component imports beside sslkit."""


@dataclass(frozen=True)
class Plan:
    """What is to be written."""

    kind: str
    """A key of `KINDS`."""
    name: str
    single_file: bool
    folder: Path = Path()
    """That the file or the package goes into."""

    @property
    def package(self) -> str:
        """The name that pip knows it by."""
        return f"sslkit-{self.name}"

    @property
    def target(self) -> Path:
        """The file, or the package's folder."""
        return self.folder / (f"{self.name}.py" if self.single_file else self.package)

    @property
    def sample(self) -> Path | None:
        """Where a package has data to try it on."""
        return None if self.single_file or not self._kind.has_sample else self.target / "sample"

    @property
    def recipe(self) -> Path:
        """The package's recipe."""
        return self.target / "recipes" / f"{self.name}.yaml"

    @property
    def _kind(self) -> Kind:
        return KINDS[self.kind]

    def files(self) -> dict[str, str]:
        """Every text by its path below the package; that of a single file by its name."""
        source = self._text(f"source/{self.kind}.py")
        if self.single_file:
            return {self.target.name: source}
        module = f"src/sslkit_{self.name}"
        return {
            f"{module}/__init__.py": source,
            f"{module}/py.typed": "",
            f"recipes/{self.name}.yaml": self._text("recipe.yaml"),
            f"tests/test_{self.name}.py": self._text(f"tests/{self.kind}.py"),
            **{file: self._text(file) for file in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")},
        }

    def commands(self) -> list[str]:
        """What to do next: install, test, check, run, and look at the outcome."""
        first = self._for_a_file() if self.single_file else self._for_a_package()
        return [*first, *map(self._named, self._kind.after)]

    def _for_a_file(self) -> list[str]:
        kind, file = self._kind, quote(str(self.target))
        sample = [f"python {file} {self.name}_sample"] if kind.has_sample else []
        root = f" data.root={self.name}_sample" if kind.has_sample else ""
        run = f"{TRIED} --plugin {file} {self._named(kind.words)}{kind.beside} name={self.name}"
        return [*sample, f"sslkit check {file}{root}", run]

    def _for_a_package(self) -> list[str]:
        folder = self.target
        path = folder if len(folder.parts) > 1 else f"./{folder}"  # without a slash pip would ask its index
        root = f" {quote(f'data.root={self.sample}')}" if self.sample else ""
        elsewhere = root if self.folder != Path() else ""  # the recipe has the path from here
        return [
            f"pip install -e {quote(f'{path}[dev]')}",
            f"pytest {quote(str(folder))}",
            f"sslkit check {self.name}{root}",
            f"sslkit run {quote(str(self.recipe))}{elsewhere}",
        ]

    def _named(self, words: str) -> str:
        return words.replace("NAME", self.name)

    def _text(self, template: str) -> str:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template(f"{template}.jinja").render(self._context())

    def _context(self) -> dict[str, Any]:
        here = replace(self, folder=Path())  # the texts are for whoever has the package, wherever that is
        words = f"{self._named(self._kind.words)} name={self.name}"
        tried = f"sslkit run dino_pocket --plugin {self.name}.py \\\n    {words}"
        return {
            "kind": self.kind,
            "name": self.name,
            "Class": class_name(self.name),
            "title": self.name.replace("_", " ").capitalize(),
            "package": self.package,
            "module": f"sslkit_{self.name}",
            "single_file": self.single_file,
            "run": tried if self.single_file else f"sslkit run {here.recipe}",
            "recipe": here.recipe,
            "sample": here.sample,
            "requirements": requirements((*COMMON, *self._kind.requires)),
            "commands": here.commands(),
        }


def requirements(names: Sequence[str]) -> list[str]:
    """What a package needs: this sslkit up to the next major version, and others as sslkit itself asks."""
    own = Version(version("sslkit"))
    asked = {r.name: r for r in map(Requirement, requires("sslkit") or ())}
    ranges = {name: ",".join(sorted(map(str, asked[name].specifier), reverse=True)) for name in names}
    return [f"sslkit>={own.major}.{own.minor},<{own.major + 1}", *(f"{n}{r}" for n, r in ranges.items())]
