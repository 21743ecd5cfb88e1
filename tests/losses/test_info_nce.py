"""The contrastive losses against the papers' formulas in float64, and against lightly's numbers."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import info_nce as oracle
from oracles import make
from tolerances import assert_close
from torch import Tensor

from sslkit.losses.info_nce import contrast_accuracy, in_batch_info_nce, info_nce, nt_xent, retrieval_accuracy

LIGHTLY: dict[str, Any] = json.loads(Path(make.OUT).read_text(encoding="utf-8"))
DTYPES = [torch.float64, torch.float32]
BATCHES = [2, 7]
TEMPERATURES = [0.05, 0.2, 1.0]
OWN = [4, 0, 3]
"""The key of each of three queries."""

Loss = Callable[..., Tensor]


def rows(*counts: int, seed: int = 0) -> list[Tensor]:
    """[count, 5] each, float64, of many lengths."""
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(size=(n, 5)) * rng.uniform(0.1, 10, size=(n, 1))) for n in counts]


def gradients_of(loss_fn: Loss, *inputs: Tensor, autocast: bool = False) -> tuple[Tensor, ...]:
    """The loss, and its gradient by each input; only the forward pass is under autocast, as it should be."""
    leaves = [x.clone().requires_grad_(True) for x in inputs]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = loss_fn(*leaves)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


def check(loss_fn: Loss, formula: Callable[..., tuple[Any, ...]], inputs: list[Tensor]) -> None:
    got = gradients_of(loss_fn, *inputs)
    wanted = formula(*[x.double().numpy() for x in inputs])
    assert got[0].shape == ()
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == inputs[0].dtype
        assert_close(ours, theirs, scale=50)


def in_batch(query: Tensor, keys: Tensor, temperature: float = 0.2) -> Tensor:
    return in_batch_info_nce(query, keys, torch.tensor(OWN), temperature=temperature)


LOSSES: dict[str, tuple[Loss, tuple[int, ...], int]] = {
    "nt_xent": (partial(nt_xent, temperature=0.2), (4, 4), 7),
    "info_nce": (partial(info_nce, temperature=0.2), (3, 3, 9), 10),
    "in_batch": (in_batch, (3, 6), 6),
}
"""A loss of tensors alone, how many rows each of them has, how many candidates an anchor has."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, *BATCHES])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nt_xent_is_the_papers(dtype: torch.dtype, batch: int, temperature: float) -> None:
    inputs = [x.to(dtype) for x in rows(batch, batch, seed=batch)]
    check(partial(nt_xent, temperature=temperature), partial(oracle.nt_xent, temperature=temperature), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("negatives", [1, 300])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_info_nce_is_the_papers(dtype: torch.dtype, batch: int, negatives: int, temperature: float) -> None:
    inputs = [x.to(dtype) for x in rows(batch, batch, negatives, seed=batch)]
    check(
        partial(info_nce, temperature=temperature), partial(oracle.info_nce, temperature=temperature), inputs
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_in_batch_info_nce_is_the_papers(dtype: torch.dtype, temperature: float) -> None:
    inputs = [x.to(dtype) for x in rows(3, 6)]
    check(
        partial(in_batch, temperature=temperature),
        partial(oracle.in_batch, own=OWN, temperature=temperature),
        inputs,
    )


@pytest.mark.parametrize("case", LIGHTLY["nt_xent"])
def test_nt_xent_is_lightlys(case: str) -> None:
    batch, temperature = case.split()
    inputs = [torch.tensor(x) for x in make.pair_inputs(int(batch))]
    loss, *gradients = gradients_of(partial(nt_xent, temperature=float(temperature)), *inputs)
    wanted = LIGHTLY["nt_xent"][case]
    assert_close(loss, wanted["loss"])
    for gradient, name in zip(gradients, ("first_gradient", "second_gradient"), strict=True):
        assert_summary(gradient, wanted[name])


@pytest.mark.parametrize("case", LIGHTLY["nt_xent_with_bank"])
def test_info_nce_is_lightlys(case: str) -> None:
    """lightly's loss with a memory bank, which takes up each batch of keys after it was used."""
    batch, count, temperature = (float(word) for word in case.split())
    loss_fn = partial(info_nce, temperature=temperature)
    bank = list(make.bank_start(int(count)))  # oldest first
    for step, wanted in enumerate(LIGHTLY["nt_xent_with_bank"][case]):
        query, key = (torch.tensor(x) for x in make.pair_inputs(int(batch), step))
        loss, by_query, by_key, _ = gradients_of(loss_fn, query, key, torch.tensor(np.stack(bank)))
        assert_close(loss, wanted["loss"])
        assert_summary(by_query, wanted["query_gradient"])
        assert_summary(by_key, wanted["key_gradient"])
        bank = [*bank[int(batch) :], *(k / np.linalg.norm(k) for k in key.numpy())]


def assert_summary(got: Tensor, wanted: dict[str, Any]) -> None:
    for name, value in make.summary(got).items():
        assert_close(torch.tensor(value, dtype=torch.float64), np.asarray(wanted[name]), scale=10)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    loss_fn, counts, _ = LOSSES[name]
    inputs = [(x / x.norm(dim=1, keepdim=True)).requires_grad_(True) for x in rows(*counts)]
    assert torch.autograd.gradcheck(loss_fn, inputs)


@pytest.mark.parametrize("name", LOSSES)
def test_only_what_asks_for_a_gradient_gets_one(name: str) -> None:
    loss_fn, counts, _ = LOSSES[name]
    for asking in range(len(counts)):
        inputs = [x.requires_grad_(i == asking) for i, x in enumerate(rows(*counts))]
        loss_fn(*inputs).backward()
        assert [x.grad is not None for x in inputs] == [i == asking for i in range(len(counts))]


@pytest.mark.parametrize("name", LOSSES)
def test_only_directions_count(name: str) -> None:
    loss_fn, counts, _ = LOSSES[name]
    inputs = rows(*counts)
    loss, *gradients = gradients_of(loss_fn, *inputs)
    for scaled in range(len(counts)):
        factors = [10.0 if i == scaled else 1.0 for i in range(len(counts))]
        again, *others = gradients_of(loss_fn, *(f * x for f, x in zip(factors, inputs, strict=True)))
        assert_close(again, loss)
        for factor, other, gradient in zip(factors, others, gradients, strict=True):
            assert_close(factor * other, gradient, scale=10)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_alike_cost_the_logarithm_of_the_choices(name: str, dtype: torch.dtype) -> None:
    loss_fn, counts, choices = LOSSES[name]
    one = rows(1)[0].to(dtype)
    loss, *gradients = gradients_of(loss_fn, *(one.expand(n, -1) for n in counts))
    assert_close(loss, math.log(choices))
    for gradient in gradients:
        assert_close(gradient, np.zeros_like(gradient), tolerance=(0, 1e-6))


@pytest.mark.parametrize("name", LOSSES)
def test_zero_vectors_stay_finite(name: str) -> None:
    loss_fn, counts, choices = LOSSES[name]
    for zeroed in range(len(counts)):
        inputs = [x.float() * (i != zeroed) for i, x in enumerate(rows(*counts))]
        assert all(x.isfinite().all() for x in gradients_of(loss_fn, *inputs))
    loss, *gradients = gradients_of(loss_fn, *(torch.zeros(n, 5) for n in counts))
    assert_close(loss, math.log(choices))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_does_not_lower_the_precision(name: str) -> None:
    loss_fn, counts, _ = LOSSES[name]
    inputs = [x.float() for x in rows(*counts)]
    plain = gradients_of(loss_fn, *inputs)
    inside = gradients_of(loss_fn, *inputs, autocast=True)
    for got, wanted in zip(inside, plain, strict=True):
        assert got.dtype == torch.float32
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_inputs_give_a_float32_loss(name: str) -> None:
    loss_fn, counts, _ = LOSSES[name]
    inputs = [x.bfloat16() for x in rows(*counts)]
    loss, *gradients = gradients_of(loss_fn, *inputs)
    wanted, *theirs = gradients_of(loss_fn, *(x.double() for x in inputs))
    assert loss.dtype == torch.float32
    assert_close(loss, wanted)
    for gradient, other in zip(gradients, theirs, strict=True):
        assert gradient.dtype == torch.bfloat16
        assert_close(gradient, other)


def test_a_low_temperature_does_not_overflow() -> None:
    for loss_fn, inputs in (
        (partial(nt_xent, temperature=1e-3), rows(4, 4)),
        (partial(info_nce, temperature=1e-3), rows(3, 3, 9)),
        (partial(in_batch, temperature=1e-3), rows(3, 6)),
    ):
        assert all(x.isfinite().all() for x in gradients_of(loss_fn, *(x.float() for x in inputs)))


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_impossible_temperatures(temperature: float) -> None:
    message = f"temperature must be > 0, got {temperature}"
    first, second, negatives = rows(3, 3, 9)
    with pytest.raises(ValueError, match=message):
        nt_xent(first, second, temperature=temperature)
    with pytest.raises(ValueError, match=message):
        info_nce(first, second, negatives, temperature=temperature)
    with pytest.raises(ValueError, match=message):
        in_batch(first, negatives, temperature=temperature)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((2, 3), (2, 4), r"rows of one width.*'first': \[2, 3\], 'second': \[2, 4\]"),
        ((3,), (3,), r"rows of one width.*'first': \[3\]"),
        ((1, 2, 3), (1, 2, 3), r"rows of one width"),
        ((2, 3), (3, 3), r"one shape.*\[2, 3\].*\[3, 3\]"),
    ],
)
def test_shapes_that_do_not_fit_nt_xent(
    first: tuple[int, ...], second: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        nt_xent(torch.ones(first), torch.ones(second), temperature=0.1)


@pytest.mark.parametrize(
    ("query", "key", "negatives", "message"),
    [
        ((2, 3), (2, 3), (5, 4), r"rows of one width.*'negatives': \[5, 4\]"),
        ((2, 3), (2, 3), (3,), r"rows of one width.*'negatives': \[3\]"),
        ((2, 3), (3, 3), (5, 3), r"one shape.*\[2, 3\].*\[3, 3\]"),
        ((2, 3), (1, 3), (5, 3), r"one shape.*\[2, 3\].*\[1, 3\]"),
    ],
)
def test_shapes_that_do_not_fit_info_nce(
    query: tuple[int, ...], key: tuple[int, ...], negatives: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        info_nce(torch.ones(query), torch.ones(key), torch.ones(negatives), temperature=0.1)


@pytest.mark.parametrize(
    ("query", "keys", "message"),
    [
        ((3, 3), (6, 4), r"rows of one width.*'query': \[3, 3\], 'keys': \[6, 4\]"),
        ((3, 3), (3,), "rows of one width"),
        ((2, 3), (6, 3), "batch_size"),
    ],
)
def test_shapes_that_do_not_fit_in_batch_info_nce(
    query: tuple[int, ...], keys: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        in_batch(torch.ones(query), torch.ones(keys))


def test_retrieval_accuracy() -> None:
    query, keys = rows(5, 8)
    for own in ([0, 1, 2, 3, 4], [7, 3, 3, 1, 0]):
        wanted = oracle.nearest_is_own(query.numpy(), keys.numpy(), own)
        assert float(retrieval_accuracy(query, keys, torch.tensor(own))) == pytest.approx(wanted)
    nearest = [[oracle.cosine(q, k) for k in keys.numpy()] for q in query.numpy()]
    best = torch.tensor([row.index(max(row)) for row in nearest])
    best[0] = (best[0] + 1) % 8
    got = retrieval_accuracy(query.requires_grad_(True), keys, best)
    assert float(got) == pytest.approx(0.8)
    assert not got.requires_grad


def test_contrast_accuracy_counts_the_queries_nearer_to_their_key_than_to_any_negative() -> None:
    query = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    key = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 1.0]])
    negatives = torch.tensor([[0.0, 5.0], [-1.0, 0.0]])
    assert contrast_accuracy(query, key, negatives).item() == pytest.approx(2 / 3)
