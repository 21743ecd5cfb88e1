"""The trainer that golden trajectories come from must itself be right: against torch's own parts."""

import torch
from oracles import dino_steps, training
from tolerances import TRAJECTORY, assert_close
from torch import nn

from sslkit.nn.heads import DINOHead


def test_its_head_is_ours() -> None:
    head = DINOHead(6, 11, hidden_dim=8, bottleneck_dim=4).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    assert_close(dino_steps.dino_head(head.state_dict(), x), head(x))


def test_its_optimiser_is_torchs() -> None:
    optim = training.Optim(total_steps=5, steps_per_epoch=5)
    weight = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    theirs, moments = weight.detach().clone(), training.Moments(torch.zeros(4, 3), torch.zeros(4, 3))
    optimiser = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.3)
    for _ in range(5):
        weight.grad = torch.randn_like(weight)
        theirs = training.adamw(theirs, weight.grad, moments, 0.01, 0.3, optim)
        optimiser.step()
    assert_close(theirs, weight, tolerance=TRAJECTORY[torch.float64])


def test_it_learns_and_keeps_its_rules() -> None:
    """Frozen last layer in epoch 0, first lr 0 with a warm-up, a teacher between start and student."""
    torch.manual_seed(0)
    head = DINOHead(6, 11, hidden_dim=8, bottleneck_dim=4).double().state_dict()
    encoder = {"weight": torch.randn(6, 3, dtype=torch.float64), "bias": torch.zeros(6, dtype=torch.float64)}
    views = [[torch.randn(4, 3, side, side, dtype=torch.float64) for side in (8, 8, 4)] for _ in range(4)]
    optim = training.Optim(total_steps=8, steps_per_epoch=2, warmup_steps=2, lr=0.1)
    settings = dino_steps.Settings(optim, teacher_momentum=0.5)
    after = [dino_steps.train(training.mlp, encoder, head, views[:n], settings) for n in (1, 2, 3)]
    start = {**{f"backbone.{k}": v for k, v in encoder.items()}, **{f"head.{k}": v for k, v in head.items()}}
    assert all(torch.equal(after[0].student[k], v) for k, v in start.items())
    direction = "head.last_layer.parametrizations.weight.original1"
    assert torch.equal(after[1].student[direction], start[direction])
    assert not torch.equal(after[1].student["backbone.weight"], start["backbone.weight"])
    assert not torch.equal(after[2].student[direction], start[direction])
    gap = [
        (t["backbone.weight"] - start["backbone.weight"]).norm() for t in (after[1].teacher, after[1].student)
    ]
    assert 0 < gap[0] < gap[1]
    assert after[2].losses[:2] == after[1].losses
