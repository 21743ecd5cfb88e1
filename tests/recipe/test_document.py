"""YAML is read strictly, with its lines."""

import math
from typing import Any

import pytest

from sslkit.errors import RecipeError
from sslkit.recipe.document import read_value, read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1.5e3", 1500.0),
        ("-2E+4", -2e4),
        (".5", 0.5),
        ("1.", 1.0),
        ("12_000", 12000),
        ("0x10", 16),
        (".inf", math.inf),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2024-05-01", "2024-05-01"),
        ("null", None),
        ("", None),
        ("none", "none"),
        ("true", True),
        ("'1e-6'", "1e-6"),
        ("[1, 2e-1, a]", [1, 0.2, "a"]),
        ("{p: 0}", {"p": 0}),
        ("../some dir/x.tar", "../some dir/x.tar"),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = read_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "word", ["1e-6", "010", "null", "on", "1_0", ".5", "a: b", "", "2024-05-01", "é ${x}"]
)
def test_words_stay_words(word: str) -> None:
    assert read_yaml(write_yaml({"key": word}), "x.yaml").value == {"key": word}


def test_keys_are_words() -> None:
    assert read_yaml("on: 1\n1: 2\nnull: 3\n", "x.yaml").value == {"on": 1, "1": 2, "null": 3}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml, line 3: the key 'a' stands here a second time (first in line 1)"),
        ("a:\n  b: 1\n  c: [{d: 1, d: 2}]\n", "x.yaml, line 3: the key 'd' stands here a second time"),
        ("a: [1\nb: 2\n", "x.yaml, line 2: this is not YAML"),
        ("a: 1\n  b: 2\n", "x.yaml, line 2: this is not YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "x.yaml, line 1: this is not YAML: could not determine"),
        ("a: 1\n---\nb: 2\n", "x.yaml, line 2: this is not YAML"),
        ("a: 1\n? [b]\n: 2\n", "x.yaml, line 2: a key must be a word"),
        ("a: &x\n  b: *x\n", "x.yaml, line 1: this value contains itself"),
        ("a: \x00\n", "x.yaml: this is not YAML"),
        ("[" * 5000, "x.yaml: this is not YAML"),
    ],
)
def test_faults_are_told_with_their_line(text: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "x.yaml")
    assert str(caught.value).startswith(told)


def test_lines_of_nested_keys_and_of_merged_ones() -> None:
    text = "base: &b\n  lr: 1\noptim:\n  <<: *b\n  clip:\n    mode: none\nlist:\n- a\n- name: c\n"
    document = read_yaml(text, "x.yaml")
    assert document.value["optim"] == {"lr": 1, "clip": {"mode": "none"}}
    assert document.line(("optim", "clip", "mode")) == 6
    assert document.line(("list", 1, "name")) == 9
    assert document.line(("list", 1)) == 9
    assert document.line(("optim", "absent")) == 3
    assert document.line(()) == 1
