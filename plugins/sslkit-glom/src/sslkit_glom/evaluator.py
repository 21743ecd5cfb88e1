"""Do a network's places agree in islands, and are these the objects and their parts?"""

# L levels

from dataclasses import dataclass, field

import torch

from sslkit import Backbone, Evaluator, Result
from sslkit.core.evaluator import EvalContext, EvalData, Subject
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.features import eval_mode
from sslkit.eval.floors import untrained
from sslkit.eval.in_memory import spread
from sslkit_glom.backbone import Glom
from sslkit_glom.figure import draw_islands
from sslkit_glom.measured import Images, Measured, floors, measure

OWN, UNTRAINED, AGAINST = "", "untrained_", "against_"
"""What the keys of a network's numbers begin with."""


@dataclass
class IslandsConfig:
    """Islands of agreement at each level, against the objects where the data have masks."""

    images: int = 100
    """At most so many images, >= 1, spread evenly over the held-out ones."""
    between: float = 0.5
    """Where the agreement lies that joins places to islands: 0 as much as any two places of an image, 1 as
    much as neighbours, on average over the images at that level; above 0 and below 1."""
    share: float = 0.6
    """Of the attention's mass that a mask holds, above 0 and below 1 (DINO's figures: 0.6)."""
    clusters: list[int] = field(default_factory=lambda: [2, 4, 8])
    """k of k-means over colour and place, which needs no network; each >= 1."""
    against: str | None = None
    """Another run's directory, or its `backbone.safetensors`, that stands beside."""
    pictures: int = 6
    """Images in the picture, >= 1."""

    def __post_init__(self) -> None:
        for key in ("images", "pictures"):
            if getattr(self, key) < 1:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be 1 or more")
        for key in ("between", "share"):
            if not 0 < getattr(self, key) < 1:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be above 0 and below 1")
        if any(k < 1 for k in self.clusters):
            raise RecipeError(f"'clusters' is {list(self.clusters)}, but each must be 1 or more")


class Islands(Evaluator):
    """Agreement of places at each level, the islands in it, and how these fit the objects.

    Levels are those of `glom`, the blocks of a ViT, or the stages of a convolutional net; 1 is the lowest.
    `agreement_beside_2`: mean cosine of neighbours at level 2; `agreement_anywhere_2`: of any two places of
    an image. Both near 1 at all levels: collapsed. `islands_2`: islands of an image. With masks: `ari_2`:
    adjusted Rand index of islands and objects, over all pixels; `objects_ari_2`: on objects' pixels alone;
    `jaccard_2`: of each object's best island, chosen with the truth, so that many islands flatter;
    `figure_jaccard_2`: of all islands but the one that has most of the border, with nothing chosen.

    Beside them the same of the network with initial weights (`untrained_...`), of another run
    (`against_...`), of k-means over colour and place (`kmeans_4_...`), of the image as one segment
    (`one_jaccard`), and of masks from the attention of CLS where there is any (`attention_...`,
    `against_attention_...`): `jaccard` of each object's best head, `figure_jaccard` and `ari` of the mean of
    the heads.
    """

    Config = IslandsConfig

    def __init__(self, config: IslandsConfig) -> None:
        self.config = config

    @torch.no_grad()
    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        c, total = self.config, len(data.test)
        places = spread(total, c.images)
        images = Images.read(data.test.part(places, f"{len(places)} of {total}"))
        networks = {OWN: subject.backbone} | self._others(subject.backbone, context)
        found: dict[str, Measured] = {}
        for prefix, backbone in context.track(networks.items(), len(networks), "islands"):
            with eval_mode(backbone):
                found[prefix] = measure(
                    backbone, images, between=c.between, share=c.share, device=context.device
                )
        numbers = {f"{prefix}{key}": x for prefix, m in found.items() for key, x in m.numbers.items()}
        numbers |= floors(images, found[OWN].grid, c.clusters)
        estimates = {key: mean_estimate(x) for key, x in numbers.items() if not x.isnan().all()}
        others = {"against": found[AGAINST]} if AGAINST in found else {}
        path = draw_islands(images, found[OWN], others, c.pictures, context.figures / "islands.png")
        return Result.of(estimates, figures={"islands": path}, notes=self._notes(images, networks))

    def _others(self, backbone: Backbone, context: EvalContext) -> dict[str, Backbone]:
        """The networks that stand beside."""
        others: dict[str, Backbone] = {}
        seed = context.recipe.seed
        fresh = backbone.untrained(seed) if isinstance(backbone, Glom) else untrained(backbone, seed)
        if fresh is not None:
            others[UNTRAINED] = fresh
        if self.config.against is not None:
            others[AGAINST] = context.other(self.config.against).backbone
        return others

    def _notes(self, images: Images, networks: dict[str, Backbone]) -> list[str]:
        notes = [f"Centre crops of {images.size[0]} px of {len(images.seen)} images."]
        if images.objects is None:
            notes.append("The data have no masks: islands are held against nothing.")
        if UNTRAINED not in networks:
            notes.append("No untrained network stands beside: this one cannot be built again by its name.")
        return notes
