"""What MoCo v2 itself decides: the queue, the order of a step, and the key encoder's groups."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from methods.small import (
    WIDTHS,
    batch_of_views,
    build,
    check_drop_path,
    check_ema,
    check_gradients,
    check_range,
    check_starts_as_copy,
    disturb,
    inputs_of,
    numbers,
    progress,
    sgd,
    train_step,
)
from oracles import info_nce as oracle
from tolerances import assert_close
from torch import Tensor, nn

from sslkit.core.method import Views
from sslkit.errors import RecipeError
from sslkit.methods.mocov2 import MoCoV2, MoCoV2Config
from sslkit.nn.queue import KeyQueue
from sslkit.testing import BATCH, SmallSetup

SMALL = MoCoV2Config(
    hidden_dim=16, out_dim=8, temperature=0.3, queue_size=24, key_momentum=0.8, shuffle_groups=1
)
COPIES = {"key_backbone": "backbone", "key_projector": "projector"}


def apart(config: MoCoV2Config = SMALL, network: str = "resnet") -> MoCoV2:
    """With a key encoder that is no copy any more."""
    method = build(MoCoV2, config, network)
    disturb(method.backbone, method.projector)
    return method


def keys_of(method: MoCoV2, views: Views) -> Tensor:
    return method.key_projector(method.key_backbone(views.global_views[1])).detach()  # type: ignore[no-any-return]


def oldest_first(queue: KeyQueue) -> Tensor:
    return queue.keys.roll(-int(queue.position), 0)


def micro_batches(views: Views, count: int) -> list[Views]:
    return [Views(part) for part in views.global_views.chunk(count, 1)]


@pytest.mark.parametrize("micro", [1, 2])
def test_the_queue_is_a_plain_list_of_the_last_keys(micro: int) -> None:
    method = apart()
    optimizer, wanted = sgd(method), method.queue.keys.tolist()
    for step in range(5):
        batches = micro_batches(batch_of_views(seed=step), micro)
        for views in batches:
            keys = numbers(keys_of(method, views))
            wanted = [*wanted[len(keys) :], *(k / np.linalg.norm(k) for k in keys)]
        train_step(method, optimizer, batches, step)
        assert int(method.queue.position) == (step + 1) * BATCH % 24
        assert_close(oldest_first(method.queue), np.asarray(wanted))


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("local_count", [0, 2])
def test_all_views_but_the_second_look_for_its_key(network: str, local_count: int) -> None:
    method, views = apart(network=network), batch_of_views(local_count)
    first, _, *local = views.each()
    keys, queue = numbers(keys_of(method, views)), numbers(method.queue.keys)
    queries = [numbers(method.projector(method.backbone(v))) for v in (first, *local)]
    losses = [oracle.info_nce(q, keys, queue, 0.3)[0] for q in queries]
    output = method(views, progress())
    assert_close(output.loss, sum(losses) / len(losses))
    assert_close(output.carry["keys"], keys)
    pairs = zip(queries[0], keys, strict=True)
    found = [oracle.nearest_is_own(q[None], np.concatenate([key[None], queue]), [0]) for q, key in pairs]
    assert_close(output.metrics["contrast_accuracy"], sum(found) / BATCH)
    assert output.features is not None
    assert_close(output.features, method.backbone(first))


def test_a_step_compares_with_the_old_queue_and_then_takes_its_keys_up() -> None:
    method, views = apart(), batch_of_views()
    before = method.queue.keys.clone()
    output = method(views, progress())
    assert torch.equal(method.queue.keys, before)
    method.after_step(progress(), [output])
    assert torch.equal(method.queue.keys[BATCH:], before[BATCH:])
    assert_close(method.queue.keys[:BATCH], nn.functional.normalize(output.carry["keys"]))


def test_a_run_is_the_authors() -> None:
    """Their loop: EMA, keys, logits against the old queue, enqueue, then the optimiser (algorithm 1)."""
    ours = build(MoCoV2, SMALL)
    ours.queue.keys.copy_(nn.functional.normalize(ours.queue.keys))  # they were so in float32 only
    theirs = copy.deepcopy(ours)
    optimizer, their_optimizer = sgd(ours), sgd(theirs)
    queue = list(ours.queue.keys)
    for step in range(5):
        views = batch_of_views(seed=step)
        query = theirs.projector(theirs.backbone(views.global_views[0]))
        with torch.no_grad():
            for key_module, module in (
                (theirs.key_backbone, theirs.backbone),
                (theirs.key_projector, theirs.projector),
            ):
                for old, new in zip(key_module.parameters(), module.parameters(), strict=True):
                    old.copy_(0.8 * old + 0.2 * new)
            keys = keys_of(theirs, views)
            keys = keys / keys.norm(dim=1, keepdim=True)
        query = query / query.norm(dim=1, keepdim=True)
        positive = (query * keys).sum(1)
        negatives = torch.stack([query @ old for old in queue], 1)
        logits = torch.cat([positive[:, None], negatives], 1) / 0.3
        loss = (logits.logsumexp(1) - positive / 0.3).mean()
        queue = [*queue[BATCH:], *keys]
        their_optimizer.zero_grad()
        loss.backward()
        their_optimizer.step()
        (output,) = train_step(ours, optimizer, [views], step)
        assert_close(output.loss, loss, tolerance=(1e-9, 1e-11))
        assert_close(oldest_first(ours.queue), torch.stack(queue), tolerance=(1e-9, 1e-11))


def test_the_key_encoder_starts_as_a_copy() -> None:
    check_starts_as_copy(build(MoCoV2, SMALL), COPIES)
    check_drop_path(MoCoV2(SMALL, SmallSetup("vit")), original="backbone", copy="key_backbone")


def test_the_key_encoder_gets_no_gradient() -> None:
    check_gradients(apart(), COPIES, without=1)


def test_the_key_encoder_moves_by_its_momentum() -> None:
    method = apart()
    check_ema(method, COPIES, 0.8, lambda: method.after_step(progress(), []))


def test_a_network_without_batch_norm_is_left_whole() -> None:
    views = batch_of_views()
    whole, grouped = (
        apart(replace(SMALL, shuffle_groups=n), "vit")(views, progress()).carry["keys"] for n in (1, 8)
    )
    assert_close(grouped, whole)


def test_groups_are_random_and_each_has_its_own_batch_norm() -> None:
    torch.manual_seed(0)  # two draws of pairs are the same once in 105
    method, views = apart(replace(SMALL, shuffle_groups=4)), batch_of_views()
    with inputs_of(method.key_backbone) as groups:
        keys = method(views, progress()).carry["keys"]
        again = method(views, progress()).carry["keys"]
    assert [len(group) for group in groups] == [2] * 8
    second = list(views.global_views[1])
    order = [next(i for i, x in enumerate(second) if torch.equal(x, row)) for g in groups for row in g]
    assert sorted(order[:8]) == sorted(order[8:]) == list(range(8))
    assert order[:8] != order[8:]
    assert order[:8] != list(range(8))
    assert not torch.allclose(keys, again)
    assert not torch.allclose(keys, keys_of(method, views))
    for group, rows in zip(groups[:4], np.reshape(order[:8], (4, 2)).tolist(), strict=True):
        assert_close(keys[rows], method.key_projector(method.key_backbone(group)))


def test_a_group_of_one_is_refused() -> None:
    method = apart(replace(SMALL, shuffle_groups=5))
    message = r"'method.shuffle_groups' is 5, but a process has 8 images .*\n  take 4 or fewer"
    with pytest.raises(RecipeError, match=message):
        method(batch_of_views(), progress())


@pytest.mark.parametrize(("size", "nearest"), [(100, 96), (3, 8), (65536 + 7, 65544)])
def test_a_batch_that_does_not_divide_the_queue(size: int, nearest: int) -> None:
    message = rf"'method.queue_size' is {size}, which 'optim.batch_size' 8 does not divide\n  take {nearest}$"
    with pytest.raises(RecipeError, match=message):
        build(MoCoV2, replace(SMALL, queue_size=size))
    assert len(build(MoCoV2, replace(SMALL, queue_size=nearest)).queue.keys) == nearest


def test_a_checkpoint_holds_the_queue() -> None:
    method = apart()
    train_step(method, sgd(method), [batch_of_views()], 0)
    again = build(MoCoV2, SMALL)
    assert not torch.equal(again.queue.keys, method.queue.keys)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.queue.keys, method.queue.keys)
    assert int(again.queue.position) == BATCH
    views = batch_of_views(seed=1)
    assert torch.equal(again(views, progress()).loss, method(views, progress()).loss)


def test_the_projector_has_no_batch_norm() -> None:
    method, config = build(MoCoV2, SMALL), MoCoV2Config()
    assert (config.queue_size, config.key_momentum, config.temperature) == (65536, 0.999, 0.2)
    for head in (method.projector, method.key_projector):
        assert [type(m) for m in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert method.encoder is method.backbone


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        *WIDTHS,
        *[(k, 0, ">= 1") for k in ("queue_size", "shuffle_groups")],
        *[("temperature", v, "> 0") for v in (0, -0.1)],
        *[("key_momentum", v, "from 0 to 1") for v in (-0.1, 1.1)],
    ],
)
def test_ranges(key: str, value: Any, valid: str) -> None:
    check_range(MoCoV2Config, key, value, valid)
