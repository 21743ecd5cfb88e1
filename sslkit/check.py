"""The door to the conformance kit for a command: find what is meant, check all of it, say what to change."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from sslkit.conformance.asked import Asked, views_of
from sslkit.conformance.augmentation import augmentation_findings
from sslkit.conformance.backbone import backbone_findings
from sslkit.conformance.configs import config_finding, config_for_checks
from sslkit.conformance.dataset import dataset_findings
from sslkit.conformance.evaluator import evaluator_findings
from sslkit.conformance.executor import executor_findings
from sslkit.conformance.findings import CONFIG, PRELIMINARY, Finding, NotChecked, run
from sslkit.conformance.method import method_findings
from sslkit.conformance.sought import SINGULAR, Meant, Sought, find
from sslkit.conformance.tracker import tracker_findings
from sslkit.conformance.watching import watching_hooks_hear_a_run
from sslkit.conformance.wording import summary, told

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
        """Whether no check failed."""
        return all(finding.status != "failed" for finding in self.findings)


@dataclass
class Outcome:
    """What was found for a word."""

    word: str
    checked: list[Checked] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 where a check failed."""
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
        say: hears each line as it is known.
        width: columns of the lines.

    Raises:
        SslkitError: nothing of that name is there, or an override fits nothing.
    """
    asked, outcome = Asked.read(overrides), Outcome(word)
    teller = Teller(say or (lambda line: None), width)
    with find(word, kind=kind, plugins=plugins) as meant:
        configs = _configs(meant)
        asked.check_used(configs)
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
        self.say(f"{kind} {name}" + (f", of {plugin}" if plugin != name else ""))
        heard: list[Finding] = []
        for _, group in groupby(findings, key=lambda finding: finding.check):
            of_one_check = list(group)
            heard += of_one_check
            for line in told(of_one_check, self.width):
                self.say(line)
        self.say(f"{summary(name, heard)}\n")
        return Checked(kind, name, plugin, tuple(heard))


def _configs(meant: Meant) -> dict[str, Any]:
    components = {each.name: each.offer.component for each in meant.components}
    return {name: found.Config for name, found in components.items() if hasattr(found, "Config")}


def _of_plugin(meant: Meant) -> Iterator[Finding]:
    yield from meant.loading
    if meant.watches:
        yield run(watching_hooks_hear_a_run, "", meant.load)


def _findings(sought: Sought, meant: Meant, asked: Asked) -> Iterator[Finding]:
    component = sought.offer.component
    if sought.kind == "backbones":
        yield from backbone_findings(component, asked.args)
        return
    try:
        config = config_for_checks(component, asked.changes(sought.kind, component.Config))
    except NotChecked as reason:
        yield config_finding(component)
        yield Finding("it_is_built", "", "skipped", str(reason))
        return
    yield from _KINDS[sought.kind](component, config, meant, asked)


def _method(component: Any, config: Any, meant: Meant, asked: Asked) -> Iterator[Finding]:
    chosen = asked.augmentation
    section = {k: v for k, v in asked.sections.get("augment", {}).items() if k != "name"}
    views = None if chosen is None else views_of(chosen, meant.registry, section)
    yield from _with_networks(partial(method_findings, component, config, views=views), meant, asked)


def _evaluator(component: Any, config: Any, meant: Meant, asked: Asked) -> Iterator[Finding]:
    ask = partial(evaluator_findings, component, config, registry=meant.registry)
    yield from _with_networks(ask, meant, asked)


def _with_networks(
    findings: Callable[..., Iterator[Finding]], meant: Meant, asked: Asked
) -> Iterator[Finding]:
    """With the backbone that is named; else with ViT and ResNet, or if refused its plugin's own."""
    if asked.backbone is not None:
        factory = meant.registry.get("backbones", asked.backbone, where="backbone.name")
        yield from findings(backbone=factory, args=asked.args)
        return
    passed = set()
    for finding in findings():
        passed |= {finding.check} if finding.status == "passed" else set()
        yield finding
    if passed <= {*PRELIMINARY}:
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
