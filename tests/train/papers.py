"""What the papers' algorithms make of a golden run's views, and how far the run is from it."""

# V views, B images, D dimensions of the projection

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from oracles import dino_steps, method_steps, training
from torch import Tensor
from train import golden

from sslkit.core.method import Views
from sslkit.methods.mocov2 import MoCoV2

RELATIVE, ABSOLUTE = 1e-7, 1e-8
"""Float64 through five AdamW steps, which blow up the rounding of tiny gradients."""
OPTIM = training.Optim(
    total_steps=golden.EPOCHS * golden.STEPS_PER_EPOCH,
    steps_per_epoch=golden.STEPS_PER_EPOCH,
    lr=golden.OPTIM.lr * golden.OPTIM.batch_size / 256,
    min_lr=golden.OPTIM.min_lr,
    warmup_steps=golden.STEPS_PER_EPOCH,
    weight_decay=golden.OPTIM.weight_decay,
    weight_decay_end=golden.OPTIM.weight_decay_end,
    clip=golden.OPTIM.clip.norm,
)
ENCODER = training.vit(2)
DINO = {
    "student._network.": "student.backbone.",
    "student_head.": "student.head.",
    "teacher._network.": "teacher.backbone.",
    "teacher_head.": "teacher.head.",
    "center": "center",
}
OTHERS = {
    "backbone._network.": "online.backbone.",
    "projector.": "online.projector.",
    "predictor.": "online.predictor.",
    "judge.": "online.judge.",
    "classifier.": "online.classifier.",
    "target._network.": "target.backbone.",
    "target_projector.": "target.projector.",
    "key_backbone._network.": "target.backbone.",
    "key_projector.": "target.projector.",
}
"""Our names of weights, and the papers' trainers'."""


def difference(trajectory: golden.Trajectory) -> float:
    """Largest difference of any loss or weight from what the paper's algorithm gives, over its tolerance."""
    wanted, losses = of_dino(trajectory) if trajectory.name == "dino" else of_another(trajectory)
    got = weights(trajectory, trajectory.method.state_dict())
    assert got.keys() == wanted.keys()
    excess = [_excess(_compared(k, got[k]), _compared(k, wanted[k]), RELATIVE, ABSOLUTE) for k in wanted]
    recorded = torch.tensor(trajectory.losses())  # in float32
    return max(*excess, _excess(recorded, torch.tensor(losses), 1e-6, 0))


def _excess(got: Tensor, wanted: Tensor, relative: float, absolute: float) -> float:
    wanted = wanted.detach()
    return float(((got - wanted).abs() / (absolute + relative * wanted.abs())).max())


def _compared(name: str, tensor: Tensor) -> Tensor:
    """All but the key third of `qkv.bias`: its true gradient is zero, what Adam makes of it is rounding."""
    if not name.endswith("qkv.bias"):
        return tensor
    return torch.cat([third for i, third in enumerate(tensor.chunk(3)) if i != 1])


def weights(trajectory: golden.Trajectory, state: Mapping[str, Tensor]) -> training.State:
    """The weights by the names of the papers' trainers; a queue's keys, the oldest first, as one tensor."""
    names = DINO if trajectory.name == "dino" else OTHERS
    trained = {name for name, _ in trajectory.method.named_parameters()} | {"center"}
    found = {
        paper + key.removeprefix(ours): value
        for key, value in state.items()
        for ours, paper in names.items()
        if key in trained and key.startswith(ours)
    }
    if isinstance(trajectory.method, MoCoV2):
        found["queue"] = state["queue.keys"].roll(-int(state["queue.position"]), 0)
    return found


def assert_same(
    got: golden.Trajectory, records: Sequence[Mapping[str, Any]], state: Mapping[str, Tensor]
) -> None:
    """The losses and the whole state, up to rounding, are those of another run."""
    assert got.losses() == pytest.approx([r["loss"] for r in records], rel=1e-6)
    for key, value in got.method.state_dict().items():
        torch.testing.assert_close(
            _compared(key, value), _compared(key, state[key]), rtol=RELATIVE, atol=ABSOLUTE
        )


def of_dino(trajectory: golden.Trajectory) -> tuple[training.State, list[float]]:
    c = golden.DINO
    settings = dino_steps.Settings(
        OPTIM,
        freeze_last_layer_epochs=c.freeze_last_layer_epochs,
        norm_last_layer=c.norm_last_layer,
        teacher_momentum=c.teacher_momentum,
        center_momentum=c.center_momentum,
        student_temperature=c.student_temperature,
        teacher_temperature=c.teacher_temperature,
        warmup_teacher_temperature=c.warmup_teacher_temperature,
        warmup_teacher_temperature_epochs=c.warmup_teacher_temperature_epochs,
    )
    start = weights(trajectory, trajectory.start)
    backbone, head = (training.part(start, f"student.{name}.") for name in ("backbone", "head"))
    trace = dino_steps.train(ENCODER, backbone, head, [v.each() for v in trajectory.views], settings)
    found = {f"student.{k}": v for k, v in trace.student.items()}
    found |= {f"teacher.{k}": v for k, v in trace.teacher.items()}
    return {**found, "center": trace.center}, trace.losses


def of_another(trajectory: golden.Trajectory) -> tuple[training.State, list[float]]:
    start = weights(trajectory, trajectory.start)
    queue = method_steps.unit(start["queue"]).unbind() if "queue" in start else ()  # was made in float32
    trace = method_steps.Trace(training.part(start, "online."), training.part(start, "target."), [*queue])
    batches = [_batch(v) for v in trajectory.views]
    paper = PAPERS[trajectory.name]
    fixed = ["backbone.patch_embed."] if trajectory.name == "mocov3" else []
    method_steps.train(paper, trace, batches, OPTIM, fixed=fixed)
    found = {f"online.{k}": v for k, v in trace.online.items()}
    found |= {f"target.{k}": v for k, v in trace.target.items()}
    return found | ({"queue": torch.stack(trace.queue)} if trace.queue else {}), trace.losses


def _batch(views: Views) -> method_steps.Batch:
    assert views.labels is not None
    local = [] if views.local_views is None else [*views.local_views]
    return method_steps.Batch([*views.global_views], local, views.labels)


def _papers() -> dict[str, method_steps.Paper]:
    c = {name: case.config for name, case in golden.CASES.items()}
    v2, v3 = c["mocov2"], c["mocov3"]
    return {
        "byol": method_steps.BYOL(ENCODER, c["byol"].target_momentum),
        "simclr": method_steps.SimCLR(ENCODER, c["simclr"].temperature),
        "mocov2": method_steps.MoCoV2(ENCODER, v2.key_momentum, v2.temperature),
        "mocov3": method_steps.MoCoV3(ENCODER, v3.key_momentum, v3.temperature),
        "patch": method_steps.Patch(ENCODER),
        "supervised": method_steps.Supervised(ENCODER, c["supervised"].label_smoothing),
    }


PAPERS = _papers()
