"""Logistic regression with scikit-learn: what the linear classifier should come near to on small data."""

# N images, D features, C classes

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sslkit.eval.linear_examples import Examples, Whitening, whitening_of

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Inverse strengths of the L2 penalty that are tried (scikit-learn's C)."""
ITERATIONS = 1000
"""At most so many of L-BFGS."""
SMALL = 1e8
"""Images x features x classes up to which a fit takes seconds on one core."""


@dataclass(frozen=True)
class Logistic:
    """A fitted regression."""

    strength: float
    """scikit-learn's C."""
    predicted: Tensor
    """Classes of the test images, [Q] int64."""


def is_small(examples: Examples, classes: int) -> bool:
    return len(examples) * examples.features.shape[1] * classes <= SMALL


def fit_logistic(train: Examples, test: Examples, held_out: float) -> Logistic:
    """Multinomial, on whitened features; C has the best top-1 on the share held out of `train`.

    Of several such C the one with the smallest cross-entropy is taken, and fitted again to all of `train`.

    Args:
        train: of two classes or more.
        held_out: share of `train`, above 0 to 0.5.
    """
    strength = _best_strength(*train.split(held_out))
    whiten = whitening_of(train)
    model = _fitted(_arrays(train, whiten), strength)
    return Logistic(strength, torch.from_numpy(model.predict(_arrays(test, whiten)[0])))


def _best_strength(fitted: Examples, held: Examples) -> float:
    if len(fitted.answers.unique()) < 2:
        return 1.0
    whiten = whitening_of(fitted)
    data, (x, y) = _arrays(fitted, whiten), _arrays(held, whiten)

    def quality(strength: float) -> tuple[float, float]:
        model = _fitted(data, strength)
        column = model.classes_.searchsorted(y).clip(max=len(model.classes_) - 1)  # [N]
        return model.score(x, y), model.predict_log_proba(x)[range(len(y)), column].mean()

    return max(STRENGTHS, key=quality)


def _arrays(examples: Examples, whiten: Whitening) -> tuple[Any, Any]:
    """Whitened features [N, D] and labels [N]."""
    return whiten(examples.features[examples.rows]).double().numpy(), examples.answers.numpy()


def _fitted(data: tuple[Any, Any], strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # far from the end is near enough to classify
        return LogisticRegression(C=strength, max_iter=ITERATIONS).fit(*data)
