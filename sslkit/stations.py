"""Builds each station of a run from the recipe: method, evaluators, trackers, evaluation sets."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from sslkit.augment.build import image_format
from sslkit.core.augmentation import ImageFormat
from sslkit.core.backbone import Backbone
from sslkit.core.dataset import Dataset
from sslkit.core.evaluator import EvalData, Evaluator
from sslkit.core.method import Method
from sslkit.core.randomness import seeded
from sslkit.core.tracker import Tracker
from sslkit.data.loader import EvalImages
from sslkit.data.open import open_eval
from sslkit.errors import RecipeError
from sslkit.eval.features import eval_mode
from sslkit.plugins import Registry
from sslkit.recipe.load import Loaded
from sslkit.recipe.schema import Recipe
from sslkit.train.distributed import Place
from sslkit.train.export import build_backbone
from sslkit.train.rundir import RunDirectory


@dataclass(frozen=True)
class Facts:
    """What a method is built from beside the recipe; kept in `run.json`, so that it needs no data."""

    image_size: int
    steps_per_epoch: int
    num_classes: int | None
    canvas_size: int
    """Side of the squares that images travel in, pixels."""


@dataclass(frozen=True)
class RunSetup:
    """What a method may ask for while it is built (`sslkit.core.method.Setup`)."""

    recipe: Recipe
    registry: Registry
    facts: Facts

    @property
    def batch_size(self) -> int:
        return self.recipe.optim.batch_size

    @property
    def channels(self) -> int:
        return self.recipe.data.channels

    @property
    def steps_per_epoch(self) -> int:
        return self.facts.steps_per_epoch

    @property
    def num_classes(self) -> int | None:
        return self.facts.num_classes

    def backbone(self, *, drop_path_rate: float | None = None) -> Backbone:
        built = build_backbone(
            self.recipe.backbone,
            self.registry,
            channels=self.channels,
            image_size=self.facts.image_size,
            drop_path_rate=drop_path_rate,
        )
        if self.recipe.runtime.compile:
            built.compile()
        return built


def check_batch(recipe: Recipe, place: Place) -> None:
    batch, parts = recipe.optim.batch_size, place.world_size * recipe.optim.accumulate
    if batch % parts:
        raise RecipeError(
            f"'optim.batch_size' is {batch}, which {place.world_size} processes x"
            f" {recipe.optim.accumulate} micro-batches do not divide\n"
            f"  take a multiple of {parts}, such as {-(-batch // parts) * parts}"
        )


@torch.no_grad()
def check_sizes(backbone: Backbone, sides: Iterable[int], recipe: Recipe, place: Place) -> None:
    """Try one image of each size; raises `RecipeError` where the network does not take it."""
    with eval_mode(backbone):
        for side in sorted(sides):
            try:
                backbone(torch.zeros(1, recipe.data.channels, side, side, device=place.device))
            except (RuntimeError, AssertionError, ValueError) as error:
                raise RecipeError(
                    f"'{recipe.backbone.name}' does not take images of {side} x {side} pixels: {error}\n"
                    "  choose other augment.global_size, augment.local_size (with patches: augment.size),"
                    " eval.crop, or another network"
                ) from error


def build_method(recipe: Recipe, registry: Registry, facts: Facts, *, load_weights: bool = True) -> Method:
    """The method with its initial weights, which depend on the recipe and its seed alone.

    `load_weights=False` leaves `backbone.weights` out, where a checkpoint replaces them anyway.
    """
    if not load_weights:
        recipe = replace(recipe, backbone=replace(recipe.backbone, weights=None))
    cls = registry.get("methods", recipe.method.name)
    if cls.needs_labels and facts.num_classes is None:
        raise RecipeError(
            f"'method.name' is {recipe.method.name}, which needs labels, but the data have none"
            "\n  give data with classes (folders: data.labels=folders), or choose another method"
        )
    with seeded(recipe.seed, "weights"):
        method: Method = cls(recipe.method.config, RunSetup(recipe, registry, facts))
    return method.train()


def build_evaluators(recipe: Recipe, registry: Registry) -> dict[str, Evaluator]:
    """The recipe's evaluators by name."""
    return {
        name: registry.get("evaluators", name)(config)
        for name, config in recipe.eval.evaluators.items()
        if config is not None
    }


def build_trackers(loaded: Loaded, directory: RunDirectory, *, quiet: bool) -> list[Tracker]:
    """The recipe's trackers, and unless `quiet` the terminal."""
    registry, recipe = loaded.registry, loaded.recipe
    named = [(c.name, c.config) for c in recipe.trackers]
    if not quiet:
        named.append(("terminal", registry.get("trackers", "terminal").Config()))
    return [registry.get("trackers", kind)(config, directory.path, recipe.name) for kind, config in named]


def open_eval_sets(recipe: Recipe, registry: Registry) -> EvalData:
    """Memory bank and queries, resized and cropped as the recipe says."""
    return eval_sets(*open_eval(recipe, registry), recipe)


def eval_sets(bank: Dataset, queries: Dataset, recipe: Recipe) -> EvalData:
    """Two data sets as evaluators see them."""
    formats = image_format(recipe)
    name, split, eval_split = _names(recipe)
    answered = queries.paired or queries.relevance is not None  # by single images of the bank: all are kept
    return EvalData(
        _eval_images(bank, f"{name}/{split}", recipe, formats, whole=answered),
        _eval_images(queries, f"{name}/{eval_split}", recipe, formats),
    )


def training_images(recipe: Recipe, dataset: Dataset) -> EvalImages:
    """The images that a run is trained on, as evaluators see images."""
    return _eval_images(dataset, f"{recipe.data.name}/{recipe.data.split}", recipe, image_format(recipe))


def _names(recipe: Recipe) -> tuple[str, str, str]:
    """What the evaluation data are called: their kind, and the splits of memory bank and queries."""
    own = recipe.eval.data
    if own is not None:
        return own["name"], own["split"], own["eval_split"]
    return recipe.data.name, recipe.data.split, recipe.data.eval_split


def _eval_images(
    dataset: Dataset, name: str, recipe: Recipe, formats: ImageFormat, whole: bool = False
) -> EvalImages:
    e = recipe.eval
    return EvalImages(
        dataset,
        resize=e.resize,
        crop=e.crop,
        batch_size=e.batch_size,
        mean=formats.mean,
        std=formats.std,
        max_images=None if whole else e.max_images,
        workers=recipe.data.workers,
        name=name,
        on_error=recipe.data.on_error,
    )
