"""Is this a method? Every check of it, at each setting, in the order in which they are told."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from sslkit.conformance.configs import configured
from sslkit.conformance.cost import cost_beside_dino
from sslkit.conformance.findings import Check, Finding, NotChecked, examine, pass_gates, run
from sslkit.conformance.method_checks import (
    a_step_waits_for_no_device,
    diagnosis_names_its_metrics,
    encoder_is_part_of_the_method,
    forward_changes_no_state,
    forward_is_deterministic,
    gradients_only_where_declared,
    it_is_built,
    it_takes_grey_images,
    it_takes_micro_batches,
    it_works_on_a_gpu,
    labels_matter_only_where_declared,
    loss_falls_on_a_fixed_batch,
    loss_is_finite_and_has_a_gradient,
    loss_is_finite_in_bf16,
    one_thread,
    outputs_are_detached,
)
from sslkit.conformance.method_kit import MethodKit
from sslkit.conformance.method_state import everything_is_in_state_dict, resume_is_exact
from sslkit.conformance.small import SmallSetup, make_views
from sslkit.conformance.two_processes import Pair, compare, started
from sslkit.core.backbone import Backbone
from sslkit.core.method import Method, Views

GATES: tuple[Check[MethodKit], ...] = (it_is_built, loss_is_finite_and_has_a_gradient)
"""Without these nothing else can be said at a setting."""
CHECKS: tuple[Check[MethodKit], ...] = (
    loss_is_finite_in_bf16,
    outputs_are_detached,
    forward_changes_no_state,
    forward_is_deterministic,
    gradients_only_where_declared,
    encoder_is_part_of_the_method,
    everything_is_in_state_dict,
    resume_is_exact,
    loss_falls_on_a_fixed_batch,
    labels_matter_only_where_declared,
    diagnosis_names_its_metrics,
    it_takes_micro_batches,
    a_step_waits_for_no_device,
    it_takes_grey_images,
    it_works_on_a_gpu,
)
"""Made at every setting, in this order."""
ONCE: tuple[Check[MethodKit], ...] = (cost_beside_dino,)
"""Made at the last setting alone."""
TWO, COST = "two_processes_equal_one", cost_beside_dino.__name__
EXPENSIVE = (TWO, COST)
"""Checks that take about half of the time."""


def method_findings(
    cls: type[Method],
    config: Any = None,
    *,
    backbone: Callable[..., Backbone] | None = None,
    args: Mapping[str, Any] | None = None,
    views: Mapping[str, Views] | None = None,
    leave_out: Collection[str] = (),
) -> Iterator[Finding]:
    """Check a method on a small ViT and a small ResNet, with and without local views.

    Args:
        cls: the method.
        config: its configuration; None: `Config.for_checks()`, or its defaults.
        backbone, args: a factory and its arguments, in place of ViT and ResNet.
        views: batches by what they are called, in place of those with and without local views.
        leave_out: names of checks that are not made, such as `EXPENSIVE`.
    """
    config = yield from configured(cls, config, it_is_built)
    if config is None:
        return
    with one_thread():
        kits = settings(cls, config, backbone, args or {}, views or default_views())
        yield from _at_all(kits, leave_out)


def default_views() -> dict[str, Views]:
    """Two global views, without and with two local ones."""
    return {"no local views": make_views(0), "2 local views": make_views(2)}


def settings(
    cls: type[Method],
    config: Any,
    backbone: Callable[..., Backbone] | None,
    args: Mapping[str, Any],
    views: Mapping[str, Views],
) -> dict[str, MethodKit]:
    """A kit for each network with each batch of views."""
    networks: Mapping[str, Any] = {"vit": "vit", "resnet": "resnet"}
    if backbone is not None:
        networks = {"its backbone": backbone}
    return {
        f"{name}, {seen}": MethodKit(cls, config, _setup(network, args, batch), batch)
        for name, network in networks.items()
        for seen, batch in views.items()
    }


def _setup(network: Any, args: Mapping[str, Any], views: Views) -> SmallSetup:
    _, batch, channels, side, _ = views.global_views.shape
    return SmallSetup(network, batch_size=batch, channels=channels, image_size=side, args=args)


def _at_all(kits: Mapping[str, MethodKit], leave_out: Collection[str]) -> Iterator[Finding]:
    alive = yield from pass_gates(GATES, kits)
    if not alive:
        return
    with ExitStack() as stack:  # two processes work while the checks below do
        pair = None if TWO in leave_out else stack.enter_context(started(alive))
        yield from examine(_wanted(CHECKS, leave_out), alive)
        yield from examine(_wanted(ONCE, leave_out), dict(list(alive.items())[-1:]))
        if pair is not None:
            for where, kit in alive.items():
                yield run(partial(_two, pair, where), where, kit, TWO)


def _wanted(checks: Sequence[Check[MethodKit]], leave_out: Collection[str]) -> list[Check[MethodKit]]:
    return [check for check in checks if check.__name__ not in leave_out]


def _two(pair: Pair | NotChecked, where: str, kit: MethodKit) -> str | None:
    if isinstance(pair, NotChecked):
        raise pair
    return compare(kit, pair.traces(where))
