"""What every method must keep to, one function a check, in the order in which they are told."""

# B images, D features, K prototypes

import math
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import replace
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.conformance.devices import Reads, works_on_another_device
from sslkit.conformance.findings import NotChecked, demand, few
from sslkit.conformance.method_kit import MethodKit, differing, moved, state_of
from sslkit.conformance.snapshot import changed, unsaved
from sslkit.core.backbone import Backbone
from sslkit.core.method import Method, StepOutput
from sslkit.errors import SslkitError
from sslkit.train.loop import STEP_NUMBERS, TAKEN

# --- gates: without these, nothing else can be said --------------------------------------------------------


def it_is_built(kit: MethodKit) -> None:
    """It is built on this network; a `SslkitError` from `__init__` says that it is not for it."""
    try:
        method = kit.build()
    except SslkitError as error:
        raise NotChecked(f"it refuses this network: {error}") from error
    demand(isinstance(method, Method), f"it is a {type(method).__name__}, not a sslkit.Method")


def loss_is_finite_and_has_a_gradient(kit: MethodKit) -> None:
    """A scalar that is differentiated to the end; a `SslkitError` from `forward` refuses the views."""
    method = kit.build()
    try:
        output = kit.forward(method)
    except SslkitError as error:
        raise NotChecked(f"it refuses these views: {error}") from error
    _check_output(output)
    demand(
        output.loss.requires_grad, "the loss has no gradient: was it detached, or made under torch.no_grad()?"
    )
    output.loss.backward()
    bad = [n for n, p in method.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    demand(
        not bad,
        f"the gradient of {few(bad)} is not finite: guard square roots, logarithms and divisions",
    )
    reached = any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    demand(reached, "no parameter gets a gradient: is the loss computed from the backbone's features?")


def _check_output(output: StepOutput) -> None:
    demand(
        isinstance(output, StepOutput),
        f"forward gives a {type(output).__name__}; return StepOutput(loss, ...)",
    )
    demand(
        output.loss.shape == (),
        f"the loss has shape {tuple(output.loss.shape)}; it must be a scalar, []: take its mean",
    )
    demand(math.isfinite(output.loss.item()), f"the loss is {output.loss.item()}")


# --- what a step gives -------------------------------------------------------------------------------------


def loss_is_finite_in_bf16(kit: MethodKit) -> None:
    """And so is its gradient, under `torch.autocast`, as `runtime.precision=bf16` has it."""
    method = kit.build()
    with torch.autocast("cpu", torch.bfloat16):
        loss = kit.forward(method).loss
    advice = "compute the loss in float32, as x.float() or under torch.autocast(device, enabled=False)"
    demand(math.isfinite(loss.item()), f"under bf16 the loss is {loss.item()}: {advice}")
    loss.backward()
    bad = [n for n, p in method.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    demand(not bad, f"under bf16 the gradient of {few(bad)} is not finite: {advice}")


def outputs_are_detached(kit: MethodKit) -> None:
    """Metrics, carry and features have no gradient; metrics are scalars of names that are free."""
    output = kit.forward(kit.build())
    for name, value in {**output.metrics, **output.carry}.items():
        demand(isinstance(value, Tensor), f"'{name}' is a {type(value).__name__}; give a tensor")
        demand(not value.requires_grad, f"'{name}' carries a gradient: detach it")
    for name, value in output.metrics.items():
        demand(value.shape == (), f"metric '{name}' has shape {tuple(value.shape)}; metrics are scalars, []")
        demand(name not in TAKEN, f"metric '{name}' is one of the loop's own: rename it")
    if output.features is not None:
        images = kit.views.global_views.shape[1]
        demand(not output.features.requires_grad, "features carry a gradient: detach them")
        demand(
            output.features.ndim == 2 and len(output.features) == images,
            f"features have shape {tuple(output.features.shape)}, but must be [B, D] with B = {images}:"
            " those of one view",
        )


def forward_changes_no_state(kit: MethodKit) -> None:
    """But for the statistics of batch norms, and for what is kept at the first pass and stays."""
    method = kit.build()
    kit.forward(method)
    before, around = state_of(method), unsaved(method)
    kit.forward(method)
    norms = tuple(f"{name}." for name, m in method.named_modules() if isinstance(m, _BatchNorm))
    wrong = [key for key in differing(before, method.state_dict()) if not key.startswith(norms)]
    demand(not wrong, f"forward changes {few(wrong)}: move that to after_step, which gets `carry`")
    wrong = changed(around, unsaved(method))
    demand(
        not wrong, f"forward changes {few(wrong)}: give it back as a metric or as carry, or keep it nowhere"
    )


def forward_is_deterministic(kit: MethodKit) -> None:
    """The same step in two instances: the same loss and gradients, bit for bit."""
    methods = kit.build(), kit.build()
    first, second = (kit.forward(method).loss for method in methods)
    demand(
        torch.equal(first, second),
        f"the same step gave {first.item()} and {second.item()}: draw only from torch's global generator"
        " (no generator of your own, no numpy, no random)",
    )
    for loss in (first, second):
        loss.backward()
    gradients = [dict(_gradients(method)) for method in methods]
    demand(not differing(*gradients), f"the same step gave two gradients of {few(differing(*gradients))}")


def gradients_only_where_declared(kit: MethodKit) -> None:
    """What gets a gradient is in a parameter group, and what is in one gets a gradient."""
    method = kit.build()
    kit.forward(method).loss.backward()
    declared = {id(p) for group in method.parameter_groups() for p in group.parameters.values()}
    stray = [n for n, p in method.named_parameters() if p.grad is not None and id(p) not in declared]
    demand(
        not stray,
        f"{few(stray)} gets a gradient but is in no group of parameter_groups(), so that it never learns:"
        " add it, or call requires_grad_(False) on it",
    )
    idle = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    demand(
        not idle,
        f"{few(idle)} is to learn (requires_grad) but gets no gradient, which stops a run on several"
        " processes: use it in the loss, or call requires_grad_(False) on it (a teacher: ema.start_as_copy)",
    )


def encoder_is_part_of_the_method(kit: MethodKit) -> None:
    """`encoder` is a backbone and a submodule, so that it is saved and evaluated."""
    method = kit.build()
    demand(
        isinstance(method.encoder, Backbone),
        f"encoder is a {type(method.encoder).__name__}, not a Backbone: give back what setup.backbone() gave",
    )
    demand(
        any(module is method.encoder for module in method.modules()),
        "the encoder is not a submodule of the method: assign it to an attribute in __init__",
    )


def labels_matter_only_where_declared(kit: MethodKit) -> None:
    """Other or missing labels change no loss, unless the method says that it needs them."""
    labels = kit.views.labels
    if labels is None:
        raise NotChecked("these views have no labels")
    own, others = (
        kit.forward(kit.build(), replace(kit.views, labels=x)).loss for x in (labels, labels.flip(0))
    )
    if kit.cls.needs_labels:
        demand(not torch.equal(own, others), "it declares needs_labels, but its loss ignores the labels")
        return
    advice = "declare `needs_labels = True` in the class, or leave views.labels alone"
    demand(torch.equal(own, others), f"the loss depends on labels: {advice}")
    setup = replace(kit.setup, num_classes=None)
    without = replace(kit, setup=setup, views=replace(kit.views, labels=None))
    demand(
        torch.equal(own, without.forward(without.build()).loss), f"the loss changes without labels: {advice}"
    )


def diagnosis_names_its_metrics(kit: MethodKit) -> None:
    """`signs` speak of metrics that there are; `assignments` gives probabilities of `prototypes`."""
    method = kit.build()
    output = kit.forward(method)
    known = {*output.metrics, *STEP_NUMBERS}
    unknown = {key for sign in method.signs for key in sign.when if key not in known}
    demand(
        not unknown,
        f"signs name {few(sorted(unknown))}, which is no metric of it; it has {few(list(known), 20)}",
    )
    if type(method).assignments is Method.assignments:
        return
    images = kit.views.global_views[0]
    with torch.no_grad():
        shares = method.assignments(method.encoder(images))
    wanted = (len(images), method.prototypes or shares.shape[-1])
    demand(
        shares.shape == wanted,
        f"assignments give {tuple(shares.shape)} of {len(images)} images, but must give {wanted}, [B, K]",
    )
    sums = shares.float().sum(1)
    demand(
        torch.allclose(sums, torch.ones_like(sums), atol=1e-3) and bool((shares >= 0).all()),
        f"assignments of an image add up to {sums[0].item():.3g}, but they are probabilities: take a softmax",
    )


# --- where a step runs -------------------------------------------------------------------------------------


def it_works_on_a_gpu(kit: MethodKit) -> None:
    """Tensors are made where their inputs are; without a GPU told on torch's device without numbers."""

    def whole_step(device: torch.device) -> None:
        method = deepcopy(kit.build()).to(device)
        output = kit.forward(method, moved(kit.views, device))
        output.loss.backward()
        method.before_step(kit.progress())
        kit.after(method, output)

    works_on_another_device(whole_step)


def a_step_waits_for_no_device(kit: MethodKit) -> None:
    """Nothing is read from a tensor (`.item()`, `float()`, `if`), and nothing is printed."""
    method, reads, printed = kit.build(), Reads(), StringIO()
    with reads, redirect_stdout(printed):
        output = kit.forward(method)
        kit.after(method, output)
    place = f" at {reads.places[0]}" if reads.places else ""
    demand(
        not reads.places,
        f"a number is read from a tensor{place}: a step must not wait for the device. No .item(), float(),"
        " bool() or `if` on a tensor; torch.where, clamp and masks do without",
    )
    demand(not printed.getvalue(), f"it prints {printed.getvalue()[:40]!r}: give numbers back as metrics")


def it_takes_micro_batches(kit: MethodKit) -> None:
    """A step of two halves (`optim.accumulate=2`): `after_step` gets both outputs."""
    trainer = kit.trainer(kit.build(), accumulate=2)
    losses = [kit.step(trainer) for _ in range(2)]
    demand(all(map(math.isfinite, losses)), f"with optim.accumulate=2 the losses are {losses}")


def it_takes_grey_images(kit: MethodKit) -> None:
    """Images of one channel: whatever depends on their number asks `setup.channels`."""
    setup = replace(kit.setup, channels=1)
    grey = replace(kit, setup=setup, views=_grey(kit))
    try:
        loss = grey.forward(grey.build()).loss
    except SslkitError as error:
        raise NotChecked(f"it refuses one channel: {error}") from error
    demand(math.isfinite(loss.item()), f"on images of one channel the loss is {loss.item()}")


def _grey(kit: MethodKit) -> Any:
    local = kit.views.local_views
    return replace(
        kit.views,
        global_views=kit.views.global_views[:, :, :1],
        local_views=None if local is None else local[:, :, :1],
    )


# --- learning ----------------------------------------------------------------------------------------------


def loss_falls_on_a_fixed_batch(kit: MethodKit) -> None:
    """Eight steps on one batch; teacher, centre and queue stand still, so that the task stays the same."""
    method = kit.build()
    learning = [p for group in method.parameter_groups() for p in group.parameters.values()]
    optimizer = torch.optim.AdamW(learning, lr=3e-4, weight_decay=0)
    losses = [_step_alone(kit, method, optimizer) for _ in range(8)]
    shown = ", ".join(f"{loss:.4g}" for loss in losses)
    demand(
        all(map(math.isfinite, losses)),
        f"in eight steps on one batch the loss does not stay finite: {shown}. Guard square roots, logarithms"
        " and divisions",
    )
    demand(
        min(losses[1:]) < losses[0],
        f"eight steps on one batch do not lower the loss: {shown}. Is its sign right, does the gradient reach"
        " the backbone?",
    )


def _step_alone(kit: MethodKit, method: Method, optimizer: torch.optim.Optimizer) -> float:
    """An optimiser step without `after_step`; the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    loss = kit.forward(method).loss
    loss.backward()
    method.before_step(kit.progress())
    optimizer.step()
    return loss.item()


def _gradients(method: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, p.grad) for name, p in method.named_parameters() if p.grad is not None)


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on many threads, and sums are then the same on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
