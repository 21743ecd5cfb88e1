"""Linear classifiers of frozen features, one for each of several learning rates, trained at a time."""

# N images, B images of a batch, D features, C classes, H heads

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.core.evaluator import EvalContext
from sslkit.core.randomness import seed_of
from sslkit.core.schedules import cosine
from sslkit.eval.linear_examples import READ_AT_ONCE, Examples, Whitening, whitening_of

MOMENTUM = 0.9
LR_BASE_BATCH = 256
"""The learning rate grows linearly with the batch, from this size (the authors' eval_linear.py)."""


class LinearHeads(nn.Module):
    """H linear classifiers on whitened features.

    They start from zero: the loss is convex, and the authors' draw of deviation .01 is as good as forgotten.
    """

    def __init__(self, features: int, heads: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, heads, classes))
        self.bias = nn.Parameter(torch.zeros(heads, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Whitened features [B, D] -> logits [B, H, C]."""
        logits: Tensor = (x @ self.weight.flatten(1)).unflatten(1, self.bias.shape)
        return logits + self.bias


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each image with each head, [B, H], from logits [B, H, C] and labels [B]."""
    answers = labels[:, None].expand(logits.shape[:2])  # [B, H]
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view_as(answers)


@dataclass(frozen=True)
class Classifier:
    """Heads with the features that they see."""

    whiten: Whitening
    heads: LinearHeads

    def __call__(self, features: Tensor) -> Tensor:
        """Features [B, D] of any device -> logits [B, H, C]."""
        logits: Tensor = self.heads(self.whiten(features.to(self.whiten.mean)))
        return logits


def train_heads(
    examples: Examples,
    rates: Sequence[float],
    context: EvalContext,
    *,
    classes: int,
    batch_size: int,
    epochs: int,
) -> Classifier:
    """One head for each learning rate, all on the same batches: what each would become if trained alone.

    As the authors' eval_linear.py: SGD with momentum .9, the rate times batch / 256, cosine to 0 over all
    epochs, no weight decay; but on features that were computed once, without augmentation, and are whitened.

    Args:
        rates: H learning rates at a batch of 256.
        classes: C.
        batch_size: B, fewer where there are fewer images.
    """
    device = context.device
    whiten = whitening_of(examples).to(device)
    heads = LinearHeads(len(whiten.mean), len(rates), classes).to(device)
    optimizer = torch.optim.SGD(heads.parameters(), lr=1.0, momentum=MOMENTUM)
    peak = torch.tensor(rates, device=device)[:, None] * batch_size / LR_BASE_BATCH  # [H, 1]
    step, steps = 0, epochs * math.ceil(len(examples) / batch_size)
    for epoch in context.track(range(epochs), epochs, "linear classifiers, epochs"):
        for features, labels in examples.batches(batch_size, _order(len(examples), epoch)):
            optimizer.zero_grad()
            with torch.enable_grad():
                logits = heads(whiten(features.to(device)))  # [B, H, C]
                cross_entropies(logits, labels.to(device)).mean(0).sum().backward()
            for parameter in heads.parameters():
                assert parameter.grad is not None
                parameter.grad *= peak
            optimizer.param_groups[0]["lr"] = cosine(step, steps, start=1.0, end=0.0)
            optimizer.step()
            step += 1
    return Classifier(whiten, heads)


def _order(count: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of("linear order", epoch))
    return torch.randperm(count, generator=generator)


@torch.no_grad()
def scores(classifier: Classifier, examples: Examples) -> tuple[Tensor, Tensor]:
    """Top-1 and mean cross-entropy of each head, float64 [H] each, on the CPU."""
    right, loss = torch.zeros(2, classifier.heads.bias.shape[0], dtype=torch.float64)
    for features, labels in examples.batches(READ_AT_ONCE):
        logits = classifier(features).cpu()  # [B, H, C]
        right += (logits.argmax(2) == labels[:, None]).sum(0)
        loss += cross_entropies(logits, labels).sum(0)
    return right / len(examples), loss / len(examples)


@torch.no_grad()
def ranked(classifier: Classifier, examples: Examples, most: int) -> Tensor:
    """The classes that the first head finds most likely, best first, [N, most] on the CPU."""
    found = [
        classifier(features)[:, 0].topk(most).indices.cpu() for features, _ in examples.batches(READ_AT_ONCE)
    ]
    return torch.cat(found)
