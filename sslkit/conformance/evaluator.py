"""Is this an evaluator? Every check of it, asked about small networks and pictures that know everything."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from torch import Tensor, nn

from sslkit.augment.config import MultiCropConfig
from sslkit.conformance.configs import configured
from sslkit.conformance.findings import Check, Finding, NotChecked, demand, examine, few, pass_gates
from sslkit.conformance.method_checks import one_thread
from sslkit.conformance.pictures import pictures
from sslkit.conformance.small import CROP, IMAGE, SmallSetup
from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalData, Evaluator, Need, Result, Subject
from sslkit.core.randomness import seeded
from sslkit.errors import DataError, SslkitError
from sslkit.eval.evaluate import eval_record
from sslkit.eval.features import Context
from sslkit.methods.dino import DINO, DINOConfig
from sslkit.nn.pocket import conv_pocket, vit_pocket
from sslkit.plugins import Registry
from sslkit.recipe.schema import BackboneSection, Component, DataSection, EvalSection, Recipe

NEEDS: frozenset[Need] = frozenset(get_args(Need))
VIT: Mapping[str, Any] = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
CONV: Mapping[str, Any] = {"widths": [8, 8, 16, 32], "output_stride": 8}
FEW = 3
ROUNDING = 1e-6
"""What a metric may lie beside its interval, as a share of it."""


@dataclass(frozen=True)
class Network:
    """What is evaluated: a factory by its name in recipes, and its arguments."""

    name: str
    factory: Callable[..., Backbone]
    args: Mapping[str, Any]


NETWORKS = {
    "vit": Network("vit_pocket", vit_pocket, VIT),
    "resnet": Network("conv_pocket", conv_pocket, CONV),
}


@dataclass
class EvaluatorKit:
    """An evaluator's class and configuration, a network, and where pictures go."""

    cls: type[Evaluator]
    config: Any
    network: Network
    registry: Registry
    folder: Path
    count: int = field(default=0, init=False)
    asked: Evaluator | None = field(default=None, init=False)
    """The instance that answered first."""

    def subject(self, *, bare: bool = False) -> Subject:
        """A backbone with its method, which has prototypes, in train mode as between two steps; or alone.

        One of its modules is in eval mode, as a frozen batch norm is.
        """
        setup = SmallSetup(self.network.factory, args=self.network.args, drop_path_rate=0.0)
        config = DINOConfig(out_dim=16, hidden_dim=16, bottleneck_dim=8)
        with seeded(0, "weights"):
            method = DINO(config, setup).train()
        method.encoder.requires_grad_(True)  # as in methods without a teacher
        [*method.encoder.modules()][-1].eval()  # train() on all of them would not put this back
        return Subject(method.encoder, None if bare else method)

    def ask(self, subject: Subject, data: EvalData) -> "Answer":
        """One question to the same instance, with pictures in a folder of their own."""
        self.count += 1
        figures = self.folder / f"{self.network.name}-{self.count}" / "figures"
        context = Context(
            subject,
            torch.device("cpu"),
            figures,
            100,
            self.recipe(),
            self.registry,
            lambda: data.train,
        )
        self.asked = self.asked or self.cls(self.config)
        with seeded(self.count, "somebody else's draws"):
            result = self.asked(subject, data, context)
        return Answer(result, figures)

    def recipe(self) -> Recipe:
        """Of the run that the subject is of."""
        crops = MultiCropConfig(global_size=IMAGE, local_size=CROP, local_count=2)
        return Recipe(
            backbone=BackboneSection(self.network.name, drop_path_rate=0.0, args=dict(self.network.args)),
            augment=Component("multicrop", crops),
            data=DataSection("pictures", workers=0),
            eval=EvalSection(resize=IMAGE, crop=IMAGE, batch_size=16),
        )

    @cached_property
    def first(self) -> "Answer":
        """What it says with everything there, and whether it left the subject alone."""
        subject = self.subject()
        assert subject.method is not None
        before = _state(subject.method)
        answer = self.ask(subject, pictures(IMAGE))
        return replace(answer, changes=_changes(before, _state(subject.method)))


@dataclass(frozen=True)
class Answer:
    """A result, the folder that it was to write to, and what was changed on the way."""

    result: Result
    figures: Path
    changes: tuple[str, ...] = ()


def evaluator_findings(
    cls: type[Evaluator],
    config: Any = None,
    *,
    backbone: Callable[..., Backbone] | None = None,
    args: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> Iterator[Finding]:
    """Check an evaluator on a small ViT and a small ResNet.

    Args:
        config: its configuration; None: `Config.for_checks()`, or its defaults.
        backbone, args: a factory and its arguments, in place of both.
        registry: answers for names in recipes; None: the built-ins alone.
    """
    config = yield from configured(cls, config, it_is_built)
    if config is None:
        return
    registry = registry or Registry.load(allow="")
    with kits(cls, config, _networks(backbone, args or {}, registry), registry) as asked, one_thread():
        alive = yield from pass_gates(GATES, asked)
        yield from examine(CHECKS, alive)
        yield from examine(ONCE, dict(list(alive.items())[:1]))


@contextmanager
def kits(
    cls: type[Evaluator], config: Any, networks: Mapping[str, Network], registry: Registry
) -> Iterator[dict[str, EvaluatorKit]]:
    """A kit for each network; their pictures are gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        yield {
            where: EvaluatorKit(cls, config, network, registry, folder) for where, network in networks.items()
        }


def _networks(
    backbone: Callable[..., Backbone] | None, args: Mapping[str, Any], registry: Registry
) -> dict[str, Network]:
    if backbone is None:
        return NETWORKS
    offers = registry.offers("backbones").items()
    name = next((n for n, found in offers if any(o.component is backbone for o in found)), "checked")
    return {"its backbone": Network(name, backbone, args)}


# --- gates -------------------------------------------------------------------------------------------------


def it_is_built(kit: EvaluatorKit) -> None:
    """From its configuration alone; `needs` says what the data must have."""
    built = kit.cls(kit.config)
    demand(isinstance(built, Evaluator), f"it is a {type(built).__name__}, not a sslkit.Evaluator")
    demand(
        isinstance(built.needs, frozenset) and built.needs <= NEEDS,
        f"needs is {built.needs!r}, but must be a frozenset of some of: {', '.join(sorted(NEEDS))}",
    )


def its_result_is_whole(kit: EvaluatorKit) -> str | None:
    """Metrics are finite; each is in its interval, and rests on some images; a record of it is JSON."""
    try:
        result = kit.first.result
    except SslkitError as error:
        raise NotChecked(f"it refuses this network or these pictures: {error}") from error
    demand(isinstance(result, Result), f"it gives a {type(result).__name__}, not a sslkit.Result")
    _check_numbers("", result)
    demand(not isinstance(result.notes, str), "notes is one word; it is a list of sentences: notes=(text,)")
    json.dumps(eval_record(0, "checked", pictures(IMAGE).test, result), allow_nan=False)
    return None if result.metrics else "it gives no numbers: " + (" ".join(result.notes) or "pictures alone")


def _check_numbers(where: str, result: Result) -> None:
    for name, value in result.metrics.items():
        _check_number(f"{where}metric '{name}'", value)
    for what in ("intervals", "counts"):
        strange = [name for name in getattr(result, what) if name not in result.metrics]
        demand(not strange, f"{where}{what} name {few(strange)}, which is no metric")
    for name, (low, high) in result.intervals.items():
        for end in (low, high):
            _check_number(f"{where}interval of '{name}'", end)
        value = result.metrics[name]
        rounding = ROUNDING * max(abs(low), abs(high))
        demand(
            low <= high and low - rounding <= value <= high + rounding,
            f"{where}interval of '{name}' is ({low:g}, {high:g}), but must be (low, high) around {value:g}:"
            " where drawing images again biases the number, sslkit.eval.health_intervals.jackknife does not",
        )
    for name, count in result.counts.items():
        demand(
            isinstance(count, int) and not isinstance(count, bool) and count > 0,
            f"{where}count of '{name}' is {count!r}, but must be an int above 0, the images that it rests on",
        )


def _check_number(what: str, value: Any) -> None:
    demand(
        isinstance(value, float | int) and not isinstance(value, bool),
        f"{what} is a {type(value).__name__}, but must be a float: take .item() or float()",
    )
    demand(
        math.isfinite(value),
        f"{what} is {value}: leave it out where it cannot be told, or say why in notes",
    )


# --- what it must keep to ----------------------------------------------------------------------------------


def pictures_lie_in_their_folder(kit: EvaluatorKit) -> None:
    """Every figure and table is there, below `context.figures`."""
    answer = kit.first
    for title, path in {**answer.result.figures, **answer.result.tables}.items():
        demand(isinstance(path, Path), f"'{title}' is a {type(path).__name__}, but must be a Path")
        demand(path.is_file(), f"'{title}' is {path}, where there is no file (make its folder first)")
        demand(
            path.resolve().is_relative_to(answer.figures.resolve()),
            f"'{title}' lies in {path.parent}: write below context.figures, which is this evaluator's own",
        )


def the_subject_is_left_alone(kit: EvaluatorKit) -> None:
    """Its state, its modes, its gradients: training goes on with it."""
    changes = kit.first.changes
    demand(
        not changes,
        f"it changes the subject: {few(changes)}. Work under torch.no_grad() and in eval mode, put the modes"
        " back afterwards (sslkit.eval.features.eval_mode), and change weights of a deepcopy alone",
    )


def the_same_question_has_one_answer(kit: EvaluatorKit) -> None:
    """Asked again, whatever others have drawn meanwhile; as after a resume."""
    wanted = kit.first.result.metrics
    again = kit.ask(kit.subject(), pictures(IMAGE)).result.metrics
    wrong = [name for name in {**wanted, **again} if wanted.get(name) != again.get(name)]
    demand(
        not wrong,
        f"asked again it gives other numbers ({few(wrong)}): draw from a generator with a fixed seed,"
        " torch.Generator().manual_seed(0), and keep nothing of one question for the next",
    )


def it_needs_no_more_than_it_says(kit: EvaluatorKit) -> None:
    """Data and subject have what `needs` names, and nothing else."""
    needs = kit.cls.needs
    data = pictures(IMAGE, labels="labels" in needs, masks="masks" in needs)
    bare = not needs & {"method", "prototypes"}
    lacking = ", ".join(sorted(NEEDS - needs))
    try:
        result = kit.ask(kit.subject(bare=bare), data).result
    except DataError as error:
        demand(False, f"without {lacking} it gives up: {error}. Name what it cannot do without in `needs`")
    except Exception as error:
        demand(
            False,
            f"without {lacking} it raises {type(error).__name__}: {error}. Name what it cannot do without in"
            " `needs`, and leave out the rest of what is missing",
        )
    else:
        _check_numbers(f"without {lacking} the ", result)


def few_images_end_no_run(kit: EvaluatorKit) -> None:
    """Of three images it gives what it can, a note, or a `DataError`, which skips it in one line."""
    try:
        result = kit.ask(kit.subject(), pictures(IMAGE, train=FEW, test=FEW)).result
    except DataError:
        return
    except Exception as error:
        demand(
            False,
            f"of {FEW} images it raises {type(error).__name__}: {error}, which ends a run: raise a DataError"
            " that says how many it needs",
        )
        return
    told = {n: ends for n, ends in result.intervals.items() if not all(map(math.isnan, ends))}
    _check_numbers(f"of {FEW} images the ", replace(result, intervals=told))  # of one image none can be told


def _state(method: nn.Module) -> dict[str, Any]:
    known: dict[str, Any] = {f"{n} in state_dict": v.clone() for n, v in method.state_dict().items()}
    for name, module in method.named_modules():
        known[f"train mode of {name or 'the method'}"] = module.training
        hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
        known[f"hooks of {name or 'the method'}"] = len(hooks)
    for name, parameter in method.named_parameters():
        known[f"requires_grad of {name}"] = parameter.requires_grad
        known[f"gradient of {name}"] = parameter.grad is not None
    return known


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name, value in after.items() if not _equal(before.get(name), value))


def _equal(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)


GATES: tuple[Check[EvaluatorKit], ...] = (it_is_built, its_result_is_whole)
CHECKS: tuple[Check[EvaluatorKit], ...] = (
    pictures_lie_in_their_folder,
    the_subject_is_left_alone,
)
"""Made with every network, in this order."""
ONCE: tuple[Check[EvaluatorKit], ...] = (
    the_same_question_has_one_answer,
    it_needs_no_more_than_it_says,
    few_images_end_no_run,
)
"""Made with the first network, since each asks again."""
