"""Five real training steps of a tiny DINO, all through the product's loop, in float64.

python tests/train/golden.py      writes golden_dino.json anew: only if you meant to change what is learned
"""

# B images, C channels

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkit.core.augmentation import Augmentation
from sslkit.core.backbone import Backbone
from sslkit.core.method import Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.data.loader import Batch
from sslkit.methods.dino import DINO, DINOConfig
from sslkit.nn.backbones import timm_backbone
from sslkit.recipe.schema import BackboneSection, ClipSection, Component, OptimSection, Recipe
from sslkit.train.distributed import Place
from sslkit.train.loop import Trainer, build_trainer, train

FILE = Path(__file__).with_name("golden_dino.json")
STEPS, STEPS_PER_EPOCH, EPOCHS, BATCH = 5, 2, 4, 8
GLOBAL, LOCAL = 16, 8
CONFIG = DINOConfig(
    out_dim=24,
    hidden_dim=16,
    bottleneck_dim=8,
    teacher_temperature=0.06,
    warmup_teacher_temperature=0.03,
    warmup_teacher_temperature_epochs=3,
    teacher_momentum=0.9,
    center_momentum=0.8,
    norm_last_layer=False,
)
OPTIM = OptimSection(
    batch_size=BATCH,
    epochs=EPOCHS,
    lr=0.02,
    warmup_epochs=1,
    min_lr=1e-4,
    weight_decay=0.1,
    weight_decay_end=0.6,
    clip=ClipSection("per_parameter", 0.05),
)


@dataclass(frozen=True)
class TinySetup:
    """A `Setup` with a two-block ViT of width 12 on 16 px images."""

    num_classes: int | None = None
    batch_size: int = BATCH
    channels: int = 3
    steps_per_epoch: int = STEPS_PER_EPOCH

    def backbone(self, *, drop_path_rate: float | None = None) -> Backbone:
        args = {"patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "pos_embed_resize": "dino"}
        return timm_backbone("vit_tiny_patch16_224", channels=3, image_size=GLOBAL, args=args)


class Noise(Augmentation):
    """Views that need no kornia: the canvas with noise that is drawn for the global batch."""

    Config = dict
    canvas_size = image_size = GLOBAL

    def __init__(self) -> None:
        super(Augmentation, self).__init__()

    def draw(self, n: int) -> "Drawn":
        return Drawn(torch.randn(4, n, 3, GLOBAL, GLOBAL, dtype=torch.float64))

    def apply(self, canvas: Tensor, size: Tensor, params: "Drawn") -> Views:  # type: ignore[override]
        images = canvas.double() / 255 + params.noise.to(canvas.device)  # [4, B, C, H, W]
        return Views(images[:2], images[2:, ..., :LOCAL, :LOCAL])


@dataclass(frozen=True)
class Drawn:
    noise: Tensor

    def rows(self, part: slice) -> "Drawn":
        return Drawn(self.noise[:, part])


@dataclass
class Trajectory:
    """What five steps did."""

    trainer: Trainer
    start: dict[str, Tensor]
    views: list[Views] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def method(self) -> DINO:
        method = self.trainer.method
        assert isinstance(method, DINO)
        return method

    def as_json(self) -> dict[str, Any]:
        state = self.method.state_dict()
        return {
            "losses": [r["loss"] for r in self.records],
            "norms": {k: v.double().norm().item() for k, v in sorted(state.items())},
        }


def recipe(accumulate: int = 1) -> Recipe:
    optim = OptimSection(**{**vars(OPTIM), "accumulate": accumulate})
    return Recipe(method=Component("dino", CONFIG), backbone=BackboneSection("tiny"), optim=optim)


def batches(place: Place) -> Iterator[Batch]:
    rows = BATCH // place.world_size
    part = slice(place.rank * rows, (place.rank + 1) * rows)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        canvas = torch.randint(256, (BATCH, 3, GLOBAL, GLOBAL), generator=generator, dtype=torch.uint8)
        size = torch.full((BATCH, 2), GLOBAL)
        yield Batch(canvas[part], size[part], None, torch.arange(BATCH)[part])


def run(
    *,
    accumulate: int = 1,
    place: Place | None = None,
    change: Callable[[Trainer], None] = lambda trainer: None,
    steps: int = STEPS,
    on_record: Callable[[Mapping[str, Any]], None] = lambda record: None,
) -> Trajectory:
    """Train; `change` may spoil the trainer first."""
    place = place or Place(torch.device("cpu"))
    with seeded(0, "weights"):
        method = DINO(CONFIG, TinySetup()).double().train()
    start = {k: v.clone() for k, v in method.state_dict().items()}
    trainer = build_trainer(recipe(accumulate), method, Noise(), place, STEPS_PER_EPOCH)
    trajectory = Trajectory(trainer, start)
    method.register_forward_pre_hook(lambda module, args: trajectory.views.append(args[0]))
    change(trainer)

    def hear(record: Mapping[str, Any]) -> None:
        trajectory.records.append(dict(record))
        on_record(record)

    train(
        trainer,
        batches(place),
        steps,
        on_record=hear,
        on_step=_ignore,
        on_pause=lambda progress: None,
    )
    return trajectory


def _ignore(progress: Progress, output: StepOutput) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    FILE.write_text(json.dumps(run().as_json(), indent=1) + "\n")
    print(f"wrote {FILE}; say in CHANGELOG.md why the trajectory changed")
