"""The features of a run on the page: a map of the held-out images, and their neighbours in training."""

# N held-out images, M images of the memory bank, D features, T side of a thumbnail, Q queries, k neighbours

import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.eval.timeline import scattered
from sslkit.report.page_pictures import UInt8Array, sheet, thumbnail_side
from sslkit.style import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from sslkit.core.backbone import Backbone
    from sslkit.core.evaluator import EvalData, ImageSet

Points = npt.NDArray[np.float64]

MOST_QUERIES = 24
NEIGHBOURS = 8
ON_THE_MAP = 64
"""Side of a thumbnail on the map, pixels, for up to `FEW` images; then a quarter less."""
FEW = 800
BESIDE = 96
"""Side of a thumbnail beside its neighbours, pixels."""
TRIED = 32
"""Images that the speed is measured on."""
FEWEST = 64


@dataclass(frozen=True)
class Limits:
    """How many images the features are computed of."""

    held_out: int = 2000
    bank: int = 5000
    seconds: float = float("inf")
    """On a slow machine so many fewer that it takes about as long, > 0."""


@dataclass(frozen=True)
class Look:
    """How a backbone looks at images."""

    backbone: "Backbone"
    device: torch.device
    autocast: "Callable[[], AbstractContextManager[None]]"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        with self.autocast():
            features: Tensor = self.backbone(images.to(self.device))
        return features.float().cpu()


@dataclass(frozen=True)
class Seen:
    """A set with its features."""

    images: "ImageSet"
    features: Tensor
    """[N, D], of length 1."""
    labels: list[int] | None
    thumbnails: UInt8Array
    """[N, T, T, 3]; empty where none were asked for."""


class NoFeatures(Exception):  # noqa: N818 - a reason that the page tells, not an error
    """Why there is nothing to draw."""


def features_of(look: Look, data: "EvalData", limits: Limits) -> dict[str, Any]:
    """What the page draws of the features: map, neighbours, and how many images they are of.

    Raises:
        NoFeatures: they are all the same, or not finite.
    """
    held_out, bank = _within(look, data, limits)
    side = ON_THE_MAP if len(held_out) <= FEW else 3 * ON_THE_MAP // 4
    queries, memory = _see(look, held_out, side), _see(look, bank, 0)
    _check(queries.features)
    return {
        "images": len(held_out),
        "of": len(data.test),
        "bank": len(bank),
        "of_bank": len(data.train),
        "map": _map(queries, memory),
        "neighbours": _neighbours(queries, memory),
    }


def _within(look: Look, data: "EvalData", limits: Limits) -> "tuple[ImageSet, ImageSet]":
    """As many images of both sets as are allowed, spread over them."""
    held_out, bank = min(len(data.test), limits.held_out), min(len(data.train), limits.bank)
    trial = _spread(data.test, TRIED)
    start = time.monotonic()
    for batch in trial.batches():
        look(batch.images)
    affordable = limits.seconds * len(trial) / (time.monotonic() - start)
    share = min(1.0, affordable / (held_out + bank))
    return tuple(  # type: ignore[return-value]
        _spread(images, max(int(share * count), min(count, FEWEST)))
        for images, count in ((data.test, held_out), (data.train, bank))
    )


def _spread(images: "ImageSet", count: int) -> "ImageSet":
    if count >= len(images):
        return images
    return images.part(scattered(len(images), count), f"{count} of them")


def _see(look: Look, images: "ImageSet", most: int) -> Seen:
    """Features of all images, and thumbnails of at most that side; 0: none."""
    features, labels, thumbnails = [], [], []
    for batch in images.batches():
        features.append(look(batch.images))
        labels += [] if batch.labels is None else batch.labels.tolist()
        if most:
            thumbnails.append(_thumbnails(batch.images * images.std + images.mean, most))
    pictures = np.concatenate(thumbnails) if thumbnails else np.zeros((0, 0, 0, 3), np.uint8)
    return Seen(images, F.normalize(torch.cat(features), dim=1), labels or None, pictures)


def _thumbnails(images: Tensor, most: int) -> UInt8Array:
    """Images [B, C, S, S] in [0, 1] -> [B, T, T, 3]."""
    side = thumbnail_side(images.shape[-1], most)
    small = F.interpolate(images.float(), side, mode="bilinear", antialias=True)
    return np.stack([(shown(image) * 255).round().astype(np.uint8) for image in small])


def _check(features: Tensor) -> None:
    if not features.isfinite().all():
        raise NoFeatures("the features are not finite")
    if len(features) < 3 or float((features - features[:1]).abs().max()) < 1e-6:
        raise NoFeatures("all held-out images have the same features")


# --- the map -----------------------------------------------------------------------------------------------


def _map(queries: Seen, memory: Seen) -> dict[str, Any]:
    similarity, nearest = _nearest(queries.features, memory.features, 1)
    points, how = flat(queries.features.double().numpy())
    return {
        "how": how,
        "x": _rounded(points[:, 0]),
        "y": _rounded(points[:, 1]),
        "labels": queries.labels,
        "classes": None if queries.labels is None else list(queries.images.classes or ()),
        "keys": [queries.images.key(place) for place in range(len(points))],
        "similarity": _rounded(similarity[:, 0].numpy()),
        "nearest": _labels(memory, nearest[:, 0].tolist()),
        "sheet": asdict(sheet(queries.thumbnails)),
    }


def flat(features: Points) -> tuple[Points, str]:
    """Features [N, D] in two dimensions, [N, 2], and the name of the way: neighbours stay neighbours."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count = len(features)
    small = PCA(min(50, count, features.shape[1]), random_state=0).fit_transform(features)
    if count < 10 or small.shape[1] < 2:
        return np.pad(small, ((0, 0), (0, 2)))[:, :2], "PCA"
    tsne = TSNE(perplexity=min(30, (count - 1) / 3), init="pca", max_iter=500, random_state=0)
    return tsne.fit_transform(small).astype(np.float64), "t-SNE"


# --- neighbours --------------------------------------------------------------------------------------------


def _neighbours(queries: Seen, memory: Seen) -> dict[str, Any]:
    """Some held-out images, and for each the nearest training images, nearest first."""
    chosen = torch.tensor(scattered(len(queries.features), MOST_QUERIES))
    if queries.labels is not None:
        chosen = _of_each_class(torch.tensor(queries.labels), len(chosen))
    similarity, nearest = _nearest(queries.features[chosen], memory.features, NEIGHBOURS)  # [Q, k]
    used, places = nearest.unique(return_inverse=True)
    return {
        "queries": _beside(queries, chosen),
        "found": _beside(memory, used),
        "nearest": places.tolist(),
        "similarity": [_rounded(row.numpy()) for row in similarity],
        "classes": None if queries.labels is None else list(queries.images.classes or ()),
    }


def _of_each_class(labels: Tensor, count: int) -> Tensor:
    """Positions of so many images: first one of each class, then a second one, and so on."""
    seen: dict[int, int] = {}
    turns = []
    for label in labels.tolist():
        seen[label] = seen.get(label, -1) + 1
        turns.append(seen[label])
    return torch.tensor(sorted(range(len(turns)), key=lambda i: (turns[i], int(labels[i]), i))[:count])


def _beside(seen: Seen, places: Tensor) -> dict[str, Any]:
    part = seen.images.part(places.tolist(), "shown")
    pictures = [_thumbnails(b.images * part.std + part.mean, BESIDE) for b in part.batches()]
    labels = _labels(seen, places.tolist())
    keys = [seen.images.key(place) for place in places.tolist()]
    return {"sheet": asdict(sheet(np.concatenate(pictures))), "labels": labels, "keys": keys}


def _nearest(features: Tensor, bank: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosine similarity and position of the nearest of the bank, each [N, k]."""
    similarity, places = (features @ bank.T).topk(min(count, len(bank)), dim=1)
    return similarity, places


def _labels(seen: Seen, places: list[int]) -> list[int] | None:
    return None if seen.labels is None else [seen.labels[place] for place in places]


def _rounded(values: npt.NDArray[Any]) -> list[float]:
    return [round(float(value), 3) for value in values]
