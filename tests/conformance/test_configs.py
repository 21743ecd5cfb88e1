"""A component's `Config`: what is asked of it, and the one that it is checked with."""

from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from sslkit.conformance.configs import Changes, config_finding, config_for_checks, configured
from sslkit.conformance.findings import Finding, NotChecked
from sslkit.errors import RecipeError
from sslkit.testing import ConformanceError, check_config


@dataclass
class Fine:
    """Some settings."""

    width: int = 4096
    """Width, >= 1."""
    nested: dict[str, Any] = field(default_factory=dict)
    """Anything."""

    @classmethod
    def for_checks(cls) -> Self:
        return cls(width=16, nested={"a": 1, "b": 2})


@dataclass
class Silent:
    """Some settings."""

    documented: int = 1
    """This one."""
    silent: int = 2


@dataclass
class Untitled:
    width: int = 1
    """Width."""


@dataclass
class Unknown:
    """Some settings."""

    width: "Nowhere" = 1  # type: ignore[name-defined]  # noqa: F821
    """Width."""


@dataclass
class Clashing:
    """Some settings."""

    name: str = "x"
    """Name."""


@dataclass
class Unwritable:
    """Some settings."""

    sizes: set[int] = field(default_factory=lambda: {1, 2})
    """Sizes."""


@dataclass
class ComesBackAsAList:
    """Some settings."""

    sizes: list[int] = (1, 2)  # type: ignore[assignment]
    """Sizes."""


@dataclass
class Demanding:
    """Some settings."""

    path: str
    """Where it is."""
    width: int = 1
    """Width."""


def having(config: Any) -> Any:
    return type("Component", (), {"Config": config})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Silent, ["without a docstring under them: silent"]),
        (Untitled, ["no docstring of its own"]),
        (Unknown, ["Nowhere", "Import it"]),
        (Clashing, ["a key 'name'", "rename it"]),
        (Unwritable, ["defaults of Unwritable: 'sizes' is {1, 2}", "lists"]),
        (ComesBackAsAList, ["ComesBackAsAList.sizes is (1, 2)", "as [1, 2]"]),
        (dict, ["no dataclass", "@dataclass"]),
        (None, ["has no Config"]),
    ],
)
def test_a_mistake_is_seen_and_what_to_change_is_said(config: Any, words: list[str]) -> None:
    finding = config_finding(having(config))
    assert finding.status == "failed"
    for word in words:
        assert word in finding.told


def test_a_fine_one_is_fine() -> None:
    assert config_finding(having(Fine)).status == "passed"
    assert config_finding(having(Demanding)).status == "passed"
    check_config(Fine)
    with pytest.raises(ConformanceError, match="silent"):
        check_config(Silent)


def test_it_is_checked_in_its_small_version_with_changes_over_it() -> None:
    assert config_for_checks(having(Fine)) == Fine(16, {"a": 1, "b": 2})
    assert config_for_checks(having(Fine), {"width": 8, "nested": {"b": 3}}) == Fine(8, {"a": 1, "b": 3})
    assert config_for_checks(having(Silent)) == Silent()


def test_a_change_that_is_not_possible_is_told() -> None:
    with pytest.raises(RecipeError, match="'width' is 'wide', but must be a whole number"):
        config_for_checks(having(Fine), {"width": "wide"})


@dataclass
class Refusing:
    """Some settings."""

    @classmethod
    def for_checks(cls) -> Self:
        raise ValueError("not here")


def it_is_tried(kit: Any) -> None:
    """The next check."""


def findings(config: Any, given: Any = None) -> list[Finding]:
    return list(configured(having(config), given, it_is_tried))


def test_what_cannot_be_made_is_a_failure_of_the_next_check() -> None:
    last = findings(Refusing)[-1]
    assert (last.check, last.status) == ("it_is_tried", "failed")
    assert last.told.startswith("its configuration cannot be made: raised ValueError: not here (at test_con")
    assert [finding.status for finding in findings(Unknown)] == ["failed", "failed"]
    assert [finding.status for finding in findings(Demanding)] == ["passed", "skipped"]


def test_changes_are_laid_over_the_small_version() -> None:
    steps = configured(having(Fine), Changes({"width": 8}), it_is_tried)
    next(steps)
    with pytest.raises(StopIteration) as stopped:
        next(steps)
    assert stopped.value.value == Fine(8, {"a": 1, "b": 2})
    with pytest.raises(RecipeError, match="'width' is 'wide'"):
        findings(Fine, Changes({"width": "wide"}))


def test_keys_that_must_be_given_are_named() -> None:
    with pytest.raises(NotChecked, match=r"no default for path. Give it as path=VALUE \(a word\)"):
        config_for_checks(having(Demanding))
    assert config_for_checks(having(Demanding), {"path": "x"}) == Demanding("x")
