"""Do masks from the attention outline objects? (Caron et al. 2021, Sec. 4.2.2)"""

# B images of one size, h heads, H x W pixels

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.attention import enlarged
from sslkit.eval.attention_figure import Example, chosen, draw_masks
from sslkit.eval.attention_numbers import OWN, estimates
from sslkit.eval.attention_scores import Found, Scores, attention_grid, mass_masks, score
from sslkit.eval.attention_views import Views, crop_views, whole_views
from sslkit.eval.features import eval_mode
from sslkit.eval.floors import untrained
from sslkit.hookspecs import hookimpl

FIGURE = "attention_masks"
AGAINST, RANDOM = "against", "random"
NO_ATTENTION = "has no attention of a CLS token, from which masks could be made"


@dataclass
class AttentionConfig:
    """Masks from the last block's attention against the true ones."""

    shares: list[float] = field(default_factory=lambda: [0.6, 0.8])
    """Of the attention's mass that a mask holds, each above 0 and below 1 (the paper's figure: 0.6; its
    appendix: 0.8); the boxes and the picture are of the first."""
    whole: bool = True
    """true: whole images at their own proportions, short side `eval.resize` pixels, both sides to a multiple
    of the network's patches, masks scored at the images' own size. false: the centre crops of the other
    evaluators, for a network that takes one size only."""
    ellipse: float = 0.4
    """Area of the centred ellipse that stands beside, as a share of the image, above 0 and at most pi / 4,
    where it touches the borders."""
    random: int = 3
    """Untrained networks of the same kind that stand beside, as a mean over them, >= 0."""
    against: str | None = None
    """Another run's directory, or its `backbone.safetensors`, that stands beside, such as a supervised
    one's."""

    def __post_init__(self) -> None:
        if not self.shares or len({*self.shares}) < len(self.shares):
            raise RecipeError(f"'shares' is {list(self.shares)}, but must be one or more, each once")
        for share in self.shares:
            if not 0 < share < 1:
                raise RecipeError(f"'shares' has {share:g}, but must be above 0 and below 1, such as 0.6")
        if not 0 < self.ellipse <= math.pi / 4:
            raise RecipeError(
                f"'ellipse' is {self.ellipse:g}, but must be above 0 and at most 0.785 (pi / 4)"
            )
        if self.random < 0:
            raise RecipeError(f"'random' is {self.random}, but must be 0 or more")


class AttentionMasks(Evaluator):
    """Jaccard index of masks from the attention of CLS with the true ones, and what it is without training.

    A mask is the fewest patches that hold a share of the last block's attention. `jaccard_best_60`: of the
    head that fits best in each image, chosen with the truth as in the paper, so that it flatters, the more
    the more heads there are. `jaccard_fixed_60`: of one head for all images, chosen on one half of them and
    scored on the other, and the other way round. `jaccard_mean_60`: of the mean of the heads' attention, for
    which nothing is chosen. `corloc`: share of the images where the box of the largest connected part of that
    mask fits the box of an object (IoU >= .5). `attention_on_object`: share of the attention that lies on
    objects, mean of the heads.

    Beside them the same of untrained networks (`random_...`), of another run (`against_...`), of a centred
    ellipse (`ellipse_...`) and of the whole image (`whole_image_jaccard` is the share of it that objects
    cover, which an even attention would lay on them). `gain_over_random_...`: the difference image by image.
    Void pixels are not counted, an empty mask scores 0, images without an object are left out.
    """

    Config = AttentionConfig
    needs = frozenset({"masks"})

    def __init__(self, config: AttentionConfig) -> None:
        self.config = config
        self._kept: tuple[ImageSet, Mapping[str, Any], list[Scores]] | None = None
        """Scores of untrained networks for the next evaluation in a run, with the images and the network."""

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        views = self._views(data.test, context)
        first = next(views, None)
        if first is None:
            return Result({}, notes=[f"no image of {data.test.name} has an object in its mask"])
        backbone = subject.backbone
        with eval_mode(backbone), torch.no_grad():
            if attention_grid(backbone, first, context.device) is None:
                return Result({}, notes=[f"this network {NO_ATTENTION}"])
            others, notes = self._others(backbone, data.test, first, context)
            found = self._found(backbone, others, chain([first], views), data.test, context)
            numbers = estimates(found, self.config.shares)
            examples = self._examples(backbone, found, data.test, context)
        path = context.figures / f"{FIGURE}.png"
        draw_masks(examples, self._heading(numbers), self.config.shares[0], path)
        notes += self._about(found, data.test, context)
        return Result.of(numbers, figures={FIGURE: path}, notes=notes)

    def _views(self, test: ImageSet, context: EvalContext) -> Iterator[Views]:
        """Those of all images, or of a part, that have an object."""
        e, what = context.recipe.eval, f"attention masks of {test.name}"
        if self.config.whole:
            return whole_views(context.track(test.samples(), len(test), what), test, e.resize)
        batches = math.ceil(len(test) / e.batch_size)
        return crop_views(context.track(test.batches(), batches, what), test)

    def _others(
        self, backbone: Backbone, test: ImageSet, first: Views, context: EvalContext
    ) -> tuple[dict[str, list[Backbone]], list[str]]:
        """The networks that stand beside, by kind, and why one does not."""
        others: dict[str, list[Backbone]] = {}
        notes = []
        if self.config.against is not None:
            against = context.other(self.config.against).backbone
            if attention_grid(against, first, context.device) is None:
                notes.append(f"{self.config.against} {NO_ATTENTION}")
            else:
                others[AGAINST] = [against]
        if self.config.random and self._known(backbone, test) is None:
            drawn = [untrained(backbone, seed) for seed in range(self.config.random)]
            others[RANDOM] = [network for network in drawn if network is not None]
            if not others[RANDOM]:
                del others[RANDOM]
                notes.append("no untrained network stands beside: this one cannot be built again by its name")
        return others, notes

    def _known(self, backbone: Backbone, test: ImageSet) -> list[Scores] | None:
        """What untrained networks like this one scored on these images before."""
        if self._kept is None or self._kept[0] is not test or self._kept[1] != backbone.export_metadata:
            return None
        return self._kept[2]

    def _found(
        self,
        backbone: Backbone,
        others: Mapping[str, list[Backbone]],
        views: Iterable[Views],
        test: ImageSet,
        context: EvalContext,
    ) -> Found:
        found = score(
            {OWN: [backbone], **others},
            views,
            shares=self.config.shares,
            ellipse=self.config.ellipse,
            device=context.device,
        )
        if RANDOM in others:
            self._kept = test, backbone.export_metadata, found.networks[RANDOM]
        elif (known := self._known(backbone, test)) is not None:
            found.networks[RANDOM] = known
        return found

    def _heading(self, numbers: Mapping[str, Estimate]) -> str:
        """Of the picture."""
        key = f"jaccard_best_{100 * self.config.shares[0]:g}"
        others = {
            "untrained": f"{RANDOM}_{key}",
            "other run": f"{AGAINST}_{key}",
            "ellipse": "ellipse_jaccard",
        }
        beside = [f"{name} {numbers[other].value:.2f}" for name, other in others.items() if other in numbers]
        return f"Best head's mask: Jaccard {numbers[key].value:.2f} ({', '.join(beside)})"

    def _examples(
        self, backbone: Backbone, found: Found, test: ImageSet, context: EvalContext
    ) -> list[Example]:
        """The best, the middle and the worst images."""
        own, share = found.networks[OWN][0], self.config.shares[0]
        rows = chosen(own.best[:, 0])
        part = test.part([found.places[row] for _, row in rows], "examples")
        examples = []
        for view in self._views(part, context):
            attention = attention_grid(backbone, view, context.device)  # [B, h, rows, columns]
            assert attention is not None
            masks = enlarged(mass_masks(attention, [share])[:, 0], view.size)  # [B, h + 1, H, W]
            for number, place in enumerate(view.places):
                name, row = rows[place]
                image, truth, heads, mask = (x[number] for x in (view.images, view.truth, attention, masks))
                examples.append(Example(name, image, truth, heads, mask, own.jaccard[row, 0]))
        return examples

    def _about(self, found: Found, test: ImageSet, context: EvalContext) -> list[str]:
        """How the images were seen, and which were left out."""
        e = context.recipe.eval
        seen = (
            f"whole images, short side {e.resize} px" if self.config.whole else f"centre crops of {e.crop} px"
        )
        notes = [
            f"seen as {seen}; the fixed head is chosen on one half of the images and scored on the other"
        ]
        if left_out := len(test) - len(found.places):
            notes.append(f"{left_out} of {len(test)} images are left out: unreadable, or without an object")
        return notes


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"attention": AttentionMasks}
