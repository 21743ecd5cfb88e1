"""Triples of an anchor, its object on another ground, and another object on its ground."""

# T triples, N images, C channels, S side of an image, h and w sides of an object

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.core.randomness import seed_of
from sslkit.data.decode import from_picture
from sslkit.data.fit import centre_cropped
from sslkit.data.scenes import Scene, ScenesConfig, compose_scene
from sslkit.eval.in_memory import Chosen

GROUNDS_TRIED = 3
"""The one that differs most from the anchor's is taken, so that the two can be told apart."""
SIZES = (0.4, 0.7)
"""Range of a pasted object's longer side, share of the image's."""
COVERED = (0.02, 0.6)
"""Shares of an image that an object may cover to be cut out: there must be something of both."""
EDGE = 2
"""Pixels around an object that its image's ground does without: masks are seldom exact."""
ROLES = 4
"""Images of a pasted triple: two objects and two grounds."""


@dataclass(frozen=True)
class Triples:
    """T anchors, the same objects elsewhere, and other objects on the anchors' grounds."""

    pixels: Tensor
    """[3, T, C, S, S] in [0, 1]."""

    def __len__(self) -> int:
        return self.pixels.shape[1]


def drawn(
    config: ScenesConfig,
    background: str,
    identities: Sequence[int],
    count: int,
    *,
    channels: int,
    resize: int,
    crop: int,
) -> Triples:
    """Demo scenes of one kind of background, each object in a pose of its own.

    Args:
        identities: at least two objects to choose from.
        count: T.
        channels, resize, crop: as evaluation images are made.
    """
    config = replace(config, background=background)
    generator = _generator("drawn")
    images = []
    for t in range(count):
        a, b = (identities[i] for i in torch.randperm(len(identities), generator=generator)[:2].tolist())
        ground, pose = (GROUNDS_TRIED + 1) * t, 3 * t
        anchor = compose_scene(config, a, ground, pose)
        elsewhere = [compose_scene(config, a, ground + 1 + tried, pose + 1) for tried in range(GROUNDS_TRIED)]
        furthest = max(elsewhere, key=lambda scene: _apart(anchor, scene))
        images += [anchor, furthest, compose_scene(config, b, ground, pose + 2)]
    planes = [_planes(scene, channels, resize, crop) for scene in images]
    return Triples(torch.stack(planes).unflatten(0, (-1, 3)).transpose(0, 1).float() / 255)


def _apart(one: Scene, other: Scene) -> float:
    """Mean difference of two scenes where both show their grounds."""
    both = ~(one.mask | other.mask)  # [S, S]
    return float(abs(one.image[both].astype(float) - other.image[both]).mean()) if both.any() else 0.0


def _planes(scene: Scene, channels: int, resize: int, crop: int) -> Tensor:
    from PIL import Image

    image = from_picture(Image.fromarray(scene.image), channels)
    return torch.from_numpy(centre_cropped(image, resize, crop).copy()).permute(2, 0, 1)  # [C, S, S]


def usable(chosen: Chosen) -> Tensor:
    """Positions of the images whose object can be cut out and whose ground can be seen, int64 [n]."""
    assert chosen.masks is not None
    share = chosen.masks.flatten(1).double().mean(1)  # [N]
    return ((share >= COVERED[0]) & (share <= COVERED[1])).nonzero().flatten()


def pasted(chosen: Chosen, count: int) -> Triples:
    """Objects cut out by their masks and pasted on the grounds of other images.

    The anchor's object is mirrored for its second picture; each has a size and a place of its own. A ground
    is an image without its object: the hole is filled smoothly from around it.

    Args:
        chosen: images with masks, of which at least `ROLES` are `usable`.
        count: T.
    """
    assert chosen.masks is not None
    rows = usable(chosen)
    pixels, masks = chosen.pixels[rows], chosen.masks[rows]
    kinds = _kinds(chosen, rows)
    grounds = filled(pixels, _grown(masks))  # [n, C, S, S]
    objects = filled(pixels, ~masks)  # colours beyond the edge, for resizing
    generator = _generator("pasted")
    images = []
    for _ in range(count):
        a, b, ground, *others = _roles(kinds, generator)
        distances = [float((grounds[ground] - grounds[other]).abs().mean()) for other in others]
        second = others[distances.index(max(distances))]
        for obj, under, mirrored in ((a, ground, False), (a, second, True), (b, ground, False)):
            images.append(_paste(objects[obj], masks[obj], grounds[under], mirrored, generator))
    return Triples(torch.stack(images).unflatten(0, (-1, 3)).transpose(0, 1))


def _kinds(chosen: Chosen, rows: Tensor) -> Tensor:
    """What tells objects apart, [n]: which object it is, else its class, else its image."""
    for known in (chosen.instances, chosen.labels):
        if known is not None and len(known[rows].unique()) > 1:
            return known[rows]
    return torch.arange(len(rows))


def _roles(kinds: Tensor, generator: torch.Generator) -> list[int]:
    """The anchor's image, one of another object, the ground's, and those to choose another ground from."""
    order = torch.randperm(len(kinds), generator=generator)
    others = order[1:]
    b = int(others[(kinds[others] != kinds[order[0]]).int().argmax()])
    grounds = others[others != b][: 1 + GROUNDS_TRIED]
    return [int(order[0]), b, *grounds.tolist()]


def _paste(obj: Tensor, mask: Tensor, ground: Tensor, mirrored: bool, generator: torch.Generator) -> Tensor:
    """An object [C, S, S], cut by its mask, on a ground, at a size and place drawn for it, [C, S, S]."""
    top, left, bottom, right = _box(mask)
    cut = torch.cat([obj, mask[None].float()])[:, top:bottom, left:right]  # [C + 1, h, w]
    drawn_size, *place = torch.rand(3, generator=generator).tolist()
    side = mask.shape[-1]
    longer = (SIZES[0] + (SIZES[1] - SIZES[0]) * drawn_size) * side
    h, w = (max(1, round(length * longer / max(cut.shape[1:]))) for length in cut.shape[1:])
    cut = F.interpolate(cut[None], (h, w), mode="bilinear", antialias=True)[0].clamp(0, 1)
    cut = cut.flip(-1) if mirrored else cut
    y, x = (round(free * share) for free, share in zip((side - h, side - w), place, strict=True))
    colours, alpha = cut[:-1], cut[-1:]
    out = ground.clone()
    out[:, y : y + h, x : x + w] = torch.lerp(out[:, y : y + h, x : x + w], colours, alpha)
    return out


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of what a mask covers."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _grown(masks: Tensor) -> Tensor:
    """Masks [N, S, S] with `EDGE` pixels around."""
    return F.max_pool2d(masks[:, None].float(), 2 * EDGE + 1, stride=1, padding=EDGE)[:, 0] > 0


def filled(pixels: Tensor, hidden: Tensor) -> Tensor:
    """Images [N, C, S, S] whose hidden pixels [N, S, S] are filled smoothly from the others.

    Each hidden pixel has the mean of the nearest known ones at the finest scale that knows any (push-pull,
    Gortler et al. 1996).
    """
    return _push_pull(pixels, (~hidden)[:, None].to(pixels))


def _push_pull(pixels: Tensor, known: Tensor) -> Tensor:
    """`known` 1 or 0, [N, 1, h, w]."""
    size = pixels.shape[-2:]
    if bool((known > 0).all()) or max(size) == 1:
        return pixels * known
    pooled = F.avg_pool2d(torch.cat([pixels * known, known], 1), 2, ceil_mode=True)
    share = pooled[:, -1:]
    coarse = _push_pull(pooled[:, :-1] / share.clamp(min=1e-6), (share > 0).to(pixels))
    fine = F.interpolate(coarse, size, mode="bilinear")
    return torch.where(known > 0, pixels, fine)


def _generator(how: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of("background", how))
