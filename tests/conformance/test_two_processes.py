"""Two real processes against one: what is the same, and each way in which it is not."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import pytest
from conformance import broken_in_two
from conformance import broken_methods as broken

from sslkit.conformance.findings import Finding, NotChecked, run
from sslkit.conformance.method import settings
from sslkit.conformance.method_kit import MethodKit
from sslkit.conformance.small import VIT, SmallSetup
from sslkit.conformance.two_processes import Pair, compare, started
from sslkit.core.method import Method
from sslkit.nn.pocket import vit_pocket
from sslkit.testing import make_views

MISTAKES: dict[type[Method], list[str]] = {
    broken_in_two.ComparesItsOwnImages: ["the loss of step 1", "half of the batch", "all_gather"],
    broken_in_two.GathersWithoutGradient: ["the gradient of", "must keep their gradient"],
    broken_in_two.FollowsItsOwnImages: ["count is not the same on both processes", "mean_over_ranks"],
    broken_in_two.FollowsTheFirstProcess: ["after step 1 count differs between two processes and one"],
    broken_in_two.LosesItsCountInTwo: ["after step 1 count differs between two processes and one"],
    broken.HasAnIdlePart: ["in two processes a step raised RuntimeError", "finished reduction"],
    broken_in_two.FailsInTwo: ["only one process was thought of", "broken_in_two.py"],
    broken_in_two.StopsOneOfTwo: ["the second one gives up"],
}


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Pair, Mapping[str, MethodKit]]]:
    """All methods in one pair of processes, one after another."""
    methods: list[type[Method]] = [broken.Plain, broken_in_two.HasNothingYet, broken_in_two.Draws, *MISTAKES]
    kits = {cls.__name__: kit_of(cls) for cls in methods}
    setup = SmallSetup(partial(vit_pocket, **VIT))
    kits["partial"] = replace(kits["Plain"], setup=setup)
    with started(kits) as pair:
        assert isinstance(pair, Pair)
        yield pair, kits


def kit_of(cls: type[Method]) -> MethodKit:
    return settings(cls, cls.Config(), None, {}, {"2 local views": make_views(2)})["vit, 2 local views"]


def found(pair: tuple[Pair, Mapping[str, MethodKit]], name: str) -> Finding:
    return run(lambda kit: compare(kit, pair[0].traces(name)), "", pair[1][name], "two")


@pytest.mark.parametrize("name", ["Plain", "HasNothingYet", "partial"])
def test_a_plain_method_is_the_same(pair: tuple[Pair, Mapping[str, MethodKit]], name: str) -> None:
    """Also with a buffer that is NaN, and with a `functools.partial` as its network."""
    finding = found(pair, name)
    assert (finding.status, finding.told) == ("passed", "")


def test_of_one_that_draws_only_the_states_are_compared(pair: tuple[Pair, Mapping[str, MethodKit]]) -> None:
    finding = found(pair, "Draws")
    assert finding.status == "passed"
    assert "only their states were compared" in finding.told


@pytest.mark.parametrize("cls", MISTAKES, ids=lambda cls: cls.__name__)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    pair: tuple[Pair, Mapping[str, MethodKit]], cls: type[Method]
) -> None:
    finding = found(pair, cls.__name__)
    assert finding.status == "failed"
    for words in MISTAKES[cls]:
        assert words in finding.told


def test_a_class_that_no_process_can_import_is_not_checked() -> None:
    class Local(broken.Plain):
        pass

    with started({"here": kit_of(Local)}) as reason:
        assert isinstance(reason, NotChecked)
        assert "at the top of a module" in str(reason)
