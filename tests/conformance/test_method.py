"""Each check of a method sees what it is for, and says what to change."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from conformance import broken_methods as broken
from conformance.mistakes import Mistake, assert_complete, assert_told, each_of

from sslkit.conformance import method_checks, method_state
from sslkit.conformance.cost import cost_beside_dino
from sslkit.conformance.findings import Finding, run
from sslkit.conformance.method import EXPENSIVE, default_views, method_findings, settings
from sslkit.conformance.method_kit import MethodKit
from sslkit.core.method import Method
from sslkit.testing import ConformanceError, check_method, make_views
from sslkit.train.loop import RANK_EVERY, STEP_NUMBERS, TAKEN, train

ONE = {"2 local views": make_views(2)}
CHECKS = {**vars(method_checks), **vars(method_state)}


def kit_of(cls: type[Method], network: str = "vit") -> MethodKit:
    return settings(cls, cls.Config(), None, {}, ONE)[f"{network}, 2 local views"]


def found_by(check: str, cls: type[Method], network: str = "vit") -> Finding:
    return run(CHECKS[check], "here", kit_of(cls, network))


MISTAKES: list[Mistake] = [
    ("it_is_built", broken.WantsMore, ["TypeError", "temperature"]),
    ("loss_is_finite_and_has_a_gradient", broken.Overflows, ["the loss is inf"]),
    ("loss_is_finite_and_has_a_gradient", broken.GivesEachImagesLoss, ["(16,)", "take its mean"]),
    ("loss_is_finite_and_has_a_gradient", broken.GivesTheLossAlone, ["Tensor", "return StepOutput"]),
    ("loss_is_finite_and_has_a_gradient", broken.Detaches, ["no gradient", "detached"]),
    ("loss_is_finite_and_has_a_gradient", broken.TakesARootOfZero, ["not finite", "square roots"]),
    ("loss_is_finite_in_bf16", broken.CancelsInBF16, ["under bf16", "float32"]),
    ("outputs_are_detached", broken.LeaksGradient, ["'norm' carries a gradient", "detach"]),
    ("outputs_are_detached", broken.GivesAVectorAsMetric, ["'norms' has shape (8,)", "scalars"]),
    ("outputs_are_detached", broken.GivesAllViewsFeatures, ["(16, 32)", "[B, D] with B = 8"]),
    ("outputs_are_detached", broken.TakesTheLoopsName, ["'grad_norm'", "rename"]),
    ("forward_changes_no_state", broken.ChangesState, ["changes count", "after_step"]),
    ("forward_changes_no_state", broken.CountsForwards, ["self.passes (1 -> 2)", "carry"]),
    ("forward_changes_no_state", broken.CountsInAnArray, ["self.passes (an array [2]", "carry"]),
    ("forward_changes_no_state", broken.DrawsFromNumpy, ["self.rng (what it draws"]),
    ("forward_changes_no_state", broken.DrawsFromPython, ["self.rng (what it draws"]),
    ("forward_is_deterministic", broken.DrawsOnItsOwn, ["torch's global generator"]),
    ("gradients_only_where_declared", broken.LearnsInSecret, ["scale", "parameter_groups"]),
    ("gradients_only_where_declared", broken.HasAnIdlePart, ["idle.weight", "requires_grad_(False)"]),
    ("encoder_is_part_of_the_method", broken.EncodesWithItsNetwork, ["VisionTransformer", "setup.backbone"]),
    ("encoder_is_part_of_the_method", broken.HidesItsEncoder, ["not a submodule", "__init__"]),
    ("everything_is_in_state_dict", broken.CountsSteps, ["self.steps (1 -> 3)", "register_buffer"]),
    ("everything_is_in_state_dict", broken.KeepsATensorAside, ["self.centre", "register_buffer"]),
    ("resume_is_exact", broken.HidesState, ["after a resume the loss is", "self.steps (1 -> 2)"]),
    ("resume_is_exact", broken.KeepsATensorAside, ["self.centre (a tensor [32]", "register_buffer"]),
    ("resume_is_exact", broken.ForgetsWhatItLoads, ["does not bring back start"]),
    ("loss_falls_on_a_fixed_batch", broken.Rises, ["do not lower the loss", "sign"]),
    ("loss_falls_on_a_fixed_batch", broken.EndsInNaN, ["does not stay finite", "nan", "logarithms"]),
    ("labels_matter_only_where_declared", broken.ReadsLabels, ["depends on labels", "needs_labels = True"]),
    ("labels_matter_only_where_declared", broken.ClaimsToNeedLabels, ["ignores the labels"]),
    ("diagnosis_names_its_metrics", broken.NamesNoMetric, ["teacher_entrpy", "no metric"]),
    ("diagnosis_names_its_metrics", broken.GivesNoProbabilities, ["probabilities", "softmax"]),
    ("it_takes_micro_batches", broken.TakesOneOutput, ["ValueError", "in after_step"]),
    ("a_step_waits_for_no_device", broken.WaitsForTheDevice, ["broken_methods.py, line", "torch.where"]),
    ("a_step_waits_for_no_device", broken.Prints, ["prints 'forward at step 5"]),
    ("it_takes_grey_images", broken.WantsThreeChannels, ["RuntimeError", "in features"]),
    ("it_works_on_a_gpu", broken.TakesNumbersToPython, ["numbers are read", ".tolist()", "in forward"]),
    ("it_works_on_a_gpu", broken.MakesTensorsOnTheCPU, ["on the CPU", "device=x.device", "in forward"]),
]


@each_of(MISTAKES)
def test_a_mistake_is_seen_and_what_to_change_is_said(
    check: str, cls: type[Method], words: list[str]
) -> None:
    assert_told(found_by(check, cls), words)


def test_no_check_is_without_a_mistake() -> None:
    ours = {name for module in (method_checks, method_state) for name in vars(module)}
    found = method_findings(broken.Plain, views=ONE, leave_out=EXPENSIVE)
    assert_complete(MISTAKES, [finding for finding in found if finding.check in ours])


def test_a_plain_method_conforms() -> None:
    check_method(broken.Plain, leave_out=EXPENSIVE)


def test_every_network_and_both_kinds_of_views_are_tried() -> None:
    where = {f.where for f in method_findings(broken.Plain, leave_out=EXPENSIVE) if f.where}
    views = default_views()
    assert where == {f"{network}, {seen}" for network in ("vit", "resnet") for seen in views}


def test_failures_are_listed_together_with_their_places() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_method(broken.CountsSteps, leave_out=EXPENSIVE)
    title, *lines = str(caught.value).splitlines()
    assert title == "CountsSteps does not conform:"
    assert len(lines) == 1  # the same at four settings is told once
    assert "everything_is_in_state_dict (vit, no local views; vit, 2 local views; resnet" in lines[0]


def test_a_network_that_is_refused_in_words_is_skipped() -> None:
    found = list(method_findings(broken.RefusesResNets, views=ONE, leave_out=EXPENSIVE))
    skipped = [f for f in found if f.status == "skipped"]
    assert [(f.check, f.where) for f in skipped] == [("it_is_built", "resnet, 2 local views")]
    assert "choose a ViT" in skipped[0].told
    assert not [f for f in found if f.status == "failed"]
    assert all(f.where != "resnet, 2 local views" for f in found if f not in skipped)


@pytest.mark.parametrize("cls", [broken.RefusesAll, broken.WantsThreeViews])
def test_a_method_that_refuses_everything_is_no_success(cls: type[Method]) -> None:
    with pytest.raises(ConformanceError, match=r"nothing of .* could be checked"):
        check_method(cls, leave_out=EXPENSIVE)


def test_views_of_ones_own() -> None:
    three: dict[str, Any] = {"3 views": make_views(0, global_count=3)}
    check_method(broken.WantsThreeViews, views=three, leave_out=EXPENSIVE)


def test_every_name_in_the_record_of_a_step_is_taken() -> None:
    """Of a real step, of a method without metrics; with fp16's scale, and with what is told at some steps."""
    kit = settings(broken.Plain, broken.Nothing(), None, {}, {"": make_views(2, batch=16)})["vit, "]
    trainer, records = kit.trainer(kit.build()), list[dict[str, Any]]()
    trainer.state.step, trainer.state.scaler = RANK_EVERY, torch.amp.GradScaler("cpu")
    train(
        trainer,
        iter([kit.batch(trainer.place)]),
        RANK_EVERY + 1,
        on_record=lambda record: records.append(dict(record)),
        on_step=lambda progress, output: None,
        on_pause=lambda progress: None,
    )
    assert {*records[0]} == {"kind", *STEP_NUMBERS}
    for name in TAKEN:
        finding = found_by("outputs_are_detached", type("Takes", (broken.TakesTheLoopsName,), {"name": name}))
        assert_told(finding, [f"metric '{name}' is one of the loop's own"])


def test_the_cost_is_measured_of_grey_images_too() -> None:
    kit = settings(broken.Plain, broken.Nothing(), None, {}, {"": make_views(2, channels=1)})["vit, "]
    assert "x its parameters" in cost_beside_dino(kit)


def test_the_cost_is_not_measured_where_one_of_both_takes_no_step() -> None:
    one_view = kit_of(broken.Plain), {"views": make_views(0, global_count=1)}
    no_vit = kit_of(broken.Plain), {"cls": broken.RefusesViTs}
    for (kit, changes), words in ((one_view, "DINO takes no step"), (no_vit, "it refuses the ViT")):
        finding = run(cost_beside_dino, "", replace(kit, **changes))
        assert (finding.status, words in finding.told) == ("skipped", True), finding


def test_the_cost_is_measured() -> None:
    class Twice(broken.Plain):
        def forward(self, *args: Any) -> Any:
            first, second = super().forward(*args), super().forward(*args)
            return replace(first, loss=first.loss + second.loss)

    once, twice = (cost_beside_dino(replace(kit_of(broken.Plain), cls=cls)) for cls in (broken.Plain, Twice))
    ratios = [float(told.split(" x DINO")[0].split()[-1]) for told in (once, twice)]
    assert 1.2 * ratios[0] < ratios[1]
    assert "x as much for the backward pass" in once
