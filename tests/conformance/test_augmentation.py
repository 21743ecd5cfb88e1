"""Each check of an augmentation sees what it is for, and says what to change."""

import pytest
from conformance import broken_augmentations as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of

from sslkit.conformance import augmentation
from sslkit.conformance.augmentation import AugmentationKit
from sslkit.conformance.findings import Finding, run
from sslkit.core.augmentation import Augmentation
from sslkit.testing import ConformanceError, augmentation_findings, check_augmentation

MISTAKES: list[Mistake] = [
    ("it_is_built", broken.SaysNoSizes, ["view_sizes is ()", "image_size among them"]),
    ("views_have_their_shapes", broken.GivesHalves, ["torch.float16", "float32"]),
    ("views_have_their_shapes", broken.SaysAnotherSize, ["view_sizes is (16, 8)", "sides [16]"]),
    ("views_are_normalised", broken.LeavesBytes, ["divide the canvas by 255"]),
    ("views_are_normalised", broken.LeavesShares, ["below 0", "subtract the mean"]),
    ("views_are_normalised", broken.LeavesLocalShares, ["no pixel of local_views", "subtract the mean"]),
    ("draws_follow_the_generator_alone", broken.DrawsFromNumpy, ["torch's global CPU generator", "numpy"]),
    ("draws_follow_the_generator_alone", broken.CountsItsDraws, ["counter of your own"]),
    ("apply_draws_nothing", broken.DrawsLate, ["draw everything in draw(n)"]),
    ("apply_draws_nothing", broken.WritesOnTheCanvas, ["changes the canvas", "copy"]),
    ("apply_draws_nothing", broken.GivesTheSameTensorAgain, ["other views twice"]),
    ("rows_of_parts_are_the_whole", broken.KnowsTheBatch, ["treat each image by itself"]),
    ("rows_of_parts_are_the_whole", broken.CutsNothing, ["rows(part) must cut"]),
    ("it_takes_small_canvases_and_one_image", broken.KnowsItsCanvas, ["AssertionError", "too small"]),
    ("it_takes_small_canvases_and_one_image", broken.DropsASingleImage, ["one canvas", "local_views"]),
    ("it_takes_grey_images_or_says_why_not", broken.ColoursLocalViews, ["local_views of grey images"]),
    ("it_takes_grey_images_or_says_why_not", broken.BreaksOnGrey, ["IndexError", "in apply"]),
    ("it_changes_no_global_state", broken.SeedsEverybody, ["Python's generator"]),
    ("it_works_on_a_gpu", broken.MakesTensorsOnTheCPU, ["on the CPU", "in normal"]),
]


def found_by(check: str, cls: type[Augmentation]) -> Finding:
    return run(vars(augmentation)[check], "", AugmentationKit(cls, cls.Config()))


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    check: str, cls: type[Augmentation], words: list[str]
) -> None:
    assert_told(found_by(check, cls), words)


def test_no_check_is_without_a_mistake() -> None:
    assert_complete(MISTAKES, augmentation_findings(broken.Plain))


@pytest.mark.parametrize("cls", [broken.Plain, broken.WithLocalViews])
def test_augmentations_of_ones_own_conform(cls: type[Augmentation]) -> None:
    check_augmentation(cls)


def test_one_that_refuses_grey_images_in_words_conforms() -> None:
    check_augmentation(broken.NeedsColours)
    finding = found_by("it_takes_grey_images_or_says_why_not", broken.NeedsColours)
    assert finding.status == "skipped"
    assert "'augment.hue' needs three channels" in finding.told


def test_one_that_draws_nothing_is_told_so() -> None:
    finding = run(
        augmentation.draws_follow_the_generator_alone,
        "",
        AugmentationKit(broken.Plain, broken.NoiseConfig(strength=0.0)),
    )
    assert (finding.status, finding.told) == ("passed", "it draws nothing")


def test_failures_are_raised_together() -> None:
    with pytest.raises(ConformanceError, match="LeavesBytes does not conform"):
        check_augmentation(broken.LeavesBytes)
