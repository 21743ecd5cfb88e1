"""The door to the conformance kit for a command: find what is meant, check all of it, say what to change."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from sslkit.conformance.asked import Asked, factory_of, views_of
from sslkit.conformance.augmentation import augmentation_findings
from sslkit.conformance.backbone import backbone_findings
from sslkit.conformance.configs import Changes, keys_of
from sslkit.conformance.dataset import dataset_findings
from sslkit.conformance.evaluator import evaluator_findings
from sslkit.conformance.executor import executor_findings
from sslkit.conformance.findings import CONFIG, PRELIMINARY, Finding, nothing_was_checked, run
from sslkit.conformance.method import method_findings
from sslkit.conformance.sought import Meant, Sought, find
from sslkit.conformance.tracker import tracker_findings
from sslkit.conformance.watching import watching_hooks_hear_a_run
from sslkit.conformance.wording import summary, told
from sslkit.plugins import SINGULAR
from sslkit.recipe.places import COMMAND_LINE

__all__ = ["Checked", "Outcome", "check"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Checked:
    """One component, or a plugin as a whole, and what was found."""

    kind: str
    """method, backbone, augmentation, dataset, evaluator, tracker, executor, or plugin."""
    name: str
    plugin: str
    """Where it is from."""
    findings: tuple[Finding, ...]

    @property
    def conforms(self) -> bool:
        """Whether no check failed, and some of what it does could be checked."""
        failed = any(finding.status == "failed" for finding in self.findings)
        return not (failed or nothing_was_checked(self.findings))


@dataclass
class Outcome:
    """What was found for a word."""

    word: str
    checked: list[Checked] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 where a check failed or nothing could be checked."""
        return int(not all(each.conforms for each in self.checked))

    def as_record(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        components = [{**asdict(each), "conforms": each.conforms} for each in self.checked]
        return {"checked": self.word, "exit_code": self.exit_code, "components": components}


def check(
    word: str,
    overrides: Sequence[str] = (),
    *,
    kind: str | None = None,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    say: Say | None = None,
    width: int = 100,
) -> Outcome:
    """Check a plugin's file or folder, an installed plugin, or a component by its name.

    Args:
        word: a .py file, a package's folder, an installed plugin, NAME or KIND:NAME.
        overrides: `key=value` for the components' configurations; `data.root=`, `backbone.name=`,
            `backbone.args.key=` and `augment.name=` for what they are checked with.
        kind: only components of this kind.
        plugins: further one-file plugins, such as one whose backbone is named.
        no_plugins: plugins to leave out.
        say: hears each line as it is known.
        width: columns of the lines.

    Raises:
        SslkitError: nothing of that name is there, or an override fits nothing.
    """
    asked, outcome = Asked.read(overrides), Outcome(word)
    teller = Teller(say or (lambda line: None), width)
    with find(word, kind=kind, plugins=plugins, no_plugins=no_plugins) as meant:
        _find_beside(meant, asked)
        if meant.plugin:
            outcome.checked.append(teller.hear("plugin", meant.plugin, meant.plugin, _of_plugin(meant)))
        for each in meant.components:
            found = _findings(each, meant, asked)
            outcome.checked.append(teller.hear(SINGULAR[each.kind], each.name, each.offer.info.name, found))
    return outcome


@dataclass
class Teller:
    """Says what is found as soon as a check is through with all settings."""

    say: Say
    width: int

    def hear(self, kind: str, name: str, plugin: str, findings: Iterable[Finding]) -> Checked:
        """Say all that is found of one component; gives it back."""
        self.say(f"{kind} {name}" + (f", of {plugin}" if plugin != name else ""))
        heard: list[Finding] = []
        for _, group in groupby(findings, key=lambda finding: finding.check):
            of_one_check = list(group)
            heard += of_one_check
            for line in told(of_one_check, self.width):
                self.say(line)
        self.say(f"{summary(name, heard)}\n")
        return Checked(kind, name, plugin, tuple(heard))


def _find_beside(meant: Meant, asked: Asked) -> None:
    """Load more where a component is named that is of another plugin, and refuse keys that nothing has."""
    if any(finding.status == "failed" for finding in meant.loading):
        return
    named = {"backbones": asked.backbone, "augmentations": asked.augmentation}
    if any(name is not None and name not in meant.registry.names(kind) for kind, name in named.items()):
        meant.registry = meant.load_more()
    views = asked.augmentation
    augmentation = meant.registry.get("augmentations", views, where="augment.name") if views else None
    own = {(each.kind, each.name): each.offer.component for each in meant.components}
    configs = {key: component.Config for key, component in own.items() if key[0] != "backbones"}
    asked.check_used(configs, keys_of(augmentation.Config) if augmentation else ())
    # What follows raises now what is wrong, before minutes of checks.
    _ = asked.source
    if asked.backbone is not None:
        factory_of(asked.backbone, meant.registry)
    elif asked.args and not (meant.backbones or any(kind == "backbones" for kind, _ in own)):
        raise COMMAND_LINE.error("'backbone.args' are given, but no backbone\n  add backbone.name=NAME")
    if views:
        views_of(views, meant.registry, asked.augment)


def _of_plugin(meant: Meant) -> Iterator[Finding]:
    yield from meant.loading
    if meant.watches:
        yield run(watching_hooks_hear_a_run, "", meant.load)


def _findings(sought: Sought, meant: Meant, asked: Asked) -> Iterator[Finding]:
    if (told := meant.registry.conflict(sought.kind, sought.name)) is not None:
        yield Finding("its_name_is_free", "", "failed", told)
    component = sought.offer.component
    if sought.kind == "backbones":
        yield from backbone_findings(component, asked.args if asked.backbone in (None, sought.name) else {})
        return
    changes = Changes(asked.changes(sought.kind, component.Config))
    yield from _KINDS[sought.kind](component, changes, meant, asked)


def _method(component: Any, config: Any, meant: Meant, asked: Asked) -> Iterator[Finding]:
    chosen = asked.augmentation
    views = None if chosen is None else views_of(chosen, meant.registry, asked.augment)
    yield from _with_networks(partial(method_findings, component, config, views=views), meant, asked)


def _evaluator(component: Any, config: Any, meant: Meant, asked: Asked) -> Iterator[Finding]:
    ask = partial(evaluator_findings, component, config, registry=meant.registry)
    yield from _with_networks(ask, meant, asked)


def _with_networks(
    findings: Callable[..., Iterator[Finding]], meant: Meant, asked: Asked
) -> Iterator[Finding]:
    """With the backbone that is named; else with ViT and ResNet, or if refused its plugin's own."""
    if asked.backbone is not None:
        yield from findings(backbone=factory_of(asked.backbone, meant.registry), args=asked.args)
        return
    passed, tried = set(), False
    for finding in findings():
        passed |= {finding.check} if finding.status == "passed" else set()
        tried = tried or finding.where != ""  # else it has no configuration
        yield finding
    if tried and passed <= {*PRELIMINARY}:
        for each in meant.backbones:
            again = findings(backbone=each.offer.component, args=asked.args)
            yield from (finding for finding in again if finding.check != CONFIG)


def _dataset(component: Any, config: Any, meant: Meant, asked: Asked) -> Iterator[Finding]:
    yield from dataset_findings(component, config, **asked.source)


def _plain(findings: Callable[..., Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
    return lambda component, config, meant, asked: findings(component, config)


_KINDS: Mapping[str, Callable[[Any, Any, Meant, Asked], Iterator[Finding]]] = {
    "methods": _method,
    "evaluators": _evaluator,
    "datasets": _dataset,
    "augmentations": _plain(augmentation_findings),
    "trackers": _plain(tracker_findings),
    "executors": _plain(executor_findings),
}
