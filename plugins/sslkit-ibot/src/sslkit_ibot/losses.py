"""iBOT's loss of masked patches, Sinkhorn-Knopp's balanced targets, and the KoLeo term."""

# M masked patches, K prototypes, B images, R ranks, D features

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.collectives import all_gather
from sslkit.losses.dtype import raised

EPSILON = 1e-8
"""DINOv2's, under the root and under the logarithm."""


def patch_loss(student: Tensor, targets: Tensor, weights: Tensor, *, student_temperature: float) -> Tensor:
    """Cross-entropy of masked patches, summed with weights (Zhou et al. 2022, section 3.1).

    Computed in float32 whatever autocast says (float64 stays float64). The targets get no gradient.

    Args:
        student: raw head outputs of the masked patches, [M, K].
        targets: what the teacher, who sees these patches, says of them: probabilities, [M, K].
        weights: [M]; 1 / (images x masked patches of the same image) makes a mean over masked patches, then
            over images, of which those without a mask count as 0, as in the authors' code.
        student_temperature: > 0 (paper: 0.1).

    Returns:
        The loss, []; 0 without masked patches.

    Raises:
        ValueError: the temperature is not above 0, or shapes do not fit.
    """
    if not student_temperature > 0:
        raise ValueError(f"student_temperature must be > 0, got {student_temperature} (paper: 0.1)")
    if student.ndim != 2 or student.shape != targets.shape or weights.shape != student.shape[:1]:
        shapes = f"{[*student.shape]}, {[*targets.shape]} and {[*weights.shape]}"
        raise ValueError(f"expected student [M, K], targets [M, K] and weights [M], got {shapes}")
    with torch.autocast(student.device.type, enabled=False):
        log_q = torch.log_softmax(raised(student) / student_temperature, -1)  # [M, K]
        return -(weights * (targets.detach() * log_q).sum(-1)).sum()


@torch.no_grad()
def sinkhorn_knopp(teacher: Tensor, *, teacher_temperature: float, iterations: int = 3) -> Tensor:
    """Targets in which all prototypes have about the same share of the rows (SwAV; DINOv2).

    By turns the prototypes' shares are made equal, over all ranks' rows, and each row is made to sum to 1. In
    the log domain, so that no temperature overflows. All ranks must call it, with as many rows as they have.

    Args:
        teacher: raw head outputs, [M, K].
        teacher_temperature: > 0.
        iterations: >= 1 (DINOv2: 3).

    Returns:
        [M, K] in float32 or float64; each row sums to 1.

    Raises:
        ValueError: the temperature is not above 0, or there is no iteration.
    """
    if not teacher_temperature > 0 or iterations < 1:
        raise ValueError(
            f"teacher_temperature must be > 0 and iterations >= 1, got {teacher_temperature} and {iterations}"
        )
    log_q = raised(teacher) / teacher_temperature  # [M, K]
    for _ in range(iterations):
        own = log_q.logsumexp(0, keepdim=True)  # [1, K]
        log_q = log_q - all_gather(own).logsumexp(0)
        log_q = log_q - log_q.logsumexp(-1, keepdim=True)
    return log_q.exp()


def koleo_loss(
    features: Tensor, candidates: Tensor | None = None, own: Tensor | None = None, *, eps: float = EPSILON
) -> Tensor:
    """Pushes each image away from its nearest neighbour: -log of their distance on the unit sphere.

    The Kozachenko-Leonenko estimator of the entropy, up to constants (Sablayrolles et al. 2019;
    Oquab et al. 2023, section 4): large where features crowd together. Neighbours are sought within one crop
    of each image, never between crops of the same one; both of a pair get a gradient. In float32 whatever
    autocast says (float64 stays float64).

    Args:
        features: of one crop of each image, not normalised, [B, D].
        candidates: among which neighbours are sought, [R B, D], such as `all_gather(features)`; None: the
            features themselves.
        own: int64 [B], the rows that `features` have among the candidates (`own_rows(features)`).
        eps: added to each coordinate of a difference and to the distance, so that equal features give a large
            number and no infinite one.

    Returns:
        The loss, [], at least -log 2 and at most about -log eps.

    Raises:
        ValueError: there are fewer than two candidates: nobody has a neighbour.
    """
    others = features if candidates is None else candidates
    if len(others) < 2:
        raise ValueError(f"KoLeo needs two images or more, got {len(others)}")
    rows = torch.arange(len(features), device=features.device) if own is None else own
    with torch.autocast(features.device.type, enabled=False):
        x = F.normalize(raised(features), dim=-1, eps=eps)  # [B, D]
        y = x if candidates is None else F.normalize(raised(candidates), dim=-1, eps=eps)  # [R B, D]
        distance = F.pairwise_distance(x, y[_nearest(x, y, rows)], eps=eps)  # [B]
        return -torch.log(distance + eps).mean()


@torch.no_grad()
def _nearest(x: Tensor, y: Tensor, own: Tensor) -> Tensor:
    """Number of each row's nearest other row: [B, D] [R B, D] [B] -> [B]."""
    similarity = x @ y.T  # [B, R B]
    return similarity.scatter_(1, own[:, None], -torch.inf).argmax(1)
