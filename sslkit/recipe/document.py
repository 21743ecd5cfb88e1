"""Reads YAML strictly: lines are kept, doubled keys are errors, `1e-6` is a number."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from sslkit.errors import RecipeError
from sslkit.recipe.places import Path, Place, shown

# YAML 1.1 as people mean it: 1e-6 is a number; dates, 1:30 and 010 are words
_RESOLVERS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    (
        "tag:yaml.org,2002:bool",
        r"[Yy]es|YES|[Nn]o|NO|[Tt]rue|TRUE|[Ff]alse|FALSE|[Oo]n|ON|[Oo]ff|OFF",
        "yYnNtTfFoO",
    ),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars above."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own declaration


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as something other than a word."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _first_characters = [c if c != "\0" else "" for c in _first]
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first_characters)


@dataclass
class Document:
    """A YAML file: its value, and the line of every key."""

    name: str
    """The file's name in messages."""
    value: Any
    node: yaml.Node | None

    def line(self, path: Path) -> int:
        """The line of a key (from 1), or of the nearest one above it that is written."""
        node, line = self.node, 1
        for key in path:
            child = _child(node, key)
            if child is None:
                break
            line, node = child[0].start_mark.line + 1, child[1]
        return line

    def place(self, path: Path) -> Place:
        return Place(before=f"{self.name}, line {self.line(path)}")


def read_yaml(text: str, name: str) -> Document:
    """Parse one YAML document.

    Raises:
        RecipeError: a syntax error, a doubled key, a key that is no word, a loop of aliases.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _check_keys(node, name, [], set())
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, name) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{name}: this is not YAML: {str(error).partition(chr(10))[0]}") from None
    return Document(name, value, node)


def read_value(text: str) -> Any:
    """The value of one override; raises `RecipeError` where it is not YAML."""
    try:
        return read_yaml(text, "").value
    except RecipeError as error:
        why = re.sub(r"^(, line \d+)?: ", "", str(error))
        raise RecipeError(f"{shown(text)} cannot be read: {why}\n  put the value in quotes") from None


def write_yaml(value: Any) -> str:
    """Block style outside, flow style for the innermost lists and mappings; keys in their order."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    return text


def _syntax_error(error: yaml.MarkedYAMLError, name: str) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    line = f", line {mark.line + 1}" if mark else ""
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return RecipeError(f"{name}{line}: this is not YAML: {what}")


def _check_keys(node: yaml.Node, name: str, above: list[yaml.Node], done: set[int]) -> None:
    if node in above:
        raise RecipeError(f"{name}, line {node.start_mark.line + 1}: this value contains itself by an alias")
    if id(node) in done or isinstance(node, yaml.ScalarNode):
        return
    done.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _check_mapping(node, name)
    for child in node.value:
        value = child[1] if isinstance(child, tuple) else child
        _check_keys(value, name, [*above, node], done)


def _check_mapping(node: yaml.MappingNode, name: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError(f"{name}, line {line}: a key must be a word, not a list or a mapping")
        if key.value in lines:
            raise RecipeError(
                f"{name}, line {line}: the key '{key.value}' stands here a second time (first in line"
                f" {lines[key.value]})\n  keep one of the two"
            )
        lines[key.value] = line
        if key.value != "<<":
            key.tag = "tag:yaml.org,2002:str"  # a key is a word, even `on` or `1`


def _child(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    if isinstance(node, yaml.MappingNode):
        return next(((k, v) for k, v in node.value if k.value == str(key)), None)
    return None
