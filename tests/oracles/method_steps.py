"""Training of the methods beside DINO, written straight from their papers, one pair and one image at a time.

Local views are what the multi-crop papers made of them (Caron et al. 2020 and 2021): each of them is compared
with every global view, and all pairs count alike.
"""

# V views (the global ones first), B images, N rows, D dimensions of the projection

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from oracles.training import (
    Encoder,
    Moments,
    Optim,
    State,
    batch_norm,
    descend,
    linear,
    moving_average,
    part,
    rising_momentum,
)
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What a step sees."""

    first: list[Tensor]
    """Global views, [B, C, H, W] each."""
    local: list[Tensor]
    labels: Tensor
    """[B]."""

    @property
    def views(self) -> list[Tensor]:
        return [*self.first, *self.local]


@dataclass
class Trace:
    """The networks, by names such as `backbone.norm.weight` and `projector.0.weight`, and what happened."""

    online: State
    target: State = field(default_factory=dict)
    """Empty for methods without a second network."""
    queue: list[Tensor] = field(default_factory=list)
    """Keys [D], the oldest first."""
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Paper(ABC):
    """A method, as its paper has it."""

    encoder: Encoder

    @abstractmethod
    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        """Of one step, by the weights `online`, which carry the gradient: []."""

    def before(self, trace: Trace, step: int, total_steps: int) -> None:  # noqa: B027 - optional
        """Opens a step."""

    def after(self, trace: Trace, batch: Batch, step: int, total_steps: int) -> None:  # noqa: B027 - optional
        """Closes a step, once the optimiser has moved the online network."""

    def features(self, state: Mapping[str, Tensor], view: Tensor) -> Tensor:
        return self.encoder(part(state, "backbone."), view)


def train(
    paper: Paper, trace: Trace, batches: Sequence[Batch], optim: Optim, *, fixed: Sequence[str] = ()
) -> None:
    """One optimiser step for each batch; weights whose names start as one of `fixed` stay."""
    moments: dict[str, Moments] = {}
    for step, batch in enumerate(batches):
        paper.before(trace, step, optim.total_steps)
        online = {k: v.detach().clone() for k, v in trace.online.items()}
        trained = {k: v.requires_grad_() for k, v in online.items() if not k.startswith(tuple(fixed))}
        loss = paper.loss(online, trace, batch)
        trace.losses.append(float(loss.detach()))
        gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
        descend(trace.online, gradients, moments, step, optim)
        paper.after(trace, batch, step, optim.total_steps)
    paper.before(trace, len(batches), optim.total_steps)


@dataclass(frozen=True)
class BYOL(Paper):
    """Grill et al. 2020, section 3.1 and algorithm 1."""

    momentum: float

    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        predictions = [two_layers(part(online, "predictor."), self._project(online, v)) for v in batch.views]
        targets = [self._project(trace.target, v).detach() for v in batch.first]
        return 2 * mean_over_pairs(predictions, targets, regression)

    def _project(self, state: Mapping[str, Tensor], view: Tensor) -> Tensor:
        return two_layers(part(state, "projector."), self.features(state, view))

    def after(self, trace: Trace, batch: Batch, step: int, total_steps: int) -> None:
        tau = rising_momentum(self.momentum, step, total_steps)
        trace.target = moving_average(trace.target, trace.online, tau)


def regression(prediction: Tensor, target: Tensor) -> Tensor:
    """Equation 2: the squared distance of the unit vectors, mean over images."""
    return (unit(prediction) - unit(target)).square().sum(1).mean()


@dataclass(frozen=True)
class SimCLR(Paper):
    """Chen et al. 2020, algorithm 1; the views of a resolution go through the head together."""

    tau: float

    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        count = len(batch.labels)
        z = self._project(online, torch.cat(batch.first))  # [2B, D]
        anchors = [nt_xent(z, i, (i + count) % (2 * count), self.tau) for i in range(2 * count)]
        terms = [torch.stack(anchors[:count]).mean(), torch.stack(anchors[count:]).mean()]
        for view in batch.local:
            own = self._project(online, view)
            terms += [contrast(own, keys, self.tau) for keys in (z[:count], z[count:])]
        return torch.stack(terms).mean()

    def _project(self, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
        projector = part(state, "projector.")
        return batch_norm(projector, "4", two_layers(projector, self.features(state, images)))


def nt_xent(z: Tensor, i: int, j: int, tau: float) -> Tensor:
    """Equation 1: l(i, j)."""
    s = (unit(z) @ unit(z)[i]) / tau
    return -(s[j].exp() / sum(s[k].exp() for k in range(len(z)) if k != i)).log()


@dataclass(frozen=True)
class MoCoV2(Paper):
    """He et al. 2020, algorithm 1, with the head and temperature of Chen, Fan et al. 2020."""

    momentum: float
    tau: float

    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        keys = self._project(trace.target, batch.first[1])
        negatives = torch.stack(trace.queue)  # [N, D]
        terms = []
        for view in (batch.first[0], *batch.local):
            for q, k in zip(self._project(online, view), keys, strict=True):
                logits = torch.cat([(q @ k)[None], negatives @ q]) / self.tau
                terms.append(-logits.log_softmax(0)[0])
        return torch.stack(terms).mean()

    def _project(self, state: Mapping[str, Tensor], view: Tensor) -> Tensor:
        head = part(state, "projector.")
        return unit(linear(head, "2", linear(head, "0", self.features(state, view)).clamp(min=0)))

    def after(self, trace: Trace, batch: Batch, step: int, total_steps: int) -> None:
        keys = self._project(trace.target, batch.first[1])  # of the network that gave the loss
        trace.target = moving_average(trace.target, trace.online, self.momentum)
        trace.queue = [*trace.queue[len(keys) :], *keys.detach()]


@dataclass(frozen=True)
class MoCoV3(Paper):
    """Chen, Xie and He 2021, algorithm 1; as in the authors' code a step opens with the moving average."""

    momentum: float
    tau: float

    def before(self, trace: Trace, step: int, total_steps: int) -> None:
        momentum = rising_momentum(self.momentum, step, total_steps)
        trace.target = moving_average(trace.target, trace.online, momentum)

    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        queries = []
        for view in batch.views:
            predictor = part(online, "predictor.")
            queries.append(batch_norm(predictor, "4", two_layers(predictor, self._project(online, view))))
        keys = [self._project(trace.target, view).detach() for view in batch.first]
        return 2 * mean_over_pairs(queries, keys, lambda q, k: 2 * self.tau * contrast(q, k, self.tau))

    def _project(self, state: Mapping[str, Tensor], view: Tensor) -> Tensor:
        head = part(state, "projector.")
        hidden = batch_norm(head, "4", two_layers(head, self.features(state, view))).clamp(min=0)
        return batch_norm(head, "7", linear(head, "6", hidden))


@dataclass(frozen=True)
class Patch(Paper):
    """Of the anchor's own candidate and the one cut for its neighbour, name the own one."""

    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        z = [self._project(online, view) for view in batch.views]
        terms = []
        for i in range(len(batch.labels)):
            neighbour = i + 1 if i % 2 == 0 else i - 1
            pairs = [(z[1], z[2])] if len(z) == 3 else [(x, x) for x in z[1:]]
            for own, other in pairs:
                scores = [self._score(online, z[0][i], x) for x in (own[i], other[neighbour])]
                terms.append(-torch.stack(scores).log_softmax(0)[0])
        return torch.stack(terms).mean()

    def _project(self, state: Mapping[str, Tensor], view: Tensor) -> Tensor:
        head = part(state, "projector.")
        return linear(head, "2", linear(head, "0", self.features(state, view)).clamp(min=0))

    def _score(self, state: Mapping[str, Tensor], anchor: Tensor, candidate: Tensor) -> Tensor:
        judge = part(state, "judge.")
        both = torch.cat([anchor * candidate, (anchor - candidate).abs()])
        return linear(judge, "2", linear(judge, "0", both).clamp(min=0))[0]


@dataclass(frozen=True)
class Supervised(Paper):
    """Cross-entropy with label smoothing (Szegedy et al. 2016, section 7), mean over views."""

    smoothing: float

    def loss(self, online: Mapping[str, Tensor], trace: Trace, batch: Batch) -> Tensor:
        terms = []
        known = batch.labels >= 0
        for view in batch.views:
            log_p = linear(online, "classifier", self.features(online, view)).log_softmax(1)[known]
            right = log_p[range(len(log_p)), batch.labels[known]]
            terms.append(-(1 - self.smoothing) * right.mean() - self.smoothing * log_p.mean())
        return torch.stack(terms).mean()


def two_layers(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Linear, batch norm, ReLU, linear."""
    return linear(state, "3", batch_norm(state, "1", linear(state, "0", x)).clamp(min=0))


def contrast(queries: Tensor, keys: Tensor, tau: float) -> Tensor:
    """Each query must find the key of its own row."""
    log_p = (unit(queries) @ unit(keys).T / tau).log_softmax(1)
    return -log_p.diagonal().mean()


def mean_over_pairs(
    online: Sequence[Tensor], target: Sequence[Tensor], loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    terms = [loss(x, y) for i, x in enumerate(online) for j, y in enumerate(target) if i != j]
    return torch.stack(terms).mean()


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()
