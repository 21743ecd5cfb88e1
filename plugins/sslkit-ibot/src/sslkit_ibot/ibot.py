"""iBOT: DINO that also fills in masked patches (Zhou et al. 2022), with DINOv2's KoLeo term."""

# G global views, L local views, V = G + L, B images, N patches, M masked patches of all G x B views,
# K prototypes, J prototypes of the patches, D features

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sslkit import Backbone, Method, Progress, Setup, StepOutput, Views
from sslkit.core.collectives import all_gather, mean_over_ranks, own_rows
from sslkit.core.method import mean_carry
from sslkit.core.schedules import linear_warmup
from sslkit.errors import RecipeError
from sslkit.losses.dino import dino_loss, teacher_entropies, teacher_probabilities
from sslkit.methods.dino import DINO
from sslkit.nn.heads import DINOHead
from sslkit_ibot.config import IBOTConfig
from sslkit_ibot.losses import koleo_loss, patch_loss, sinkhorn_knopp
from sslkit_ibot.masks import Masks, draw_masks
from sslkit_ibot.patch_head import add_patch_heads, outputs, patch_head_of


@dataclass(frozen=True)
class Answers:
    """What one of the two networks says."""

    images: Tensor
    """Head outputs of the views: [V, B, K] of the student, [G, B, K] of the teacher."""
    patches: Tensor
    """Head outputs of the masked patches, [M, J]."""
    features: Tensor
    """Of the global views, before the head, [G, B, D]."""


class IBOT(Method):
    """DINO whose student also says of hidden patches what the teacher, who sees them, says of them."""

    Config = IBOTConfig
    patch_center: Tensor

    def __init__(self, config: IBOTConfig, setup: Setup) -> None:
        super().__init__()
        self.config = config
        self.learns_patches = config.patch_weight > 0 and config.mask_probability > 0
        self.dino = DINO(config, setup)
        _check_backbone(self.dino.student)
        if config.mask_probability > 0:
            _learn_mask_token(self.dino)
        if self.learns_patches and config.patch_head == "separate":
            add_patch_heads(self.dino, config)
        self.register_buffer("patch_center", torch.zeros(config.patch_prototypes))  # [J]
        self.prototypes, self.chance_loss = config.out_dim, _chance_loss(config)
        self.signs, self.causes = self.dino.signs, self.dino.causes

    @property
    def encoder(self) -> Backbone:
        return self.dino.encoder

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        masks = self._masks(views.global_views)
        student, teacher = self._student(views, masks), self._teacher(views.global_views, masks)
        loss, metrics = self._image_loss(student.images, teacher.images, progress)
        carry = {"teacher_mean": teacher.images.to(self.patch_center.dtype).mean((0, 1))}  # [K], DINO's
        if self.learns_patches:
            of_patches, more = self._patch_loss(student.patches, teacher.patches, masks, progress)
            loss = loss + self.config.patch_weight * of_patches
            metrics |= more
            carry |= _sum_and_count(teacher.patches.to(self.patch_center.dtype))
        if self.config.koleo_weight > 0:
            crowding = self._koleo(student.features)
            loss = loss + self.config.koleo_weight * crowding
            metrics["koleo"] = crowding.detach()
        return StepOutput(loss, metrics, carry, teacher.features[0])

    def assignments(self, features: Tensor) -> Tensor:
        """DINO's: the teacher's targets for images, [B, D] -> [B, K]."""
        return self.dino.assignments(features)

    def _masks(self, global_views: Tensor) -> Masks:
        """For each of the views [G, B, C, H, W] by itself."""
        c, side = self.config, self.dino.student.patch_size
        assert side is not None
        rows, columns = (-(-length // side) for length in global_views.shape[-2:])
        where = draw_masks(
            global_views.shape[0] * global_views.shape[1],
            (rows, columns),
            probability=c.mask_probability,
            ratio=c.mask_ratio,
            spread=c.mask_ratio_spread,
            shape=c.mask_shape,
        )
        return Masks.of(where, global_views.device)

    def _student(self, views: Views, masks: Masks) -> Answers:
        """All views, the masked patches of the global ones hidden."""
        net, global_views = self.dino.student, views.global_views
        hidden = masks.where if self.config.mask_probability > 0 else None  # None: DINO, bit for bit
        features, tokens = net.features_and_tokens(global_views.flatten(0, 1), hidden)  # [G B, D]
        local = [] if views.local_views is None else [net(views.local_views.flatten(0, 1))]  # [L B, D]
        every = torch.cat([features, *local])  # [V B, D]
        return self._answers(self.dino.student_head, every, tokens.patches, masks, global_views.shape[1])

    @torch.no_grad()
    def _teacher(self, global_views: Tensor, masks: Masks) -> Answers:
        """The global views, nothing hidden."""
        features, tokens = self.dino.teacher.features_and_tokens(global_views.flatten(0, 1))  # [G B, D]
        return self._answers(self.dino.teacher_head, features, tokens.patches, masks, global_views.shape[1])

    def _answers(
        self, head: DINOHead, features: Tensor, patches: Tensor, masks: Masks, images: int
    ) -> Answers:
        """Features [V B, D] and patches [G B, N, D], of which the masked ones count, through the head."""
        rows = masks.rows if self.learns_patches else masks.rows[:0]
        masked = patches.flatten(0, 1).index_select(0, rows)  # [M, D]
        of_images, of_patches = outputs(head, features, masked)  # [V B, K], [M, J]
        return Answers(
            of_images.unflatten(0, (-1, images)),
            of_patches,
            features[: len(patches)].unflatten(0, (-1, images)),
        )

    def _image_loss(
        self, student: Tensor, teacher: Tensor, progress: Progress
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """DINO's loss, of [V, B, K] and [G, B, K], and its metrics."""
        c, center = self.config, self.dino.center
        tau = self._warmed_up(progress, c.warmup_teacher_temperature, c.teacher_temperature)
        loss = dino_loss(
            student, teacher, center, student_temperature=c.student_temperature, teacher_temperature=tau
        )
        entropy, entropy_of_mean = teacher_entropies(teacher, center, teacher_temperature=tau)
        return loss, {
            "image_loss": loss.detach(),
            "teacher_entropy": entropy,
            "kl": loss.detach() - entropy,
            "mean_teacher_entropy": entropy_of_mean,
            "teacher_information": entropy_of_mean - entropy,
            "center_norm": center.norm(),
            "teacher_temperature": torch.full_like(entropy, tau),
        }

    def _patch_loss(
        self, student: Tensor, teacher: Tensor, masks: Masks, progress: Progress
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Of the masked patches, [M, J]; entropy and KL are means over masked views, the loss is over all."""
        c = self.config
        tau = self._warmed_up(progress, c.warmup_patch_teacher_temperature, c.patch_teacher_temperature)
        targets = self._patch_targets(teacher, tau)
        loss = patch_loss(student, targets, masks.weights, student_temperature=c.student_temperature)
        masked_views = masks.weights.sum().clamp(min=TINY)  # as a share of all
        entropy = (masks.weights * torch.special.entr(targets).sum(-1)).sum() / masked_views
        return loss, {
            "patch_loss": loss.detach(),
            "patch_teacher_entropy": entropy,
            "patch_kl": loss.detach() / masked_views - entropy,
            "patch_center_norm": self.patch_center.norm(),
            "patch_teacher_temperature": torch.full_like(entropy, tau),
            "masked": masks.where.float().mean(),
        }

    def _patch_targets(self, teacher: Tensor, temperature: float) -> Tensor:
        if self.config.patch_centering == "center":
            return teacher_probabilities(teacher, self.patch_center, teacher_temperature=temperature)
        rounds = self.config.sinkhorn_iterations
        return sinkhorn_knopp(teacher, teacher_temperature=temperature, iterations=rounds)

    def _koleo(self, features: Tensor) -> Tensor:
        """Of each global view [G, B, D] by itself, among the images of all ranks."""
        return torch.stack([koleo_loss(x, all_gather(x), own_rows(x)) for x in features]).sum()

    def _warmed_up(self, progress: Progress, start: float, end: float) -> float:
        epochs = self.config.warmup_teacher_temperature_epochs
        return linear_warmup(progress.epoch, epochs, start=start, end=end)

    def before_step(self, progress: Progress) -> None:
        self.dino.before_step(progress)
        if progress.epoch < self.config.freeze_last_layer_epochs:
            for parameter in patch_head_of(self.dino.student_head).last_layer.parameters():
                parameter.grad = None

    @torch.no_grad()
    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        self.dino.after_step(progress, outputs)
        if self.learns_patches:
            total = mean_over_ranks(mean_carry(outputs, "patch_sum"))  # [J]
            count = mean_over_ranks(mean_carry(outputs, "patch_count"))  # []
            mean = torch.where(count > 0, total / count.clamp(min=TINY), self.patch_center)
            self.patch_center.lerp_(mean, 1 - self.config.patch_center_momentum)


TINY = 1e-12


def _learn_mask_token(dino: DINO) -> None:
    """The student's is learned from zero; the teacher's follows by DINO's moving average, and is not used."""
    for net in (dino.student, dino.teacher):
        net.mask_token = nn.Parameter(torch.zeros(net.embed_dim), requires_grad=net is dino.student)


def _check_backbone(backbone: Backbone) -> None:
    if backbone.patch_size is None:
        name = backbone.export_metadata.get("name", type(backbone).__name__)
        raise RecipeError(
            f"the method 'ibot' hides patches, and the backbone '{name}' has none"
            "\n  choose a ViT, such as backbone.name=vit_pocket or backbone.name=vit_small_patch16_224"
        )


def _chance_loss(config: IBOTConfig) -> float | None:
    """Of a network that says the same of everything; KoLeo has no such number."""
    if config.koleo_weight > 0:
        return None
    share = config.patch_weight * config.mask_probability
    return math.log(config.out_dim) + share * math.log(config.patch_prototypes)


def _sum_and_count(patches: Tensor) -> dict[str, Tensor]:
    """What the patches' centre needs: ranks and micro-batches differ in the number of masked patches."""
    return {"patch_sum": patches.sum(0), "patch_count": patches.new_full((), len(patches))}
