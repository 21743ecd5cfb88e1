"""Each check of a backbone sees what it is for, and says what to change."""

from typing import Any

import pytest
from conformance import broken_backbones as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of

from sslkit.conformance import backbone, backbone_state, backbone_tokens
from sslkit.conformance.backbone_kit import BackboneKit
from sslkit.conformance.findings import Finding, run
from sslkit.testing import ConformanceError, backbone_findings, check_backbone

CHECKS = {**vars(backbone), **vars(backbone_state), **vars(backbone_tokens)}
MISTAKES: list[Mistake] = [
    ("it_is_built", broken.WantsMore, ["TypeError", "depth"]),
    ("it_is_built", broken.HidesItsNetwork, ["no submodule", "__init__"]),
    ("features_have_their_shape", broken.GivesAMap, ["(3, 16, 12)", "[B, embed_dim] = (3, 12)"]),
    ("features_have_their_shape", broken.SaysAnotherWidth, ["[B, embed_dim] = (3, 13)"]),
    ("tokens_have_their_shapes", broken.CountsCLSAsPatch, ["17 patches on a grid", "`prefix`"]),
    ("features_and_tokens_agree", broken.PoolsOtherwise, ["other features than forward", "override it"]),
    ("layers_end_with_the_tokens", broken.GivesTheFirstLayerLast, ["other patches than tokens", "normed"]),
    ("cls_attention_is_a_share", broken.AttendsTooMuch, ["adds up to 16", "softmax"]),
    ("cls_attention_is_a_share", broken.AttendsToItself, ["(3, 2, 17)", "N = 16", "without CLS"]),
    ("masked_patches_are_not_seen", broken.MasksTooLate, ["still depend on the pixels", "embedded patches"]),
    ("masked_patches_are_not_seen", broken.MasksWithoutPatches, ["patch_size is None", "ValueError"]),
    ("it_takes_other_sizes", broken.TransposesItsGrid, ["(rows, columns), (4, 8)"]),
    ("it_takes_other_sizes", broken.ShrinksLargeImages, ["grid of (4, 4)", "(2, 2)"]),
    ("it_takes_other_channels", broken.KnowsThreeChannels, ["RuntimeError", "1 channels"]),
    ("images_do_not_mix", broken.ComparesWithTheBatch, ["depend on the others in its batch"]),
    ("state_changes_in_batch_norms_alone", broken.CountsPasses, ["changes passes in train mode"]),
    ("state_changes_in_batch_norms_alone", broken.AlwaysDrops, ["in eval mode", "self.training"]),
    ("state_dict_is_complete", broken.KeepsATensorAside, ["other features", "buffers"]),
    ("export_is_complete", broken.KeepsAHeadOutside, ["has to be in `network`"]),
    ("export_is_complete", broken.ExportsItself, ["plain numbers, words and lists"]),
    ("export_is_complete", broken.ClaimsToBeTimms, ["RuntimeError", "ResNet"]),
    ("gradients_reach_every_parameter", broken.HasAnIdlePart, ["decoder.weight", "several processes"]),
    ("features_are_finite_in_bf16", broken.CancelsInBF16, ["not finite"]),
    ("it_waits_for_no_device", broken.ReadsNumbers, ["broken_backbones.py, line"]),
    ("it_works_on_a_gpu", broken.MakesTensorsOnTheCPU, ["on the CPU", "device=x.device"]),
]


def found_by(check: str, cls: Any) -> Finding:
    return run(CHECKS[check], "", BackboneKit(cls))


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(check: str, cls: Any, words: list[str]) -> None:
    assert_told(found_by(check, cls), words)


def test_no_check_is_without_a_mistake() -> None:
    assert_complete(MISTAKES, backbone_findings(broken.Plain))


def test_a_backbone_of_ones_own_conforms() -> None:
    check_backbone(broken.Plain)


def test_one_that_takes_one_size_is_told_what_that_costs() -> None:
    finding = found_by("it_takes_other_sizes", broken.TakesOneSize)
    assert finding.status == "skipped"
    assert "augment.local_count=0 and eval.crop=32" in finding.told


def test_failures_are_raised_together() -> None:
    with pytest.raises(ConformanceError, match=r"(?s)CountsPasses does not conform:.*changes passes"):
        check_backbone(broken.CountsPasses)


def test_larger_images_are_tried_where_small_ones_are_refused() -> None:
    class Large(broken.Plain):
        def __init__(self, channels: int, image_size: int, drop_path_rate: float) -> None:
            super().__init__(channels, image_size, drop_path_rate)
            if image_size < 64:
                raise ValueError("no images below 64 pixels")

    assert {f.status for f in backbone_findings(Large)} == {"passed"}
