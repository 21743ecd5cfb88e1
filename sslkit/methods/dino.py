"""DINO: self-distillation with no labels (Caron et al. 2021)."""

# G global views, L local views, V = G + L, B images, K prototypes, D features

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.collectives import mean_over_ranks
from sslkit.core.diagnosis import COLLAPSES, Cause, Sign, no_ema
from sslkit.core.ema import ema_, start_as_copy
from sslkit.core.method import Method, Progress, Setup, StepOutput, Views, mean_carry
from sslkit.core.schedules import cosine, linear_warmup
from sslkit.hookspecs import hookimpl
from sslkit.losses.dino import dino_loss, teacher_entropies, teacher_probabilities
from sslkit.methods.ranges import POSITIVE, SHARE, WIDTH, Range, check_ranges
from sslkit.nn.heads import DINOHead


@dataclass
class DINOConfig:
    """DINO's part of a recipe; the defaults are those of the authors' training script."""

    out_dim: int = 65536
    """K, the number of prototypes, >= 2. Small data and small batches want a small K (128 to 4096)."""
    student_temperature: float = 0.1
    """Softmax temperature of the student, > 0."""
    teacher_temperature: float = 0.04
    """Softmax temperature of the teacher after the warm-up, >= 0; 0 is a one-hot teacher. From 0.08 on the
    paper's runs collapsed."""
    warmup_teacher_temperature: float = 0.04
    """Teacher temperature at the start, >= 0."""
    warmup_teacher_temperature_epochs: int = 0
    """Epochs of linear warm-up of the teacher temperature, >= 0 (the paper's long runs: 30)."""
    center_momentum: float = 0.9
    """How slowly the centre follows the batch mean, 0 to 1; 1 keeps it at zero (no centring)."""
    teacher_momentum: float = 0.996
    """EMA momentum of the teacher at the start, 0 to 1; smaller for small batches or short runs."""
    teacher_momentum_end: float = 1.0
    """EMA momentum at the end, by a cosine, 0 to 1."""
    teacher_update_epochs: int = 0
    """0: the teacher follows by EMA after each step; n >= 1: no EMA, after each n-th epoch it becomes a copy
    of the student (the paper compares the previous epoch: 1)."""
    freeze_last_layer_epochs: int = 1
    """Epochs during which the head's last layer gets no gradient, >= 0."""
    norm_last_layer: bool = True
    """Fix the gain of the weight-normed last layer at 1: steadier; the paper's long runs set false."""
    hidden_dim: int = 2048
    """Width of the head's hidden layers."""
    bottleneck_dim: int = 256
    """Width of the head before the prototypes."""
    head_layers: int = 3
    """Linear layers of the head before the prototypes, >= 1."""

    @classmethod
    def for_checks(cls) -> Self:
        """Small enough for the conformance kit."""
        return cls(out_dim=64, hidden_dim=32, bottleneck_dim=16)

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)


_RANGES = {
    "out_dim": Range(2),
    "student_temperature": POSITIVE,
    "teacher_temperature": Range(0),
    "warmup_teacher_temperature": Range(0),
    "warmup_teacher_temperature_epochs": Range(0),
    "center_momentum": SHARE,
    "teacher_momentum": SHARE,
    "teacher_momentum_end": SHARE,
    "teacher_update_epochs": Range(0),
    "freeze_last_layer_epochs": Range(0),
    "hidden_dim": WIDTH,
    "bottleneck_dim": WIDTH,
    "head_layers": WIDTH,
}


class DINO(Method):
    """The student sees all crops and must say of each what the teacher says of the global ones."""

    Config = DINOConfig
    center: Tensor

    def __init__(self, config: DINOConfig, setup: Setup) -> None:
        super().__init__()
        self.config = config
        self.prototypes = config.out_dim
        self.chance_loss = math.log(config.out_dim)
        self.signs, self.causes = _signs(config.out_dim), tuple(_causes(config))
        self.student = setup.backbone()
        self.student_head = _head(config, self.student.embed_dim)
        self.teacher = setup.backbone(drop_path_rate=0.0)
        self.teacher_head = _head(config, self.teacher.embed_dim)
        start_as_copy(self.teacher, self.student)
        start_as_copy(self.teacher_head, self.student_head)
        self.register_buffer("center", torch.zeros(config.out_dim))  # [K]

    @property
    def encoder(self) -> Backbone:
        return self.teacher

    def forward(self, views: Views, progress: Progress) -> StepOutput:
        student = self._student_outputs(views)  # [V, B, K]
        teacher, features = self._teacher_outputs(views.global_views)  # [G, B, K], [B, D]
        temperature = self._teacher_temperature(progress)
        loss = dino_loss(
            student,
            teacher,
            self.center,
            student_temperature=self.config.student_temperature,
            teacher_temperature=temperature,
        )
        metrics = self._metrics(loss.detach(), teacher, temperature, progress)
        carry = {"teacher_mean": teacher.to(self.center.dtype).mean((0, 1))}  # [K]
        return StepOutput(loss, metrics, carry, features)

    def assignments(self, features: Tensor) -> Tensor:
        """The teacher's targets: its head's outputs [B, K], centred and sharpened as after the warm-up."""
        outputs = self.teacher_head(features)  # [B, K]
        return teacher_probabilities(
            outputs, self.center, teacher_temperature=self.config.teacher_temperature
        )

    def _student_outputs(self, views: Views) -> Tensor:
        resolutions = [views.global_views, *([] if views.local_views is None else [views.local_views])]
        features = [self.student(v.flatten(0, 1)) for v in resolutions]  # [G B, D], [L B, D]
        outputs: Tensor = self.student_head(torch.cat(features))  # [V B, K]
        return outputs.view(-1, views.global_views.shape[1], self.config.out_dim)

    @torch.no_grad()
    def _teacher_outputs(self, global_views: Tensor) -> tuple[Tensor, Tensor]:
        features = self.teacher(global_views.flatten(0, 1))  # [G B, D]
        outputs: Tensor = self.teacher_head(features)  # [G B, K]
        count = global_views.shape[1]
        return outputs.view(-1, count, self.config.out_dim), features[:count]

    def _teacher_temperature(self, progress: Progress) -> float:
        return linear_warmup(
            progress.epoch,
            self.config.warmup_teacher_temperature_epochs,
            start=self.config.warmup_teacher_temperature,
            end=self.config.teacher_temperature,
        )

    def _momentum(self, progress: Progress) -> float:
        c = self.config
        if c.teacher_update_epochs:
            between = c.teacher_update_epochs * progress.steps_per_epoch
            return 0.0 if (progress.step + 1) % between == 0 else 1.0
        return cosine(
            progress.step, progress.total_steps, start=c.teacher_momentum, end=c.teacher_momentum_end
        )

    def _metrics(
        self, loss: Tensor, teacher: Tensor, temperature: float, progress: Progress
    ) -> dict[str, Tensor]:
        entropy, entropy_of_mean = teacher_entropies(teacher, self.center, teacher_temperature=temperature)
        return {
            "teacher_entropy": entropy,
            "kl": loss - entropy,  # the loss is the cross-entropy h + KL, each teacher view in as many pairs
            "mean_teacher_entropy": entropy_of_mean,
            "teacher_information": entropy_of_mean - entropy,  # between image and prototype, in nats
            "center_norm": self.center.norm(),
            "teacher_momentum": torch.full_like(loss, self._momentum(progress)),
            "teacher_temperature": torch.full_like(loss, temperature),
        }

    def before_step(self, progress: Progress) -> None:
        if progress.epoch < self.config.freeze_last_layer_epochs:
            for parameter in self.student_head.last_layer.parameters():
                parameter.grad = None  # absent, not zero: AdamW would move on a zero gradient

    @torch.no_grad()
    def after_step(self, progress: Progress, outputs: Sequence[StepOutput]) -> None:
        momentum = self._momentum(progress)
        ema_(self.teacher.parameters(), self.student.parameters(), momentum)
        ema_(self.teacher_head.parameters(), self.student_head.parameters(), momentum)
        batch_mean = mean_over_ranks(mean_carry(outputs, "teacher_mean"))  # [K]
        self.center.lerp_(batch_mean, 1 - self.config.center_momentum)


def _signs(prototypes: int) -> tuple[Sign, ...]:
    """The paper's Fig. 7: KL(teacher || student) near 0 is collapse, the teacher's entropy says which kind.

    In the one-dimension kind the mean of all outputs has no entropy either, whereas a sharp but healthy
    teacher gives different images different prototypes. A teacher that gives all images the same answer, but
    another one every few steps, is driven about by steps that are too large.
    """
    full = math.log(prototypes)
    alike = (-math.inf, AGREE * full)
    return (
        Sign("uniform collapse", {"teacher_entropy": (UNIFORM * full, math.inf), "kl": alike}),
        Sign("one-dimension collapse", {"mean_teacher_entropy": (-math.inf, ONE * full), "kl": alike}),
        Sign("diverging", {"teacher_information": (-math.inf, SAME * full)}),
    )


AGREE = 0.01
"""KL as a share of ln K below which student and teacher say the same of every image."""
UNIFORM = 0.98
"""Teacher entropy as a share of ln K above which every prototype has the same share."""
ONE = 0.02
"""Entropy of the mean output as a share of ln K below which one prototype has all."""
SAME = 0.005
"""Information of the answer about the image, as a share of ln K, below which it is always the same."""


def _causes(c: DINOConfig) -> Iterator[Cause]:
    """Settings that collapsed in the paper's ablations or in our own runs (docs/health.md)."""
    gentle = "method.center_momentum=0.9"
    yield from no_ema(teacher_momentum=c.teacher_momentum, teacher_momentum_end=c.teacher_momentum_end)
    if c.teacher_temperature > 0.6 * c.student_temperature:
        text = (
            f"the teacher is too soft (method.teacher_temperature={c.teacher_temperature:g}, the student's is"
        )
        sharp = f"{0.4 * c.student_temperature:g}"
        advice = f"method.teacher_temperature={sharp} method.warmup_teacher_temperature={sharp}"
        yield Cause(("uniform collapse", "dead features"), f"{text} {c.student_temperature:g})", advice)
    if c.center_momentum >= 1:
        yield Cause(COLLAPSES, "nothing centres the teacher (method.center_momentum=1)", gentle)
    elif c.center_momentum > 0.99:
        text = f"the centre follows too slowly (method.center_momentum={c.center_momentum:g})"
        yield Cause(COLLAPSES, text, gentle)


def _head(config: DINOConfig, in_dim: int) -> DINOHead:
    return DINOHead(
        in_dim,
        config.out_dim,
        hidden_dim=config.hidden_dim,
        bottleneck_dim=config.bottleneck_dim,
        layers=config.head_layers,
        norm_last_layer=config.norm_last_layer,
    )


@hookimpl
def sslkit_methods() -> dict[str, type[Method]]:
    return {"dino": DINO}
