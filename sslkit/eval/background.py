"""Object or background: are two scenes near because they show the same object, or the same ground?"""

# T triples, N images, D features

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import Estimate, EvalContext, EvalData, Evaluator, ImageSet, Result, Subject
from sslkit.errors import DataError, RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.csv_file import write_csv
from sslkit.eval.features import eval_mode
from sslkit.eval.floors import untrained
from sslkit.eval.in_memory import CHUNK, ROUNDING, choose, embed, unit
from sslkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from sslkit.eval.background_triples import Triples

ALL = 1000
"""Blocks: more than any network has."""
KEY = "object_over_ground"


@dataclass
class BackgroundConfig:
    """Triples of an anchor, its object on another ground, and another object on its ground."""

    triples: int = 100
    """Triples for each kind of ground, >= 1; each is three images."""
    images: int = 300
    """At most so many held-out images, >= 4, spread evenly, that objects and grounds are cut from (of demo
    scenes: whose objects are drawn anew)."""

    def __post_init__(self) -> None:
        for key, least in (("triples", 1), ("images", 4)):
            if getattr(self, key) < least:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be {least} or more")


@dataclass(frozen=True)
class Answers:
    """How often the same object was nearer than the same ground, on one kind of ground."""

    triples: "Triples"
    right: Tensor
    """[T] float64: 1 for the object, 0 for the ground, one half for a tie; of the backbone's own features."""
    layers: Mapping[tuple[int, str], Estimate]
    """By block, from 1, and token: `cls`, or `patches` for their mean."""
    floors: Mapping[str, Estimate]
    """`pixels`, and `untrained` where the network can be built anew."""


class Background(Evaluator):
    """Whether scenes are near because of their object or because of their ground.

    Of each anchor, the same object on another ground and in another pose is compared with another object on
    the very same ground, by the cosine of the features. `object_over_ground`: share of the triples in which
    the object is nearer; one half is indifference, ties count one half. `_untrained` and `_pixels`: the same
    network with initial weights, and the images themselves. `layer_2_cls`, `layer_2_patches`: by block, from
    CLS or from the mean of the patches.

    The demo's scenes are drawn anew, on the recipe's kind of ground, and with `_quiet`, `_gradient` and
    `_photo` on the others. Of other data objects are cut out by their masks and pasted on others' grounds.
    """

    Config = BackgroundConfig
    needs = frozenset({"masks"})

    def __init__(self, config: BackgroundConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        from sslkit.eval.background_figure import draw_answers

        kinds, notes = self._triples(data.test, context)
        floor = untrained(subject.backbone, context.recipe.seed)
        with eval_mode(subject.backbone):
            answers = {
                kind: _answers(subject.backbone, floor, triples, data.test, context)
                for kind, triples in context.track(kinds.items(), len(kinds), "grounds")
            }
        figure = draw_answers(answers, context.figures / "background.png")
        table = _write(answers, context.figures / "layers.csv")
        return Result.of(
            _metrics(answers), figures={"background": figure}, tables={"layers": table}, notes=notes
        )

    def _triples(self, test: ImageSet, context: EvalContext) -> tuple[dict[str, "Triples"], list[str]]:
        """By kind of ground, the run's own first; and what is to be known of them."""
        from sslkit.data.scenes import BACKGROUNDS, ScenesConfig
        from sslkit.eval.background_triples import ROLES, drawn, pasted, usable

        recipe = context.recipe
        chosen = choose(test, self.config.images, least=ROLES, what="background")
        scenes = recipe.data_config
        if isinstance(scenes, ScenesConfig) and recipe.eval.data is None and chosen.instances is not None:
            own = scenes.background
            kinds = [own, *(kind for kind in BACKGROUNDS if kind != own)]
            shape = {"channels": recipe.data.channels, "resize": recipe.eval.resize, "crop": recipe.eval.crop}
            identities = chosen.instances.unique().tolist()
            made = {kind: drawn(scenes, kind, identities, self.config.triples, **shape) for kind in kinds}
            return made, [f"Scenes drawn anew; {KEY} itself is on {own} grounds, as in training."]
        if len(usable(chosen)) < ROLES:
            raise DataError(
                f"background needs {ROLES} images whose object covers 2 to 60 % of them, but of"
                f" {len(chosen.pixels)} of {test.name} there are {len(usable(chosen))}"
            )
        note = (
            f"Objects of {len(usable(chosen))} images, cut out by their masks and pasted on the grounds of"
            " others, whose own objects are filled in smoothly. Cut edges and smooth places are artefacts."
        )
        return {"pasted": pasted(chosen, self.config.triples)}, [note]


@torch.no_grad()
def _answers(
    backbone: Backbone, floor: Backbone | None, triples: "Triples", test: ImageSet, context: EvalContext
) -> Answers:
    pixels = triples.pixels.flatten(0, 1)  # [3 T, C, S, S]
    floors = {"pixels": mean_estimate(object_is_nearer(unit((pixels - test.mean) / test.std)))}
    if floor is not None:
        floors["untrained"] = mean_estimate(object_is_nearer(embed(floor, pixels, test, context.device)))
    by_layer = _embed_layers(backbone, pixels, test, context.device)
    return Answers(
        triples,
        object_is_nearer(embed(backbone, pixels, test, context.device)),
        {name: mean_estimate(object_is_nearer(unit(features))) for name, features in by_layer.items()},
        floors,
    )


def object_is_nearer(features: Tensor) -> Tensor:
    """1 where the same object is nearer to the anchor than the same ground, 0 where farther, else one half.

    Args:
        features: of length 1, float64 [3 T, D]: anchors, same objects elsewhere, other objects on the ground.

    Returns:
        float64 [T].
    """
    anchor, same_object, same_ground = features.unflatten(0, (3, -1))  # [T, D] each
    lead = (anchor * same_object).sum(1) - (anchor * same_ground).sum(1)  # [T]
    return torch.where(lead.abs() <= ROUNDING, 0.5, (lead > 0).double())


def _embed_layers(
    backbone: Backbone, pixels: Tensor, test: ImageSet, device: torch.device
) -> dict[tuple[int, str], Tensor]:
    """Features [N, D] by block, from 1, and token."""
    mean, std = test.mean.to(device), test.std.to(device)
    parts: dict[tuple[int, str], list[Tensor]] = {}
    for some in pixels.split(CHUNK):
        for depth, tokens in enumerate(backbone.layers((some.to(device) - mean) / std, ALL), 1):
            if tokens.prefix.shape[1]:
                parts.setdefault((depth, "cls"), []).append(tokens.prefix[:, 0].float().cpu())
            parts.setdefault((depth, "patches"), []).append(tokens.patches.float().mean(1).cpu())
    return {name: torch.cat(features) for name, features in parts.items()}


def _metrics(answers: Mapping[str, Answers]) -> dict[str, Estimate]:
    """The run's own kind of ground comes first and has no ending; layers of that kind alone."""
    found: dict[str, Estimate] = {}
    own, *_ = answers
    for kind, answer in answers.items():
        name = KEY if kind == own else f"{KEY}_{kind}"
        found[name] = mean_estimate(answer.right)
        found.update({f"{name}_{floor}": estimate for floor, estimate in answer.floors.items()})
    found.update({f"layer_{depth}_{token}": e for (depth, token), e in answers[own].layers.items()})
    return found


def _write(answers: Mapping[str, Answers], path: Path) -> Path:
    """One row for each kind of ground, block and token."""
    rows = (
        (kind, depth, token, *(f"{x:.4f}" for x in (e.value, e.low, e.high)))
        for kind, answer in answers.items()
        for (depth, token), e in answer.layers.items()
    )
    return write_csv(path, ("ground", "layer", "token", KEY, "low", "high"), rows)


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"background": Background}
