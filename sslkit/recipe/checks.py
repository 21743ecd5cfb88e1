"""Values of the shared sections that have the right type and are impossible all the same."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sslkit.errors import nearest
from sslkit.recipe.layers import Draft
from sslkit.recipe.places import Path, dotted, shown
from sslkit.recipe.schema import DataSection, Recipe


@dataclass(frozen=True)
class _Rule:
    key: str
    holds: Callable[[Any], object]
    valid: str
    choices: tuple[str, ...] = ()


def _choice(key: str, *choices: str) -> _Rule:
    return _Rule(key, lambda value: value in choices, f"one of {', '.join(choices)}", choices)


def _least(low: float, *keys: str) -> list[_Rule]:
    return [_Rule(key, lambda value: low <= value < math.inf, f">= {low:g}") for key in keys]


def _share(key: str) -> _Rule:
    return _Rule(key, lambda value: 0 <= value <= 1, "from 0 to 1")


def _is_folder_name(name: str) -> bool:
    return bool(name.strip()) and not set(name) & set("/\\\0\n") and name not in (".", "..")


_DATA_RULES = (
    _choice("labels", "auto", "folders", "none"),
    _choice("on_error", "skip", "stop"),
    _share("max_broken"),
    *_least(0, "workers"),
    *_least(1, "canvas", "channels"),
)
_RULES = (
    _Rule("name", _is_folder_name, "a word that can name a folder, without '/'"),
    _share("backbone.drop_path_rate"),
    _choice("optim.clip.mode", "per_parameter", "global", "none"),
    _Rule("optim.clip.norm", lambda value: 0 < value < math.inf, "> 0"),
    _Rule(
        "runtime.device", re.compile(r"auto|cpu|mps|cuda(:\d+)?").fullmatch, "auto, cpu, cuda, cuda:N or mps"
    ),
    _choice("runtime.precision", "auto", "fp32", "bf16", "fp16"),
    _choice("runtime.strategy", "auto", "none"),
    _choice("health.on_collapse", "warn", "stop"),
    *_least(0, "seed", "optim.lr", "optim.min_lr", "optim.warmup_epochs"),
    *_least(0, "optim.weight_decay", "optim.weight_decay_end"),
    *_least(1, "optim.batch_size", "optim.epochs", "optim.lr_base_batch", "optim.accumulate"),
    *_least(1, "runtime.threads", "runtime.max_steps", "runtime.log_every"),
    *_least(1, "checkpoint.every_steps", "checkpoint.every_epochs", "checkpoint.keep"),
    *_least(1, "eval.every_epochs", "eval.resize", "eval.crop", "eval.batch_size", "eval.max_images"),
)


def check_values(recipe: Recipe, draft: Draft) -> None:
    """Raises `RecipeError` for the first value outside its range, with its place and what is valid."""
    _check(recipe, (), _RULES, draft)
    optim, evaluation = recipe.optim, recipe.eval
    if optim.batch_size % optim.accumulate:
        raise draft.place(("optim", "accumulate")).error(
            f"'optim.accumulate' is {optim.accumulate}, but must divide the batch of {optim.batch_size}"
        )
    best = recipe.checkpoint.best
    if best is not None and not _is_asked(best.lstrip("-"), recipe):
        raise draft.place(("checkpoint", "best")).error(
            f"'checkpoint.best' is '{best}', {_not_asked(recipe)}"
        )
    _check_bands(recipe, draft)
    if evaluation.crop > evaluation.resize:
        raise draft.place(("eval", "crop")).error(
            f"'eval.crop' is {evaluation.crop}, but must be at most 'eval.resize', {evaluation.resize}"
        )


def _check_bands(recipe: Recipe, draft: Draft) -> None:
    for metric, band in recipe.expect.metrics.items():
        place = draft.place(("expect", "metrics", metric))
        if not re.fullmatch(r"[^.]+\..+", metric):
            raise place.error(
                f"'expect.metrics' has '{metric}', but a metric is EVALUATOR.METRIC\n  such as knn.top1_k10"
            )
        if not _is_asked(metric, recipe):
            raise place.error(f"'expect.metrics' has '{metric}', {_not_asked(recipe)}")
        if len(band) != 2 or not -math.inf < band[0] <= band[1] < math.inf:
            raise place.error(
                f"'expect.metrics.{metric}' is {shown(band)}, but must be the lowest and the highest"
                " value that is expected, two finite numbers\n  such as [0.90, 0.96]"
            )


def _is_asked(metric: str, recipe: Recipe) -> bool:
    return metric.partition(".")[0] in recipe.eval.evaluators


def _not_asked(recipe: Recipe) -> str:
    known = ", ".join(f"{name}.METRIC" for name in recipe.eval.evaluators) or "none"
    return (
        f"but no such evaluator is asked during the run\n  valid: {known};"
        " to ask another: eval.evaluators.NAME={}"
    )


def check_data(data: DataSection, path: Path, draft: Draft) -> None:
    """The same for a data section, which stands at `data` or `eval.data`."""
    _check(data, path, _DATA_RULES, draft)
    for key, values in (("mean", data.mean), ("std", data.std)):
        if values is not None and len(values) != data.channels:
            raise draft.place((*path, key)).error(
                f"'{dotted((*path, key))}' has {len(values)} values, but must have one for each of the"
                f" {data.channels} channels"
            )
    if data.std is not None and not all(0 < value < math.inf for value in data.std):
        raise draft.place((*path, "std")).error(
            f"'{dotted((*path, 'std'))}' is {shown(data.std)}, but each must be > 0"
        )


def _check(section: Any, path: Path, rules: Sequence[_Rule], draft: Draft) -> None:
    for rule in rules:
        value, keys = section, rule.key.split(".")
        for key in keys:
            value = getattr(value, key)
        if value is not None and not rule.holds(value):
            at = (*path, *keys)
            near = nearest(value, rule.choices) if rule.choices else ""
            raise draft.place(at).error(f"'{dotted(at)}' is {shown(value)}, but must be {rule.valid}{near}")
