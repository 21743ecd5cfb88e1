"""Each check of a data set sees what it is for, and says what to change."""

import pytest
from conformance import broken_datasets as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of

from sslkit.conformance import dataset
from sslkit.conformance.dataset import DatasetKit
from sslkit.conformance.findings import Finding, run
from sslkit.core.dataset import Dataset, DataSource
from sslkit.testing import ConformanceError, check_dataset, dataset_findings

MISTAKES: list[Mistake] = [
    ("it_opens", broken.IsEmpty, ["len() is 0", "DataError"]),
    ("samples_are_whole", broken.GivesFloats, ["float64", "uint8"]),
    ("samples_are_whole", broken.PutsChannelsFirst, ["(3, 12, 16)", "[H, W, C] with C = 3"]),
    ("samples_are_whole", broken.HasTwoKeys, ["key(0) is 'train/0'"]),
    ("labels_are_classes", broken.CountsLabelsFromOne, [".label is 2", "2 classes"]),
    ("labels_are_classes", broken.GivesNumpysLabels, ["int64", "int(label)"]),
    ("labels_are_classes", broken.ListsItsClasses, ["must be a tuple"]),
    ("labels_can_be_left_out", broken.InsistsOnLabels, ["labels='none'", "set them to None"]),
    ("masks_fit_their_images", broken.GivesMasksOfNumbers, ["uint8 (12, 16)", "bool (12, 16)"]),
    ("masks_fit_their_images", broken.GivesSmallMasks, ["bool (4, 16)"]),
    ("masks_fit_their_images", broken.HidesItsMasks, ["has_masks is False", "True"]),
    ("masks_fit_their_images", broken.MiscountsInstances, ["instances is 2"]),
    ("what_is_listed_is_listed_for_all", broken.ListsTooFewKinds, ["2 entries for 10 images"]),
    ("what_is_listed_is_listed_for_all", broken.ListsTooManyAnswers, ["[11, 11, 11] queries"]),
    ("keys_are_unique_and_stable", broken.RepeatsAKey, ["5 keys are there twice", "train/0"]),
    ("keys_are_unique_and_stable", broken.ShufflesItself, ["sort the files"]),
    ("an_image_is_the_same_each_time", broken.DrawsImages, ["draw nothing"]),
    ("an_image_is_the_same_each_time", broken.GivesItsCacheAway, ["a second time", "a copy"]),
    ("beyond_the_end_is_an_index_error", broken.NeverEnds, ["never ends"]),
    ("beyond_the_end_is_an_index_error", broken.EndsWithADataError, ["DataError", "IndexError alone"]),
    ("a_split_that_is_not_there_is_missing", broken.KnowsNoSplits, ["same images", "MissingSplitError"]),
    ("workers_can_have_it", broken.HoldsAFile, ["cannot be pickled", "Open files"]),
    ("workers_change_nothing", broken.LooksForItsWorker, ["data.workers=1", "index alone"]),
    ("it_gives_other_channels", broken.KnowsThreeChannels, ["C = 1"]),
    ("identity_is_stable", broken.IsAlwaysAnother, ["same words"]),
]


def found_by(check: str, cls: type[Dataset]) -> Finding:
    return run(vars(dataset)[check], "", DatasetKit(cls, cls.Config(), DataSource(None, "train")))


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    check: str, cls: type[Dataset], words: list[str]
) -> None:
    assert_told(found_by(check, cls), words)


def test_no_check_is_without_a_mistake() -> None:
    assert_complete(MISTAKES, dataset_findings(broken.Plain))


def test_a_data_set_of_ones_own_conforms() -> None:
    check_dataset(broken.Plain)


def test_without_data_it_is_said_how_to_give_them() -> None:
    found = {finding.check: finding for finding in dataset_findings(broken.FindsNothing)}
    assert found["it_opens"].status == "skipped"
    assert "data.root=DIR" in found["it_opens"].told
    with pytest.raises(ConformanceError, match="nothing of FindsNothing could be checked"):
        check_dataset(broken.FindsNothing)
    with pytest.raises(ConformanceError, match="it does not open: found 0 images in photos"):
        check_dataset(broken.FindsNothing, root="photos")


def test_one_that_cannot_be_divided_is_told_so() -> None:
    finding = found_by("a_split_that_is_not_there_is_missing", broken.CannotBeDivided)
    assert finding.status == "passed"
    assert "no split can be held out" in finding.told
