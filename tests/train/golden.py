"""Five real training steps of each method at its smallest, all through the product's loop, in float64.

python tests/train/golden.py [METHOD]      writes golden_<method>.json anew: only if you meant the change
"""

# V views, B images, C channels

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkit.core.augmentation import Augmentation
from sslkit.core.backbone import Backbone
from sslkit.core.method import Method, Progress, StepOutput, Views
from sslkit.core.randomness import seeded
from sslkit.data.loader import Batch
from sslkit.methods.byol import BYOLConfig
from sslkit.methods.dino import DINOConfig
from sslkit.methods.mocov2 import MoCoV2Config
from sslkit.methods.mocov3 import MoCoV3Config
from sslkit.methods.patch import PatchConfig
from sslkit.methods.simclr import SimCLRConfig
from sslkit.methods.supervised import SupervisedConfig
from sslkit.nn.backbones import timm_backbone
from sslkit.plugins import Registry
from sslkit.recipe.schema import BackboneSection, ClipSection, Component, OptimSection, Recipe
from sslkit.train.distributed import Place
from sslkit.train.loop import Trainer, build_trainer, train

STEPS, STEPS_PER_EPOCH, EPOCHS, BATCH, CLASSES = 5, 2, 4, 8, 3
GLOBAL, LOCAL = 16, 8
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
DINO = DINOConfig(
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


@dataclass(frozen=True)
class Case:
    """A method and its views."""

    config: Any
    views: tuple[int, int] = (2, 2)
    """Numbers of global and of local ones."""


CASES: dict[str, Case] = {
    "dino": Case(DINO),
    "byol": Case(BYOLConfig(hidden_dim=16, out_dim=8, target_momentum=0.9)),
    "simclr": Case(SimCLRConfig(hidden_dim=16, out_dim=8, temperature=0.2)),
    "mocov2": Case(  # the queue wraps around in the fourth step
        MoCoV2Config(hidden_dim=16, out_dim=8, queue_size=3 * BATCH, key_momentum=0.9, shuffle_groups=1)
    ),
    "mocov3": Case(MoCoV3Config(hidden_dim=16, out_dim=8, key_momentum=0.9)),
    "patch": Case(PatchConfig(hidden_dim=16, out_dim=8), (3, 0)),
    "supervised": Case(SupervisedConfig()),
}


def file_of(name: str) -> Path:
    return Path(__file__).with_name(f"golden_{name}.json")


@dataclass(frozen=True)
class TinySetup:
    """A `Setup` with a two-block ViT of width 12 on 16 px images."""

    num_classes: int | None = CLASSES
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

    def __init__(self, views: tuple[int, int]) -> None:
        super(Augmentation, self).__init__()
        self.views = views

    def draw(self, n: int) -> "Drawn":
        return Drawn(torch.randn(sum(self.views), n, 3, GLOBAL, GLOBAL, dtype=torch.float64))

    def apply(self, canvas: Tensor, size: Tensor, params: "Drawn") -> Views:  # type: ignore[override]
        images = canvas.double() / 255 + params.noise.to(canvas.device)  # [V, B, C, H, W]
        count, local = self.views
        return Views(images[:count], images[count:, ..., :LOCAL, :LOCAL] if local else None)


@dataclass(frozen=True)
class Drawn:
    noise: Tensor

    def rows(self, part: slice) -> "Drawn":
        return Drawn(self.noise[:, part])


@dataclass
class Trajectory:
    """What five steps did."""

    name: str
    trainer: Trainer
    start: dict[str, Tensor]
    views: list[Views] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def method(self) -> Method:
        return self.trainer.method

    def losses(self) -> list[float]:
        return [r["loss"] for r in self.records]

    def as_json(self) -> dict[str, Any]:
        state = self.method.state_dict()
        norms = {k: v.double().norm().item() for k, v in sorted(state.items())}
        return {"losses": self.losses(), "norms": norms}


def recipe(name: str, accumulate: int = 1) -> Recipe:
    optim = OptimSection(**{**vars(OPTIM), "accumulate": accumulate})
    return Recipe(method=Component(name, CASES[name].config), backbone=BackboneSection("tiny"), optim=optim)


def batches(place: Place) -> Iterator[Batch]:
    rows = BATCH // place.world_size
    part = slice(place.rank * rows, (place.rank + 1) * rows)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        canvas = torch.randint(256, (BATCH, 3, GLOBAL, GLOBAL), generator=generator, dtype=torch.uint8)
        size = torch.full((BATCH, 2), GLOBAL)
        labels = torch.randint(CLASSES, (BATCH,), generator=generator)
        labels[1] = -1  # not known: of two ranks one has fewer labels
        yield Batch(canvas[part], size[part], labels[part], torch.arange(BATCH)[part])


def run(
    name: str = "dino",
    *,
    case: Case | None = None,
    accumulate: int = 1,
    place: Place | None = None,
    change: Callable[[Trainer], None] = lambda trainer: None,
    steps: int = STEPS,
    on_record: Callable[[Mapping[str, Any]], None] = lambda record: None,
    on_step: Callable[[Progress, StepOutput], None] = lambda progress, output: None,
) -> Trajectory:
    """Train a method as in its case, or in another one; `change` may spoil the trainer first."""
    place, case = place or Place(torch.device("cpu")), case or CASES[name]
    with seeded(0, "weights"):
        method = Registry.load(allow="").get("methods", name)(case.config, TinySetup()).double().train()
    start = {k: v.clone() for k, v in method.state_dict().items()}
    trainer = build_trainer(recipe(name, accumulate), method, Noise(case.views), place, STEPS_PER_EPOCH)
    trajectory = Trajectory(name, trainer, start)
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
        on_step=on_step,
        on_pause=lambda progress: None,
    )
    return trajectory


if __name__ == "__main__":
    for each in sys.argv[1:] or CASES:
        file_of(each).write_text(json.dumps(run(each).as_json(), indent=1) + "\n")
        print(f"wrote {file_of(each)}; say in CHANGELOG.md why the trajectory changed")
