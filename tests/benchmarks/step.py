"""CPU seconds and memory of one DINO step (ViT-S/8), ours against the authors' way.

python tests/benchmarks/step.py [rounds [variants]]

Two steps of each from the same weights must agree; then they take turns, and the best of `rounds` counts. A
part is forwards and backwards; MiB is the distinct memory kept for backward, without parameters. `variants`:
the authors' way with the head on each view alone, and with attention as an explicit softmax (their own ViT).
"""

# V views (the two global ones first), B images, D features, K prototypes

import copy
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from oracles.dino_steps import pair_loop

from sslkit.core.method import Progress, Views
from sslkit.core.randomness import seeded
from sslkit.core.schedules import cosine
from sslkit.data.loader import Batch
from sslkit.methods.dino import DINO, DINOConfig
from sslkit.nn.backbones import timm_backbone
from sslkit.recipe.schema import Component, OptimSection, Recipe
from sslkit.train import loop
from sslkit.train.distributed import Place

IMAGES, GLOBAL, LOCAL, STEPS = 8, 64, 32, 1000
CONFIG = DINOConfig(freeze_last_layer_epochs=0)
OPTIM = OptimSection(batch_size=IMAGES, epochs=1, lr=1e-3, lr_base_batch=None, warmup_epochs=0)
"""A learning rate at which two steps of the teacher stand out from float32's rounding."""
PARTS = ("backbone", "head", "loss", "clip", "AdamW", "EMA")
VARIANTS = HEAD, ATTENTION = "head per view", "softmax attention"


class Laps:
    """CPU seconds since the end of the part before, booked on the part that ends."""

    def start(self) -> None:
        self.seconds, self.last = dict.fromkeys(PARTS, 0.0), time.process_time()

    def end(self, part: str) -> None:
        now = time.process_time()
        self.seconds[part] += now - self.last
        self.last = now

    def watch(self, backbone: nn.Module, head: nn.Module) -> None:
        def after_head(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.end("head")
            if output.requires_grad:  # these two fire in the backward pass, in this order
                output.register_hook(lambda grad: self.end("loss"))
                inputs[0].register_hook(lambda grad: self.end("head"))

        backbone.register_forward_hook(lambda *_: self.end("backbone"))
        head.register_forward_hook(after_head)


class MultiCrop(nn.Module):
    """The authors' wrapper: one pass of the backbone for each run of crops of one size, then the head."""

    def __init__(self, backbone: Any, head: Any) -> None:
        super().__init__()
        self.backbone, self.head, self.head_per_view = backbone, head, False

    def forward(self, crops: list[Tensor]) -> Tensor:
        counts = torch.unique_consecutive(torch.tensor([c.shape[-1] for c in crops]), return_counts=True)[1]
        start, features = 0, torch.empty(0)
        for end in counts.cumsum(0).tolist():
            features = torch.cat([features, self.backbone(torch.cat(crops[start:end]))])  # [V B, D]
            start = end
        size = IMAGES if self.head_per_view else len(features)
        outputs = [self.head(features[i : i + size]) for i in range(0, len(features), size)]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)  # [V B, K]


class Authors:
    """DINO's algorithm 1 with multi-crop, tensor by tensor, on copies of a method's networks."""

    def __init__(self, method: DINO, laps: Laps) -> None:
        self.student = copy.deepcopy(MultiCrop(method.student.network, method.student_head))
        self.teacher = copy.deepcopy(MultiCrop(method.teacher.network, method.teacher_head))
        self.center, self.laps = torch.zeros(1, CONFIG.out_dim), laps
        trained = [p for p in self.student.parameters() if p.requires_grad]
        decay, exempt = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim == 1]
        groups: list[dict[str, Any]] = [{"params": decay}, {"params": exempt, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, foreach=False, fused=False)

    def step(self, crops: list[Tensor], number: int) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = cosine(number, STEPS, start=OPTIM.lr, end=OPTIM.min_lr)
        self.optimizer.param_groups[0]["weight_decay"] = cosine(number, STEPS, start=0.04, end=0.4)
        with seeded(0, "model", number, 0, 0):  # the draws of ours, for stochastic depth
            teacher, student = self.teacher(crops[:2]), self.student(crops)  # [2 B, K], [V B, K]
        loss = pair_loop(student.chunk(len(crops)), teacher.chunk(2), self.center, 0.1, 0.04)
        self.optimizer.zero_grad()
        loss.backward()
        self.laps.end("backbone")
        for p in self.student.parameters():
            if p.grad is not None and (factor := 3.0 / (p.grad.norm(2) + 1e-6)) < 1:
                p.grad.mul_(factor)
        self.optimizer.step()
        momentum = cosine(number, STEPS, start=0.996, end=1.0)
        with torch.no_grad():
            for old, new in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                old.mul_(momentum).add_((1 - momentum) * new)
            self.center = self.center * 0.9 + teacher.mean(0, keepdim=True) * 0.1
        return loss.detach()


def saved_mebibytes(step: Callable[[], object], parameters: list[Tensor]) -> float:
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address comes twice

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        step()
    known = {p.untyped_storage().data_ptr() for p in parameters}
    return sum(storage.nbytes() for address, storage in kept.items() if address not in known) / 2**20


def weights(network: nn.Module) -> Tensor:
    """All but qkv.bias, whose key part has a true gradient of zero and follows noise."""
    named = network.named_parameters()
    return nn.utils.parameters_to_vector(p.detach() for n, p in named if not n.endswith("qkv.bias"))


def our_trainer(crops: list[Tensor]) -> loop.Trainer:
    net = partial(timm_backbone, "vit_small_patch8_224", channels=3, image_size=GLOBAL, drop_path_rate=0.1)
    setup: Any = SimpleNamespace(backbone=net)
    views, params = (torch.stack(crops[:2]), torch.stack(crops[2:])), SimpleNamespace(rows=lambda part: None)
    augmentation: Any = SimpleNamespace(draw=lambda n: params, apply=lambda *_: Views(*views))
    recipe, place = Recipe(method=Component("dino", CONFIG), optim=OPTIM), Place(torch.device("cpu"))
    return loop.build_trainer(recipe, DINO(CONFIG, setup), augmentation, place, STEPS)


def check(take: Callable[[str, int], tuple[Tensor, Any]], method: Any, authors: Authors) -> None:
    """Two steps of each: the same losses, and weights apart by a small share of their way."""
    start = weights(authors.student)
    for number in range(2):
        torch.testing.assert_close(take("ours", number)[0], take("authors", number)[0], rtol=1e-5, atol=0)
    for whose, limit in (("student", 1e-3), ("teacher", 1e-2)):
        ours = torch.cat([weights(getattr(method, whose + part)) for part in ("", "_head")])
        apart = float((ours - weights(getattr(authors, whose))).norm() / (ours - start).norm())
        print(f"{whose}s after 2 steps: {apart:.1e} of their way apart")
        assert apart < limit, "these are not the same steps"


def main(rounds: int, names: list[str]) -> None:
    crops = [torch.randn(IMAGES, 3, size, size) for size in (GLOBAL,) * 2 + (LOCAL,) * 6]
    trainer, laps = our_trainer(crops), Laps()
    method: Any = trainer.method
    laps.watch(method.student.network, method.student_head)
    laps.watch(method.teacher.network, method.teacher_head)
    authors = Authors(method, laps)  # its copies are watched too
    for optimizer in (authors.optimizer, trainer.state.optimizer):
        optimizer.register_step_pre_hook(lambda *_: laps.end("clip"))
        optimizer.register_step_post_hook(lambda *_: laps.end("AdamW"))
    batch = Batch(torch.zeros(IMAGES, 1), torch.zeros(IMAGES, 2), None, torch.arange(IMAGES))

    def take(name: str, number: int) -> tuple[Tensor, dict[str, float]]:
        for network in (authors.student, authors.teacher):
            network.head_per_view = name == HEAD
            for block in network.backbone.blocks:
                block.attn.fused_attn = name != ATTENTION
        laps.start()
        ours = partial(loop.one_step, trainer, batch, Progress(number, STEPS, STEPS))
        loss = ours()[0][0].loss if name == "ours" else authors.step(crops, number)
        laps.end("EMA")
        return loss, laps.seconds

    # called right after backward; without fp16 it does nothing
    with patch.object(trainer.state.scaler, "unscale_", lambda _: laps.end("backbone")):
        check(take, method, authors)
        parameters = [*method.parameters(), *authors.student.parameters()]
        saved = {name: saved_mebibytes(partial(take, name, 2), parameters) for name in names}
        runs = [{name: take(name, 3 + i)[1] for name in names} for i in range(rounds)]
    total = {name: min(sum(run[name].values()) for run in runs) for name in names}
    print(f"{'':18}{'CPU s':>7}{'ratio':>7}{'MiB':>6}" + "".join(f"{part:>10}" for part in PARTS))
    for name in names:
        best = "".join(f"{min(run[name][part] for run in runs):10.3f}" for part in PARTS)
        print(f"{name:18}{total[name]:7.2f}{total[name] / total['ours']:6.2f}x{saved[name]:6.0f}{best}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    main(int(sys.argv[1]) if sys.argv[1:] else 3, ["ours", "authors", *VARIANTS * ("variants" in sys.argv)])
