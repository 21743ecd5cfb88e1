"""Copy detection as in DINO (Caron et al. 2021, Sec. 4.2.2; the Copydays protocol of Douze et al. 2009)."""

# B images of a batch, N images of the database, Q queries, P pairs of a copy and its original, D features

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.dataset import UInt8Array
from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.core.randomness import seed_of
from sslkit.errors import DataError, RecipeError, nearest
from sslkit.eval.bootstrap import estimate, mean_estimate
from sslkit.eval.copy_making import KINDS, MakeCopy
from sslkit.eval.csv_file import write_csv
from sslkit.eval.in_memory import spread
from sslkit.eval.ranking import average_precisions, rankings, similarities
from sslkit.eval.whitening import Whitening, learn_whitening
from sslkit.hookspecs import hookimpl

THUMBNAIL = 8
"""Side of the thumbnails that are the floor, pixels."""
FIGURE = "copies"
TABLE = "copies_by_kind"
_WORK = 2**29
"""Pairs of numbers that all resamples together take."""


def gem(tokens: Tensor, power: float = 4.0) -> Tensor:
    """Generalised mean of tokens [B, N, D] over N -> [B, D], of their type (Radenovic et al. 2018b).

    (mean of x^power)^(1/power), with x no less than 1e-6, as the authors of DINO do it. Half precision is
    computed in float32.
    """
    x = tokens.float() if tokens.dtype in (torch.float16, torch.bfloat16) else tokens
    return x.clamp(min=1e-6).pow(power).mean(1).pow(1 / power).to(tokens.dtype)


@dataclass(frozen=True)
class WithGem:
    """CLS beside the generalised mean of the patch tokens; without CLS the mean of the map beside it."""

    name: str = "cls and gem 4"

    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        tokens = backbone.tokens(images)
        first = tokens.prefix[:, 0] if tokens.prefix.shape[1] else tokens.patches.mean(1)  # [B, D]
        return torch.cat([first, gem(tokens.patches)], dim=1)  # [B, 2D]


@dataclass
class CopiesConfig:
    """Finding the original of a changed picture."""

    whitening: Literal["training", "database", "none"] = "training"
    """Images that whitening is learned on: those that the run was trained on (other images than are searched,
    as in the paper, where they are 20,000), the database itself, or no whitening."""
    whitening_images: int = 20000
    """At most so many, >= 2, spread evenly."""
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    """Kinds of copies that are made in turn where the data have no pairs of their own: crop, rotate, colour,
    text, screenshot, blur, jpeg, combination."""
    queries: int = 400
    """At most so many held-out images that copies are made of, >= 1."""
    without_original: float = 0.125
    """Share of them that the database lacks, 0 to below 1: what is found for these is a false alarm."""
    distractors: int = 1000
    """At most so many training images that the database has beside the originals, >= 0."""

    def __post_init__(self) -> None:
        for key, least in (("whitening_images", 2), ("queries", 1), ("distractors", 0)):
            if getattr(self, key) < least:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be {least} or more")
        if not 0 <= self.without_original < 1:
            raise RecipeError(f"'without_original' is {self.without_original}, but must be 0 to below 1")
        for kind in self.kinds:
            if kind not in KINDS:
                raise RecipeError(f"'kinds' has '{kind}'; valid: {', '.join(KINDS)}{nearest(kind, KINDS)}")
        if not self.kinds:
            raise RecipeError(f"'kinds' is empty, but must have some of: {', '.join(KINDS)}")


# ---- what is searched for what


@dataclass(frozen=True)
class Search:
    """A database, and queries of which most were made from its images."""

    database: Sequence[ImageSet]
    """One after another."""
    queries: ImageSet
    instances: Tensor
    """[N] int64 of the database."""
    wanted: Tensor
    """[Q] int64, the instance of the query's original; below 0: the database has none."""
    kinds: Sequence[str] | None
    """How each query was made."""

    def features(self, context: EvalContext) -> tuple[Tensor, Tensor]:
        """Of the database [N, 2D] and the queries [Q, 2D]."""
        parts = [context.features(images, WithGem()).features for images in self.database]
        return torch.cat(parts), context.features(self.queries, WithGem()).features

    def thumbnails(self) -> tuple[Tensor, Tensor]:
        """Thumbnails of the database [N, C x 64] and the queries [Q, C x 64]."""
        return torch.cat([thumbnails(images) for images in self.database]), thumbnails(self.queries)


def given_pairs(data: EvalData, context: EvalContext) -> Search:
    """The data's own pairs."""
    instances, wanted = (context.features(x, WithGem()).instances for x in (data.train, data.test))
    if instances is None or wanted is None:
        raise DataError(
            f"the queries of {data.test.name} have originals, but it does not say which: give its samples"
            " `instance`"
        )
    return Search([data.train], data.test, instances, wanted, data.test.kinds)


def made_pairs(data: EvalData, config: CopiesConfig) -> Search:
    """Copies of held-out images, searched among the held-out and some training images."""
    held_out = spread(len(data.test), config.queries)
    kinds = [config.kinds[i % len(config.kinds)] for i in range(len(held_out))]
    change = MakeCopy({data.test.key(place): kind for place, kind in zip(held_out, kinds, strict=True)})
    queries = data.test.part(held_out, "copies", change=change)
    strays = set(_drawn(len(held_out), round(config.without_original * len(held_out))))
    originals = [row for row in range(len(held_out)) if row not in strays]
    database = [data.test.part([held_out[row] for row in originals], "originals")]
    distractors = spread(len(data.train), config.distractors)
    if distractors:
        database.append(data.train.part(distractors, "distractors"))
    instances = torch.tensor([*originals, *range(-1, -1 - len(distractors), -1)])  # [N]
    wanted = torch.tensor([-1 if row in strays else row for row in range(len(held_out))])  # [Q]
    return Search(database, queries, instances, wanted, kinds)


def _drawn(total: int, count: int) -> list[int]:
    """So many of the queries, by lot but always the same: evenly, they would all be of one kind."""
    generator = torch.Generator().manual_seed(seed_of("copies", total))
    drawn: list[int] = torch.randperm(total, generator=generator)[:count].tolist()
    return drawn


def thumbnails(images: ImageSet) -> Tensor:
    """Each image as 8 x 8 pixels less the mean of all its values, float32 [n, C x 64]; 0 if not readable."""
    known = {place: _thumbnail(sample.image) for place, sample in images.samples()}
    nothing = torch.zeros_like(next(iter(known.values())))
    return torch.stack([known.get(place, nothing) for place in range(len(images))])


def _thumbnail(image: UInt8Array) -> Tensor:
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize((THUMBNAIL,) * 2, Image.Resampling.BOX)
        for plane in image.transpose(2, 0, 1)
    ]
    values = torch.from_numpy(np.stack([np.asarray(plane) for plane in planes])).float()  # [C, 8, 8]
    return (values - values.mean()).flatten()


# ---- how well it is found


@dataclass(frozen=True)
class Found:
    """What a search found."""

    average_precision: Tensor
    """[Q] float64, trapezoidal as in the Copydays protocol; NaN without an original."""
    first_is_right: Tensor
    """[Q] float64, 1 or 0; NaN without an original."""
    first: Tensor
    """[Q] int64, position of the nearest image."""
    micro: Estimate
    """Micro-AP."""


def search(
    database: Tensor, queries: Tensor, instances: Tensor, wanted: Tensor, device: torch.device
) -> Found:
    """Search the database [N, D] for the queries [Q, D], by cosine."""
    precision = torch.empty(len(queries), dtype=torch.float64)
    first = torch.empty(len(queries), dtype=torch.int64)
    for ranking in rankings(database, queries, device):
        relevant = _pairs(instances[ranking.order.cpu()], wanted[ranking.queries])  # [q, N]
        precision[ranking.queries] = average_precisions(relevant, method="trapezoid")
        first[ranking.queries] = ranking.order[:, 0].cpu()
    right = (instances[first] == wanted).double().masked_fill(precision.isnan(), float("nan"))
    micro = micro_average_precision(database, queries, instances, wanted, device)
    return Found(precision, right, first, micro)


def _pairs(instances: Tensor, wanted: Tensor) -> Tensor:
    """Which images [q, N] are the originals of queries [q], bool [q, N]."""
    return (instances == wanted[:, None]) & (wanted[:, None] >= 0)


def micro_average_precision(
    database: Tensor, queries: Tensor, instances: Tensor, wanted: Tensor, device: torch.device
) -> Estimate:
    """Average precision of all pairs of query and image in one list by similarity (Perronnin et al. 2009).

    Queries without an original add false alarms. Pairs of equal similarity are found together, as in
    scikit-learn. The interval draws queries again. Takes Q x P numbers of memory for P pairs of a copy and
    its original.
    """
    threshold, owner = _true_pairs(database, queries, instances, wanted, device)  # [P], [P], rising
    above = torch.empty(len(queries), len(threshold), dtype=torch.float64)  # images at least as similar
    for chunk, cosines in similarities(database, queries, device):
        above[chunk] = _reached(cosines.sort(dim=1).values, threshold)
    ties = torch.searchsorted(threshold, threshold)  # [P], the first of those equal

    def statistic(rows: Tensor) -> float:
        weight = torch.bincount(rows, minlength=len(queries)).double()  # [Q]
        true = weight[owner]  # [P]
        found = true.flip(0).cumsum(0).flip(0)[ties]  # [P] true pairs at least as similar
        precision = found / (weight @ above).clamp(min=1)
        return float((true * precision).sum() / true.sum())

    resamples = min(1000, max(100, _WORK // max(1, above.numel())))
    return estimate(statistic, len(queries), resamples=resamples)


def _true_pairs(
    database: Tensor, queries: Tensor, instances: Tensor, wanted: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Similarity of the pairs of a copy and its original, rising, and the copy's place; [P] each."""
    values, owners = [], []
    for rows, cosines in similarities(database, queries, device):
        query, image = _pairs(instances[None], wanted[rows]).nonzero().T.to(device)
        values.append(cosines[query, image])
        owners.append(query.cpu() + rows.start)
    threshold, order = torch.cat(values).sort()
    return threshold, torch.cat(owners)[order.cpu()]


def _reached(rising: Tensor, threshold: Tensor) -> Tensor:
    """How many of each row's similarities [q, N], rising, are at least each threshold [P]: [q, P] float64."""
    below = torch.searchsorted(rising, threshold.expand(len(rising), -1).contiguous())
    return (rising.shape[1] - below).double().cpu()


# ---- the evaluator


class Copies(Evaluator):
    """Finds the original of a changed picture among others.

    The features are CLS beside the generalised mean of the patch tokens, whitened, compared by cosine. Data
    with pairs (`data.name=pairs`) are taken as they are; else copies of held-out images are made, the same
    ones each time, and searched among those images and training images.

    `map` (the mean over the queries with an original, trapezoidal), `micro_ap` (all pairs in one list, so
    that what is found for queries without an original counts as a false alarm), `top1`; `micro_ap_plain`
    without whitening; `top1_crop` and so on by kind of copy. Floors: `thumbnail_micro_ap`, `thumbnail_top1`,
    with 8 x 8 pixels in place of the features.
    """

    Config = CopiesConfig

    def __init__(self, config: CopiesConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.copies_figure import draw_copies

        paired = data.test.paired
        task = given_pairs(data, context) if paired else made_pairs(data, self.config)
        features = task.features(context)
        plain = found = self._found(task, context, *features)
        if self.config.whitening != "none":
            whiten = self._whitening(features[0], context)
            found = self._found(task, context, *map(whiten, features))
        floor = self._found(task, context, *task.thumbnails())
        estimates = {"map": mean_estimate(found.average_precision), **_named("", found)}
        if self.config.whitening != "none":
            estimates["micro_ap_plain"] = plain.micro
        estimates |= _named("thumbnail_", floor)
        rows = _by_kind(task, found, floor)
        estimates |= {f"top1_{kind}": row["top1"] for kind, row in rows.items() if task.kinds is not None}
        figure = draw_copies(task, found, estimates, context.figures / f"{FIGURE}.png")
        table = _write(rows, context.figures / f"{TABLE}.csv")
        return Result.of(
            estimates,
            figures={FIGURE: figure},
            tables={TABLE: table},
            notes=(_note(task, paired),),
        )

    def _found(self, task: Search, context: EvalContext, database: Tensor, queries: Tensor) -> Found:
        return search(database, queries, task.instances, task.wanted, context.device)

    def _whitening(self, database: Tensor, context: EvalContext) -> Whitening:
        """Learned on the training images, or on the database [N, 2D]."""
        if self.config.whitening == "database":
            return learn_whitening(database[spread(len(database), self.config.whitening_images)])
        own = context.own_images()
        images = own.part(spread(len(own), self.config.whitening_images), "for whitening")
        return learn_whitening(context.features(images, WithGem()).features)


def _named(prefix: str, found: Found) -> dict[str, Estimate]:
    return {f"{prefix}micro_ap": found.micro, f"{prefix}top1": mean_estimate(found.first_is_right)}


def _by_kind(task: Search, found: Found, floor: Found) -> dict[str, dict[str, Estimate]]:
    """Numbers of each kind of copy."""
    kinds = ["copy"] * len(task.wanted) if task.kinds is None else task.kinds
    rows = {}
    for kind in dict.fromkeys(kinds):
        of_kind = torch.tensor([k == kind for k in kinds]) & (task.wanted >= 0)  # [Q]
        if of_kind.any():
            rows[kind] = {
                "top1": mean_estimate(found.first_is_right[of_kind]),
                "map": mean_estimate(found.average_precision[of_kind]),
                "thumbnail_top1": mean_estimate(floor.first_is_right[of_kind]),
            }
    return rows


def _write(rows: Mapping[str, Mapping[str, Estimate]], path: Path) -> Path:
    lines = (
        (kind, e.count, name, f"{e.value:.4f}", f"{e.low:.4f}", f"{e.high:.4f}")
        for kind, numbers in rows.items()
        for name, e in numbers.items()
    )
    return write_csv(path, ("kind", "queries", "metric", "value", "low", "high"), lines)


def _note(task: Search, paired: bool) -> str:
    lost = int((task.wanted < 0).sum())
    made = "" if paired else " made from held-out images"
    return (
        f"{len(task.wanted)} copies{made}, {lost} of them without an original, searched among"
        f" {len(task.instances)} images"
    )


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"copies": Copies}
