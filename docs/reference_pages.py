"""The reference, read from the code: commands, recipe keys, components and hooks, for `make_reference.py`."""

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import typer

from sslkit import hookspecs
from sslkit.catalog import show
from sslkit.cli import app
from sslkit.plugins import KINDS, Registry
from sslkit.recipe.explain import field_meanings
from sslkit.recipe.schema import Recipe
from sslkit.recipe.write import plain

TOP = Path(__file__).parent.parent
MADE = "Made from the docstrings by `docs/make_reference.py`; a test holds it up to date."
TITLES = {
    "methods": "Methods",
    "augmentations": "Augmentations",
    "datasets": "Data sets",
    "evaluators": "Evaluators",
    "backbones": "Backbones",
    "trackers": "Trackers",
    "executors": "Executors",
}
"""Kinds of component in the order of their pages."""
HEADS = {
    "methods": "What one training step computes. Keys stand under `method`, as in `sslkit run dino_pocket "
    "method.out_dim=256`. What each does, with a picture: "
    "[the built-in methods](../methods.md#the-built-in-methods).",
    "augmentations": "How views are made of an image. Keys stand under `augment`, as in `sslkit run "
    "dino_pocket augment.local_count=2`. What each does to an image: [augmentation](../augmentation.md).",
    "datasets": "Kinds of data. Keys stand under `data`, beside [those of every kind](recipe.md#data), as in "
    "`sslkit run dino_pocket data.name=folder data.root=DIR`. Formats and odd files: [data](../data.md).",
    "evaluators": "What features are measured by. Keys stand under `eval.evaluators.NAME`, as in `sslkit "
    "eval RUN --on knn eval.evaluators.knn.k=[5]`. What the numbers mean: "
    "[what are the features good for](../index.md#what-are-the-features-good-for).",
    "backbones": "Networks beside all of timm's, which need no plugin: `backbone.name=resnet18`. Arguments "
    "stand under `backbone.args`, as in `sslkit run dino_pocket backbone.args.depth=4`; the other keys are "
    "[those of every backbone](recipe.md#backbone).",
    "trackers": "Who hears of a run beside `metrics.jsonl`, as in `sslkit run dino_pocket "
    "'trackers=[{name: tensorboard, flush_seconds: 5}]'`.",
    "executors": "Who runs the commands of a study. Keys are given by `--option`, as in `sslkit ablate "
    "temperature --executor slurm --option minutes=60`. What happens on an interruption: "
    "[executors](../executors.md).",
}


def pages() -> dict[str, str]:
    """Every page by its path below docs/."""
    registry = Registry.load(allow="")
    made = {
        "commands": page("Commands", commands()),
        "recipe": page("Recipe keys", recipe_keys()),
        **{kind: page(title, components(registry, kind)) for kind, title in TITLES.items()},
        "hooks": page("Hooks", hooks()),
    }
    assert set(TITLES) == set(KINDS), "a kind of component has no page"
    return {"reference.md": page("Reference", overview(registry)), **as_files(made)}


def page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", *lines]).rstrip() + "\n"


def as_files(made: dict[str, str]) -> dict[str, str]:
    return {f"reference/{name}.md": text for name, text in made.items()}


# --- all names on one page ---------------------------------------------------------------------------------


def overview(registry: Registry) -> Iterator[str]:
    yield f"Every name on one page. {MADE}"
    yield "On the command line: `sslkit --help`, `sslkit recipe RECIPE` (each key, its value and its"
    yield "meaning), `sslkit plugins`, `sslkit plugins show NAME`."
    yield f"\n- [Commands](reference/commands.md): {listed('commands', (n for n, _ in all_commands()))}"
    yield f"- [Recipe keys](reference/recipe.md): {listed('recipe', section_names())}"
    for kind, title in TITLES.items():
        yield f"- [{title}](reference/{kind}.md): {listed(kind, sorted(registry.names(kind)))}"
    yield f"- [Hooks](reference/hooks.md): {listed('hooks', hook_names())}"
    yield "- [Python](api/index.md): every public class and function"


def listed(name: str, words: Iterable[str]) -> str:
    return ", ".join(f"[`{word}`](reference/{name}.md#{anchor(word)})" for word in words)


def anchor(heading: str) -> str:
    """As code hosts and the site make it of a heading."""
    return "".join(c for c in heading.lower() if c.isalnum() or c in "-_ ").replace(" ", "-")


# --- commands ----------------------------------------------------------------------------------------------


def all_commands() -> list[tuple[str, Any]]:
    """Every command with its full name, those of groups after their group."""
    return sorted(below(typer.main.get_command(app), "sslkit"))


def below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        yield f"{name} {word}", command
        if hasattr(command, "commands"):
            yield from below(command, f"{name} {word}")


def commands() -> Iterator[str]:
    yield MADE
    for name, command in all_commands():
        yield f"\n## `{name}`\n{command.help}\n"
        yield from rows(("word", "what it does"), map(parameter_row, command.params))
        yield from examples(command.epilog or "")


def parameter_row(parameter: Any) -> tuple[str, str]:
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.metavar}`", parameter.help
    word = " ".join(parameter.opts)
    takes = "" if parameter.is_flag else f" {parameter.metavar or ''}".rstrip()
    return f"`{word}{takes}`", parameter.help


def examples(epilog: str) -> Iterator[str]:
    """The commands that `--help` shows as a block, and what else it says below them."""
    paragraphs = epilog.removeprefix("Examples:").removeprefix("Example:").split("\n\n")
    lines = [line.strip() for paragraph in paragraphs for line in EXAMPLES_APART.split(paragraph.strip())]
    shown = [line for line in lines if COMMAND.match(line)]
    if shown:
        yield "\n".join(["\n```", *shown, "```"])
    yield from (line for line in lines if line and line not in shown)


COMMAND = re.compile(r"(\w+=\S+ )*(sslkit|torchrun) ")
EXAMPLES_APART = re.compile(r" {4,}(?=sslkit )")
"""Between two short examples on one line."""


# --- recipe keys -------------------------------------------------------------------------------------------


def section_names() -> list[str]:
    return [f.name for f in fields(Recipe) if is_section(f)]


def is_section(f: "Field[Any]") -> bool:
    return is_dataclass(default_of(f)) and f.name not in ("method", "augment", "data_config")


def recipe_keys() -> Iterator[str]:
    yield f"{MADE}"
    yield "`sslkit recipe RECIPE` shows all keys of one recipe with its values; on the command line a key is"
    yield "given as in `sslkit run dino_pocket optim.lr=0.001`.\n"
    yield from keys(Recipe, "")
    for f in fields(Recipe):
        if is_section(f):
            section = type(default_of(f))
            yield f"\n## `{f.name}`\n{inspect.getdoc(section)}\n"
            yield from keys(section, f"{f.name}.")


def keys(config: type, prefix: str) -> Iterator[str]:
    yield from rows(KEY_COLUMNS, key_rows(config, prefix))


KEY_COLUMNS = ("key", "default", "what it is")


def key_rows(config: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    meanings = field_meanings(config)
    for f in fields(config):
        default = default_of(f)
        if f.name == "data_config":
            continue
        if is_dataclass(default) and prefix:
            yield from key_rows(type(default), f"{prefix}{f.name}.")
        else:
            yield f"`{prefix}{f.name}`", shown(default), meanings[f.name]


def default_of(f: "Field[Any]") -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def shown(default: Any) -> str:
    """A default as a recipe would write it; nothing for sections and what must be given."""
    if is_dataclass(default) or default is MISSING:
        return ""
    return f"`{json.dumps(plain(default), ensure_ascii=False)}`"


# --- components --------------------------------------------------------------------------------------------


def components(registry: Registry, kind: str) -> Iterator[str]:
    yield f"{HEADS[kind]} {MADE}"
    for name in sorted(registry.names(kind)):
        component = registry.get(kind, name)
        first = " ".join((inspect.getdoc(component) or "").partition("\n\n")[0].split())
        yield f"\n## `{name}`\n{first} [Source]({source_of(component)}){page_of(kind, name)}.\n"
        if kind == "backbones":
            yield from rows(KEY_COLUMNS, argument_rows(registry, name))
        else:
            yield from keys(component.Config, PREFIXES.get(kind, ""))


def argument_rows(registry: Registry, name: str) -> Iterator[tuple[str, str, str]]:
    (page,) = show(registry, f"backbone:{name}")
    for key in page.keys:
        default = "" if key.required else shown(key.default)
        yield f"`backbone.args.{key.name}`", default, key.meaning


PREFIXES = {"methods": "method.", "augmentations": "augment.", "datasets": "data."}


def source_of(component: Any) -> str:
    file = Path(inspect.getsourcefile(component) or "")
    return f"../../{file.relative_to(TOP).as_posix()}"


def page_of(kind: str, name: str) -> str:
    there = kind == "methods" and (TOP / f"docs/methods/{name}.md").is_file()
    return f" · [its page](../methods/{name}.md)" if there else ""


# --- hooks -------------------------------------------------------------------------------------------------


def hook_names() -> list[str]:
    return [n for n, _ in inspect.getmembers(hookspecs, inspect.isfunction) if n.startswith("sslkit_")]


def hooks() -> Iterator[str]:
    yield f"What a plugin may add, and what it may watch. {MADE}"
    yield "An implementation carries `@sslkit.hookimpl` and may leave out arguments that it does not use."
    for name in hook_names():
        function = getattr(hookspecs, name)
        yield f"\n## `{name}`\n`{name}{signature(function)}`\n\n{inspect.getdoc(function)}"
        kind = name.removeprefix("sslkit_")
        if kind in KINDS:
            yield f"\nThe built-in ones: [{kind}]({kind}.md)."


def signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


# --- tables ------------------------------------------------------------------------------------------------


def rows(head: tuple[str, ...], found: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table; nothing where there are no rows."""
    lines = [cells(row) for row in found]
    if lines:
        yield cells(head)
        yield "|" + "---|" * len(head)
        yield from lines


def cells(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |"
