"""The door to a new plugin: a file or a package that works as it is, to be changed into what it should be."""

import runpy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sslkit.errors import PluginError, indented, nearest
from sslkit.plugins import Registry
from sslkit.scaffold.kinds import KINDS
from sslkit.scaffold.naming import check_file_name, check_free, check_name, check_package_name, check_source
from sslkit.scaffold.rendering import Plan

__all__ = ["Written", "new"]


@dataclass(frozen=True)
class Written:
    """What was written, and what to do with it."""

    path: Path
    """The file, or the package's folder."""
    files: tuple[Path, ...]
    """Every file, in the order of their paths."""
    commands: tuple[str, ...]
    """What to do next, one shell command each."""

    def told(self) -> Iterator[str]:
        """Lines for a person; the last ones are the commands."""
        yield f"written: {self.path}"
        if self.path.is_dir():
            yield from (f"  {file.relative_to(self.path)}" for file in self.files)
        yield "It works as it is. Next:"
        yield from (f"  {command}" for command in self.commands)


def new(
    kind: str,
    name: str,
    *,
    single_file: bool = False,
    out: str | Path | None = None,
    no_plugins: Sequence[str] = (),
) -> Written:
    """Write a plugin with one component: a package `sslkit-NAME`, or the file `NAME.py`.

    Args:
        kind: method, backbone, augmentation, dataset, evaluator or tracker.
        name: that recipes will call it by: small letters, digits and _, such as `two_view`.
        single_file: one file instead of a package.
        out: folder that it is written into, made if need be; None: the current one.
        no_plugins: plugins whose components' names do not count as taken.

    Raises:
        PluginError: there is no such kind, the name cannot be used or is taken, or the file or folder
            exists; nothing is written or changed then.
    """
    if kind not in KINDS:
        raise PluginError(
            f"there is no kind '{kind}' to write{nearest(kind, KINDS)}"
            + indented(f"kinds: {', '.join(KINDS)}")
        )
    check_name(name)
    plan = Plan(kind, name, single_file, Path() if out is None else Path(out))
    if single_file:
        check_file_name(name, plan.folder)
    else:
        check_package_name(name, plan.package)
    check_free(name, kind, Registry.load(blocked=no_plugins))
    texts = plan.files()
    check_source(name, next(iter(texts.values())))
    _write(plan, texts)
    files = (
        [plan.target] if single_file else sorted(path for path in plan.target.rglob("*") if path.is_file())
    )
    return Written(plan.target, tuple(files), tuple(plan.commands()))


def _write(plan: Plan, texts: dict[str, str]) -> None:
    """All of it aside first, then in one move, so that nothing is left half-written and nothing is lost."""
    if plan.target.exists() or plan.target.is_symlink():
        raise PluginError(
            f"{plan.target} exists already\n  choose another name, or another folder: --out DIR"
        )
    if plan.folder.exists() and not plan.folder.is_dir():
        raise PluginError(f"{plan.folder} is a file, not a folder\n  choose another one: --out DIR")
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as a file where a folder is to be
        told = f"{plan.folder} cannot be made: {error.strerror}"
        raise PluginError(f"{told}\n  choose another folder: --out DIR") from error
    with TemporaryDirectory(prefix=".sslkit-new-", dir=plan.folder) as aside:
        whole = Path(aside) / plan.target.name
        for path, text in texts.items():
            file = whole if plan.single_file else whole / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        if plan.sample is not None:
            _write_sample(whole / next(iter(texts)), whole / plan.sample.name)
        whole.rename(plan.target)


def _write_sample(source: Path, root: Path) -> None:
    """Let the data set that was just written draw data to try it on."""
    runpy.run_path(str(source))["write_sample"](root)
