"""The five steps of the methods beside DINO: each of these mistakes, which spoils one line, is caught.

What belongs to the loop (clipping, decay, schedules) is spoilt in `test_golden_dino.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from train import golden
from train.papers import difference

from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.losses.byol import byol_loss
from sslkit.losses.info_nce import in_batch_info_nce, nt_xent
from sslkit.losses.patch import patch_choice_loss
from sslkit.methods.byol import BYOL
from sslkit.methods.mocov2 import MoCoV2
from sslkit.methods.mocov3 import MoCoV3
from sslkit.methods.pairs import mean_over_pairs
from sslkit.methods.patch import PatchDiscrimination
from sslkit.methods.simclr import SimCLR
from sslkit.nn.queue import KeyQueue

Patch = pytest.MonkeyPatch
PairLoss = Callable[[Tensor, Tensor], Tensor]
Outputs = Sequence[Tensor]


# --- of methods with a second network ----------------------------------------------------------------------


def average_before_optimiser(patch: Patch, cls: type[Method]) -> None:
    after = cls.after_step

    def after_step(self: Method, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        with patch.context() as inner:
            inner.setattr(f"{cls.__module__}.ema_", lambda *args: None)
            after(self, progress, outputs)

    patch.setattr(cls, "before_step", lambda self, progress: after(self, progress, []))
    patch.setattr(cls, "after_step", after_step)


def second_network_in_eval_mode(patch: Patch, cls: type[Method], heads: str) -> None:
    original = cls.forward

    def forward(self: Method, views: Views, progress: Progress) -> StepOutput:
        self.get_submodule(heads).eval()
        return original(self, views, progress)

    patch.setattr(cls, "forward", forward)


def change_pairs(
    patch: Patch, cls: type[Method], pairs: Callable[[PairLoss, Outputs, Outputs], Tensor]
) -> None:
    patch.setattr(f"{cls.__module__}.mean_over_pairs", pairs)


def one_direction(loss: PairLoss, online: Outputs, target: Outputs) -> Tensor:
    return loss(online[0], target[1])


def own_view(loss: PairLoss, online: Outputs, target: Outputs) -> Tensor:
    return torch.stack([loss(x, y) for x in online for y in target]).mean()


def half(loss: PairLoss, online: Outputs, target: Outputs) -> Tensor:
    return mean_over_pairs(loss, online, target) / 2


# --- BYOL --------------------------------------------------------------------------------------------------


def byol_predictor_on_one_side_only(patch: Patch) -> None:
    original = BYOL.forward

    def forward(self: BYOL, views: Views, progress: Progress) -> StepOutput:
        calls = count()
        hook = self.predictor.register_forward_hook(lambda m, x, y: x[0] if next(calls) == 1 else y)
        output = original(self, views, progress)
        hook.remove()
        return output

    patch.setattr(BYOL, "forward", forward)


def byol_target_predicts_too(patch: Patch) -> None:
    original = BYOL.forward

    def forward(self: BYOL, views: Views, progress: Progress) -> StepOutput:
        hook = self.target_projector.register_forward_hook(lambda m, x, y: self.predictor(y))
        output = original(self, views, progress)
        hook.remove()
        return output

    patch.setattr(BYOL, "forward", forward)


def byol_gradient_through_the_target(patch: Patch) -> None:
    """The target network is trained, beside its moving average."""

    def forward(self: BYOL, views: Views, progress: Progress) -> StepOutput:
        features = [self.backbone(view) for view in views.each()]
        predictions = [self.predictor(self.projector(x)) for x in features]
        targets = [self.target_projector(self.target(view)) for view in views.global_views]
        distance: PairLoss = lambda x, y: (2 - 2 * F.cosine_similarity(x, y, dim=1)).mean()  # noqa: E731
        return StepOutput(2 * mean_over_pairs(distance, predictions, targets))

    patch.setattr("sslkit.methods.byol.start_as_copy", lambda to, of: to.load_state_dict(of.state_dict()))
    patch.setattr(BYOL, "forward", forward)


def byol_target_is_the_online_network(patch: Patch) -> None:
    patch.setattr(BYOL, "_momentum", lambda self, progress: 0.0)


def byol_average_before_optimiser(patch: Patch) -> None:
    average_before_optimiser(patch, BYOL)


def byol_average_of_the_backbone_only(patch: Patch) -> None:
    original = BYOL.after_step

    def after_step(self: BYOL, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        head = {k: v.clone() for k, v in self.target_projector.state_dict().items()}
        original(self, progress, outputs)
        self.target_projector.load_state_dict(head)

    patch.setattr(BYOL, "after_step", after_step)


def byol_one_direction_only(patch: Patch) -> None:
    change_pairs(patch, BYOL, one_direction)


def byol_own_view_among_the_pairs(patch: Patch) -> None:
    change_pairs(patch, BYOL, own_view)


def byol_mean_of_the_directions(patch: Patch) -> None:
    change_pairs(patch, BYOL, half)


def byol_constant_momentum(patch: Patch) -> None:
    patch.setattr(BYOL, "_momentum", lambda self, progress: self.config.target_momentum)


def byol_target_in_eval_mode(patch: Patch) -> None:
    second_network_in_eval_mode(patch, BYOL, "target_projector")


def byol_not_normalised(patch: Patch) -> None:
    patch.setattr("sslkit.methods.byol.byol_loss", lambda x, y: (x - y).square().sum(1).mean())


def byol_swapped_roles(patch: Patch) -> None:
    """The target is drawn to a prediction that gets no gradient."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return byol_loss(target, prediction) + 0 * prediction.sum()

    patch.setattr("sslkit.methods.byol.byol_loss", loss)


# --- SimCLR ------------------------------------------------------------------------------------------------


def simclr_similarity_to_oneself_not_masked(patch: Patch) -> None:
    def loss(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
        z = torch.cat([first, second])
        own = torch.arange(len(z)).roll(len(first))
        return in_batch_info_nce(z, z, own, temperature=temperature)

    patch.setattr("sslkit.methods.simclr.nt_xent", loss)


def simclr_negatives_of_the_other_view_only(patch: Patch) -> None:
    def loss(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
        own = torch.arange(len(first))
        pairs = ((first, second), (second, first))
        return torch.stack([in_batch_info_nce(x, y, own, temperature=temperature) for x, y in pairs]).mean()

    patch.setattr("sslkit.methods.simclr.nt_xent", loss)


def simclr_second_view_without_gradient(patch: Patch) -> None:
    patch.setattr("sslkit.methods.simclr.nt_xent", lambda x, y, **tau: nt_xent(x, y.detach(), **tau))


def simclr_temperature_forgotten(patch: Patch) -> None:
    patch.setattr("sslkit.methods.simclr.nt_xent", lambda x, y, temperature: nt_xent(x, y, temperature=1))


def simclr_not_normalised(patch: Patch) -> None:
    patch.setattr("sslkit.losses.info_nce.cosines", lambda x, y: x @ y.T)


def simclr_head_takes_one_view_at_a_time(patch: Patch) -> None:
    original = SimCLR.forward

    def forward(self: SimCLR, views: Views, progress: Progress) -> StepOutput:
        def by_views(module: nn.Module, x: tuple[Tensor], y: Tensor) -> Tensor:
            return torch.cat([self.projector.forward(part) for part in x[0].split(golden.BATCH)])

        hook = self.projector.register_forward_hook(by_views)
        output = original(self, views, progress)
        hook.remove()
        return output

    patch.setattr(SimCLR, "forward", forward)


def simclr_local_views_forgotten(patch: Patch) -> None:
    patch.setattr(Views, "each", lambda self: [*self.global_views])


# --- MoCo v2 -----------------------------------------------------------------------------------------------


def mocov2_enqueue_before_loss(patch: Patch) -> None:
    original = MoCoV2.forward

    def forward(self: MoCoV2, views: Views, progress: Progress) -> StepOutput:
        self.queue.enqueue(self._keys(views.global_views[1]))
        return replace(original(self, views, progress), carry={"keys": torch.zeros(0, 8)})

    patch.setattr(MoCoV2, "forward", forward)
    enqueue = KeyQueue.enqueue
    patch.setattr(KeyQueue, "enqueue", lambda self, keys: enqueue(self, keys) if len(keys) else None)


def mocov2_average_before_optimiser(patch: Patch) -> None:
    average_before_optimiser(patch, MoCoV2)


def mocov2_queue_not_normalised(patch: Patch) -> None:
    patch.setattr("sslkit.nn.queue.F", SimpleNamespace(normalize=lambda x, dim: x))


def mocov2_queue_stands_still(patch: Patch) -> None:
    patch.setattr(KeyQueue, "enqueue", lambda self, keys: None)


def mocov2_newest_keys_are_replaced(patch: Patch) -> None:
    original = KeyQueue.enqueue

    def enqueue(self: KeyQueue, keys: Tensor) -> None:
        original(self, keys)
        self.position.zero_()

    patch.setattr(KeyQueue, "enqueue", enqueue)


def mocov2_keys_from_the_query_network(patch: Patch) -> None:
    patch.setattr(MoCoV2, "_keys", lambda self, view: self.projector(self.backbone(view)).detach())


def mocov2_queries_of_the_second_view(patch: Patch) -> None:
    original = Views.each
    patch.setattr(Views, "each", lambda self: original(replace(self, global_views=self.global_views.flip(0))))


def mocov2_queries_are_enqueued(patch: Patch) -> None:
    original = MoCoV2.forward

    def forward(self: MoCoV2, views: Views, progress: Progress) -> StepOutput:
        output = original(self, views, progress)
        with torch.no_grad():
            queries = self.projector(self.backbone(views.global_views[0]))
        return replace(output, carry={"keys": queries})

    patch.setattr(MoCoV2, "forward", forward)


# --- MoCo v3 -----------------------------------------------------------------------------------------------


def mocov3_without_two_tau(patch: Patch) -> None:
    tau = golden.CASES["mocov3"].config.temperature
    change_pairs(patch, MoCoV3, lambda *args: mean_over_pairs(*args) / (2 * tau))


def mocov3_momentum_of_this_step(patch: Patch) -> None:
    original = MoCoV3._momentum
    patch.setattr(MoCoV3, "_momentum", lambda self, step, progress: original(self, progress.step, progress))


def mocov3_average_before_optimiser(patch: Patch) -> None:
    average_before_optimiser(patch, MoCoV3)


def mocov3_one_direction_only(patch: Patch) -> None:
    change_pairs(patch, MoCoV3, one_direction)


def mocov3_own_view_among_the_pairs(patch: Patch) -> None:
    change_pairs(patch, MoCoV3, own_view)


def mocov3_patch_projection_trained(patch: Patch) -> None:
    patch.setattr("sslkit.methods.mocov3._freeze_patch_projection", lambda backbone: None)


def mocov3_keys_in_eval_mode(patch: Patch) -> None:
    second_network_in_eval_mode(patch, MoCoV3, "key_projector")


def mocov3_keys_of_other_images(patch: Patch) -> None:
    def loss(query: Tensor, keys: Tensor, own: Tensor, **tau: float) -> Tensor:
        return in_batch_info_nce(query, keys, own.roll(1), **tau)

    patch.setattr("sslkit.methods.mocov3.in_batch_info_nce", loss)


def mocov3_no_norm_at_the_heads_end(patch: Patch) -> None:
    original = MoCoV3.forward

    def forward(self: MoCoV3, views: Views, progress: Progress) -> StepOutput:
        self.predictor[-1] = nn.Identity()
        return original(self, views, progress)

    patch.setattr(MoCoV3, "forward", forward)


# --- patch discrimination and supervised training ----------------------------------------------------------


def patch_candidates_in_both_roles(patch: Patch) -> None:
    patch.setattr("sslkit.methods.patch._is_triplet", lambda views: False)


def patch_roles_swapped(patch: Patch) -> None:
    patch.setattr("sslkit.methods.patch.patch_choice_loss", lambda own, other: patch_choice_loss(other, own))


def patch_candidates_of_the_same_image(patch: Patch) -> None:
    """The candidate for the neighbour is given to the image that it was cut from."""
    patch.setattr(Tensor, "__xor__", lambda self, other: self)


def patch_neighbour_is_the_next_image(patch: Patch) -> None:
    patch.setattr(Tensor, "__xor__", lambda self, other: self.roll(-1))


def patch_score_without_the_projector(patch: Patch) -> None:
    patch.setattr(PatchDiscrimination, "similarity", lambda self, x, y: F.cosine_similarity(x, y, dim=1))


def supervised_labels_of_other_images(patch: Patch) -> None:
    replace_cross_entropy(patch, lambda logits, labels, **how: F.cross_entropy(logits, labels.roll(1), **how))


def supervised_labels_view_by_image(patch: Patch) -> None:
    patch.setattr(Tensor, "repeat", Tensor.repeat_interleave)


def supervised_smoothing_forgotten(patch: Patch) -> None:
    replace_cross_entropy(
        patch,
        lambda logits, labels, reduction, **how: F.cross_entropy(
            logits, labels, ignore_index=-1, reduction=reduction
        ),
    )


def replace_cross_entropy(patch: Patch, by: Callable[..., Tensor]) -> None:
    patch.setattr("sslkit.methods.supervised.F", SimpleNamespace(cross_entropy=by))


def supervised_local_views_forgotten(patch: Patch) -> None:
    patch.setattr(Views, "each", lambda self: [*self.global_views])


MISTAKES = [
    function
    for name, function in list(globals().items())
    if name.split("_")[0] in golden.CASES and function.__module__ == __name__
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.__name__)
def test_a_mistake_is_caught(mistake: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mistake(monkeypatch)
    assert difference(golden.run(mistake.__name__.split("_")[0])) > 1000
