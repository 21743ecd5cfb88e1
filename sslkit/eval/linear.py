"""Linear classification of frozen features (Caron et al. 2021, Sec. 4.1; their eval_linear.py)."""

# N images to train on, Q held-out images, D features, C classes

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from sslkit.core.evaluator import EvalContext, EvalData, Evaluator, Result, Subject
from sslkit.errors import RecipeError
from sslkit.eval.bootstrap import mean_estimate
from sslkit.eval.confusion import Classified, class_names, write_by_class
from sslkit.eval.linear_examples import READ_AT_ONCE, Examples
from sslkit.eval.linear_features import BlockFeatures
from sslkit.eval.linear_heads import Classifier, ranked, scores, train_heads
from sslkit.eval.linear_logistic import fit_logistic, is_small
from sslkit.hookspecs import hookimpl

TOP = 5
"""The largest top-n that is asked for."""


@dataclass
class LinearConfig:
    """A linear classifier on frozen features."""

    n_last_blocks: int = 4
    """Blocks whose CLS is used, >= 1, all if there are fewer (DINO: 4 for ViT-S, 1 for ViT-B). Without CLS
    the mean over the patches stands for it; a convolutional net's blocks are its stages."""
    mean_patches: bool = False
    """Use the mean patch token of the last block too (DINO: for ViT-B)."""
    lrs: list[float] = field(default_factory=lambda: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0])
    """Learning rates that are tried, > 0 each, at a batch of 256; they grow linearly with `batch_size`."""
    epochs: int = 100
    """Passes over the training images, >= 1 (DINO: 100)."""
    batch_size: int = 256
    """Images a step, >= 1."""
    held_out: float = 0.1
    """Share of the training images on which the learning rate is chosen, above 0 to 0.5 (as one in n)."""
    logistic: bool | Literal["auto"] = "auto"
    """Whether scikit-learn's logistic regression is fitted too; auto: where images x features x classes are
    at most 1e8, so that it takes seconds."""

    def __post_init__(self) -> None:
        for key in ("n_last_blocks", "epochs", "batch_size"):
            if getattr(self, key) < 1:
                raise RecipeError(f"'{key}' is {getattr(self, key)}, but must be 1 or more")
        if not self.lrs or not all(0 < lr < float("inf") for lr in self.lrs):
            raise RecipeError(f"'lrs' is {list(self.lrs)}, but must be numbers above 0, one or more")
        if not 0 < self.held_out <= 0.5:
            raise RecipeError(f"'held_out' is {self.held_out:g}, but must be above 0 and at most 0.5")


class Linear(Evaluator):
    """Classes of held-out images by a linear classifier of the backbone's last blocks.

    `top1`, `top5` (of five classes or more): share of the held-out images whose class comes first, or among
    the first five. The features are computed once, without augmentation, and whitened by the training images'
    mean and covariance, which changes how fast a linear classifier is learned, not what it can be. One
    classifier is trained for each learning rate, all at a time; the rate with
    the best top-1 on a part held out of the training images (the smallest cross-entropy, if several have it)
    is trained again on all of them. The test images have no say in it. `top1_logistic`: scikit-learn's
    logistic regression on the same features, its penalty chosen on the same part. Images without a label are
    left out; one whose class has no training images counts as wrong.
    """

    Config = LinearConfig
    needs = frozenset({"labels"})

    def __init__(self, config: LinearConfig) -> None:
        self.config = config

    def __call__(self, subject: Subject, data: EvalData, context: EvalContext) -> Result:
        extract = BlockFeatures(self.config.n_last_blocks, self.config.mean_patches)
        bank, queries = context.features(data.train, extract), context.features(data.test, extract)
        assert bank.labels is not None
        assert queries.labels is not None
        train = Examples.labelled(bank.features, bank.labels)
        test = Examples.labelled(queries.features, queries.labels)
        problem = _problem(train, test)
        if problem is not None:
            return Result({}, notes=(problem,))
        least = 1 + int(torch.cat([train.answers, test.answers]).max())
        return self._classified(train, test, class_names(data.train.classes, least), context)

    def _classified(
        self, train: Examples, test: Examples, names: tuple[str, ...], context: EvalContext
    ) -> Result:
        lr, note = self._chosen_lr(train, len(names), context)
        classifier = self._train(train, [lr], len(names), context)
        top = ranked(classifier, test, min(TOP, len(names)))  # [Q, 5]
        known = torch.isin(test.answers, train.answers)
        hits = (top == test.answers[:, None]) & known[:, None]
        estimates = {f"top{n}": mean_estimate(hits[:, :n].any(1)) for n in (1, TOP) if n <= len(names)}
        notes = [note, *_strangers(known)]
        wanted = self.config.logistic
        if is_small(train, len(names)) if wanted == "auto" else wanted:
            logistic = fit_logistic(train, test, self.config.held_out)
            estimates["top1_logistic"] = mean_estimate(logistic.predicted == test.answers)
            notes.append(f"Logistic regression: C = {logistic.strength:g}, chosen on the same part.")
        figures, tables = write_by_class(
            Classified(test.answers, top[:, 0], names), context.figures, "Linear classifier"
        )
        return Result.of(estimates, figures=figures, tables=tables, notes=notes)

    def _train(
        self, examples: Examples, rates: list[float], classes: int, context: EvalContext
    ) -> Classifier:
        return train_heads(
            examples,
            rates,
            context,
            classes=classes,
            batch_size=self.config.batch_size,
            epochs=self.config.epochs,
        )

    def _chosen_lr(self, train: Examples, classes: int, context: EvalContext) -> tuple[float, str]:
        """The learning rate that is best on a part held out of the training images, and a sentence on it."""
        rates = sorted(set(self.config.lrs))
        fitted, held = train.split(self.config.held_out)
        top1, loss = scores(self._train(fitted, rates, classes, context), held)
        best = max(range(len(rates)), key=lambda head: (float(top1[head]), -float(loss[head])))
        edge = {0: "smallest", len(rates) - 1: "largest"}.get(best) if len(rates) > 1 else None
        beyond = f" It is the {edge} that was tried: try others beyond it." if edge else ""
        return rates[best], (
            f"Learning rate {rates[best]:g} of {len(rates)}, chosen on {len(held):,} of {len(train):,}"
            f" training images (top-1 {100 * float(top1[best]):.1f} % there).{beyond}"
        )


def _problem(train: Examples, test: Examples) -> str | None:
    """Why nothing can be learned or asked, if so."""
    if not len(test):
        return "None of the held-out images has a label."
    if len(train.answers.unique()) < 2:
        return "The training images with a label are of fewer than two classes: there is nothing to learn."
    if not all(features.isfinite().all() for features, _ in train.batches(READ_AT_ONCE)):
        return "The features are not finite: the network has diverged."
    return None


def _strangers(known: Tensor) -> list[str]:
    """A note on the held-out images [Q] whose class no training image has."""
    count = int((~known).sum())
    if not count:
        return []
    return [f"{count:,} of the held-out images count as wrong: no training image has their class."]


@hookimpl
def sslkit_evaluators() -> Mapping[str, type[Evaluator]]:
    return {"linear": Linear}
