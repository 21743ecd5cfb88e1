"""Each check of an evaluator sees what it is for, and says what to change."""

import pytest
from conformance import broken_evaluators as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of

from sslkit.conformance import evaluator
from sslkit.conformance.evaluator import NETWORKS, kits
from sslkit.conformance.findings import Finding, run
from sslkit.core.evaluator import Evaluator
from sslkit.plugins import Registry
from sslkit.testing import ConformanceError, check_evaluator, evaluator_findings

MISTAKES: list[Mistake] = [
    ("it_is_built", broken.NeedsTheWeather, ["weather", "labels, masks, method, prototypes"]),
    ("its_result_is_whole", broken.GivesTensors, ["'norm' is a Tensor", ".item()"]),
    ("its_result_is_whole", broken.GivesNaN, ["'norm' is nan", "notes"]),
    ("its_result_is_whole", broken.TurnsAnIntervalRound, ["(2, 0.5)", "(low, high)"]),
    ("its_result_is_whole", broken.MissesItsInterval, ["(2, 3)", "around 1"]),
    ("its_result_is_whole", broken.CountsForNoMetric, ["counts name nrom"]),
    ("its_result_is_whole", broken.RestsOnNothing, ["count of 'norm' is 0", "above 0"]),
    ("its_result_is_whole", broken.SaysOneNote, ["notes=(text,)"]),
    ("pictures_lie_in_their_folder", broken.NamesNoFile, ["there is no file"]),
    ("pictures_lie_in_their_folder", broken.WritesElsewhere, ["elsewhere", "context.figures"]),
    ("the_subject_is_left_alone", broken.LeavesEvalMode, ["train mode of", "eval_mode"]),
    ("the_subject_is_left_alone", broken.TrainsAllOfIt, ["train mode of", "eval_mode"]),
    ("the_subject_is_left_alone", broken.TrainsOnIt, ["gradient of", "no_grad"]),
    ("the_same_question_has_one_answer", broken.DrawsItsImages, ["norm", "fixed seed"]),
    ("the_same_question_has_one_answer", broken.Remembers, ["keep nothing"]),
    ("it_needs_no_more_than_it_says", broken.TakesLabelsForGranted, ["without labels", "`needs`"]),
    ("it_needs_no_more_than_it_says", broken.GivesUpWithoutLabels, ["gives up: it needs labels", "`needs`"]),
    ("it_needs_no_more_than_it_says", broken.TurnsRoundWithoutLabels, ["without labels", "(2, 0.5)"]),
    ("few_images_end_no_run", broken.CountsFewImagesAsNone, ["of 3 images the count of 'norm' is 0"]),
    ("few_images_end_no_run", broken.WantsManyImages, ["of 3 images it raises ValueError", "DataError"]),
]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(allow="")


def found_by(check: str, cls: type[Evaluator], registry: Registry, network: str = "vit") -> Finding:
    with kits(cls, cls.Config(), {network: NETWORKS[network]}, registry) as asked:
        return run(vars(evaluator)[check], network, asked[network])


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    registry: Registry, check: str, cls: type[Evaluator], words: list[str]
) -> None:
    assert_told(found_by(check, cls, registry), words)


def test_no_check_is_without_a_mistake(registry: Registry) -> None:
    assert_complete(MISTAKES, evaluator_findings(broken.Plain, registry=registry))


@pytest.mark.parametrize("cls", [broken.Plain, broken.NeedsLabels, broken.AsksForManyImages])
def test_evaluators_of_ones_own_conform(registry: Registry, cls: type[Evaluator]) -> None:
    check_evaluator(cls, registry=registry)


def test_a_network_that_is_refused_in_words_is_skipped(registry: Registry) -> None:
    found = list(evaluator_findings(broken.RefusesResNets, registry=registry))
    skipped = [finding for finding in found if finding.status == "skipped"]
    assert [(f.check, f.where) for f in skipped] == [("its_result_is_whole", "resnet")]
    assert "it looks at patches" in skipped[0].told
    assert not [finding for finding in found if finding.status == "failed"]


def test_failures_are_raised_with_their_network(registry: Registry) -> None:
    with pytest.raises(ConformanceError, match=r"its_result_is_whole \(vit; resnet\): metric 'norm' is nan"):
        check_evaluator(broken.GivesNaN, registry=registry)
