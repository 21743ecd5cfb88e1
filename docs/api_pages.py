"""The pages on Python: public modules with their classes and functions; `make_reference.py` writes them.

In a repository browser a module is a table of names; in the site `site_hooks.py` puts its signatures and
docstrings in the table's place.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import reference_pages

TOP = Path(__file__).parent.parent
MADE = "Made from the docstrings by `docs/make_reference.py`; a test holds it up to date."


@dataclass(frozen=True)
class Module:
    """A module, or some names of one."""

    name: str
    names: tuple[str, ...] = ()
    """Which of its names are public; empty: those of `__all__`, else all classes and functions."""


@dataclass(frozen=True)
class Topic:
    """One page."""

    title: str
    head: str
    modules: tuple[Module, ...]


TOPICS = {
    "running": Topic(
        "Running",
        "What the commands do, from Python or a notebook. `import sslkit` offers `sslkit.run` and "
        "`sslkit.load_backbone`; the others are imported by their module.",
        (
            Module("sslkit.run", ("run", "dry_run", "evaluate_run", "Findings")),
            Module("sslkit.session", ("RunResult",)),
            Module("sslkit.train.export", ("load_backbone",)),
            Module("sslkit.train.trackers", ("read_records",)),
            Module("sslkit.compare", ("compare", "save")),
            Module("sslkit.ablate", ("ablate", "Outcome")),
            Module("sslkit.reproduce", ("reproduce", "Reproduction", "Finding")),
        ),
    ),
    "method": Topic(
        "Methods and backbones",
        "The interface of a method, and what it is built with. How to write one: [writing a "
        "method](../methods.md).",
        (
            Module("sslkit.core.method"),
            Module("sslkit.core.backbone"),
            Module("sslkit.core.diagnosis"),
            Module("sslkit.core.schedules"),
            Module("sslkit.core.ema"),
            Module("sslkit.core.collectives"),
            Module("sslkit.core.randomness"),
            Module("sslkit.core.patches"),
        ),
    ),
    "components": Topic(
        "The other components",
        "What augmentations, data sets, evaluators, trackers and executors derive from, and parts for them.",
        (
            Module("sslkit.core.augmentation"),
            Module("sslkit.core.dataset"),
            Module("sslkit.core.evaluator"),
            Module("sslkit.core.tracker"),
            Module("sslkit.core.executor"),
            Module("sslkit.core.extras"),
            Module("sslkit.data.demo", ("Demo",)),
            Module("sslkit.data.decode", ("decode", "SUFFIXES")),
            Module("sslkit.data.splits", ("existing_root", "split_folder")),
            Module("sslkit.data.folder", ("labels_of",)),
            Module(
                "sslkit.augment.crop", ("choose_boxes", "canvas_boxes", "resample", "ASPECTS", "CANDIDATES")
            ),
            Module("sslkit.executors.local", ("LocalConfig", "LocalExecutor")),
            Module("sslkit.plugins", ("Registry",)),
        ),
    ),
    "hooks": Topic(
        "Hooks",
        "How a plugin says what it adds and what it watches. In short: [hooks](../reference/hooks.md).",
        (Module("sslkit.hookspecs", ("API_VERSION", "hookimpl", *reference_pages.hook_names())),),
    ),
    "testing": Topic(
        "Conformance kit",
        "Whether a component keeps to its interface; the built-in ones pass it too.",
        (Module("sslkit.testing"),),
    ),
    "losses": Topic(
        "Losses",
        "Pure functions: tensors in, a scalar out, differentiable, in float32 or float64.",
        (
            Module("sslkit.losses.dino"),
            Module("sslkit.losses.byol"),
            Module("sslkit.losses.info_nce"),
            Module("sslkit.losses.patch"),
            Module("sslkit.losses.spectrum"),
            Module("sslkit.losses.dtype"),
        ),
    ),
    "networks": Topic(
        "Networks",
        "Heads, queues, batch norm over processes, attention of any timm network.",
        (
            Module("sslkit.nn.heads"),
            Module("sslkit.nn.queue"),
            Module("sslkit.nn.batch_norm"),
            Module("sslkit.nn.attention"),
        ),
    ),
    "evaluation": Topic(
        "Measures",
        "The numbers of the evaluators as functions, and what evaluators are made with. What the numbers "
        "mean: [what features can do](../index.md#what-are-the-features-good-for).",
        (
            Module("sslkit.eval.bootstrap", ("mean_estimate", "estimate")),
            Module("sslkit.eval.health_intervals", ("jackknife",)),
            Module("sslkit.eval.knn", ("knn_votes",)),
            Module("sslkit.eval.retrieval", ("average_precision",)),
            Module("sslkit.eval.copies", ("gem", "micro_average_precision")),
            Module("sslkit.eval.copy_making", ("make_copy", "KINDS")),
            Module("sslkit.eval.attention", ("mass_mask",)),
            Module(
                "sslkit.eval.health",
                (
                    *("rankme", "alignment", "uniformity", "alpha_req", "feature_std", "dead_dimensions"),
                    "teacher_entropy_and_kl",
                ),
            ),
            Module("sslkit.eval.features", ("eval_mode",)),
            Module("sslkit.eval.floors", ("untrained",)),
            Module("sslkit.eval.in_memory", ("spread",)),
            Module("sslkit.style"),
        ),
    ),
    "methods": Topic(
        "The built-in methods",
        "Classes that a method of your own may derive from or look at. What each does: [the built-in "
        "methods](../methods.md#the-built-in-methods).",
        tuple(
            Module(f"sslkit.methods.{name}")
            for name in ("dino", "byol", "simclr", "mocov2", "mocov3", "patch", "supervised")
        ),
    ),
    "errors": Topic(
        "Errors",
        "What users are told: what was got, what is valid, how to mend it. The command line prints them "
        "without a traceback and ends with 2.",
        (Module("sslkit.errors"),),
    ),
}


def pages() -> dict[str, str]:
    """Every page by its path below docs/."""
    made = {f"api/{name}.md": "\n".join(topic_page(topic)) + "\n" for name, topic in TOPICS.items()}
    return {"api/index.md": "\n".join(index()) + "\n", **made}


def index() -> Iterator[str]:
    yield f"# Python\nEverything that is public, by module. {MADE}"
    yield "What stays as it is, and how it changes: [what is public](../api_stability.md).\n"
    yield "| page | modules |\n|---|---|"
    for name, topic in TOPICS.items():
        modules = ", ".join(f"[`{m.name}`]({name}.md#{anchor(m.name)})" for m in topic.modules)
        yield f"| [{topic.title}]({name}.md) | {modules} |"
    yield "\n## import sslkit\nThe names that most plugins need, imported when they are first used:\n"
    yield "| name | from |\n|---|---|"
    offered = imports("sslkit")
    for name in sorted(set(literal_all("sslkit")) & set(offered)):
        module = offered[name]
        yield f"| `sslkit.{name}` | [`{module}`]({page_of(module)}.md#{anchor(module)}) |"


def topic_page(topic: Topic) -> Iterator[str]:
    yield f"# {topic.title}\n{topic.head}"
    for module in topic.modules:
        names = list(module.names or public_names(module.name))
        yield f"\n## {module.name}\n[Source](../../{path_of(module.name).relative_to(TOP).as_posix()})\n"
        yield f"<!-- api: {' '.join([module.name, *names])} -->"
        yield f"{(ast.get_docstring(tree_of(module.name)) or '').partition(chr(10))[0]}\n"
        yield "| name | what it is |\n|---|---|"
        yield from (f"| `{name}` | {told(module.name, name)} |" for name in names)
        yield "<!-- /api -->"


def public_names(module: str) -> Iterator[str]:
    """What `__all__` says, but for constants; without one, classes and functions with a docstring."""
    own, imported = documented(module), imports(module)
    exported = literal_all(module)
    for name in exported or own:
        if not name.startswith("_") and not name.isupper() and (name in own or name in imported):
            yield name


def told(module: str, name: str) -> str:
    """The first paragraph of a docstring, as a cell of a table; of a name from elsewhere, there."""
    own = documented(module)
    if name not in own and name in imports(module):
        return told(imports(module)[name], name)
    return " ".join(own.get(name, "").partition("\n\n")[0].split()).replace("|", r"\|")


@cache
def documented(module: str) -> dict[str, str]:
    """The docstrings of a module's classes, functions and constants that have one, in their order."""
    found = {}
    for statement, following in pairwise([*tree_of(module).body, ast.Pass()]):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            found[statement.name] = ast.get_docstring(statement) or ""
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            found[ast.unparse(target)] = text_of(following)
    return {name: text for name, text in found.items() if text}


def text_of(statement: ast.stmt) -> str:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


@cache
def imports(module: str) -> dict[str, str]:
    """Names that a module takes from another one of sslkit, with that module."""
    nodes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: node.module
        for node in nodes
        for alias in node.names
        if node.module is not None and node.module.startswith("sslkit")
    }


def literal_all(module: str) -> list[str]:
    for statement in tree_of(module).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return list(ast.literal_eval(statement.value))
    return []


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text(encoding="utf-8"))


def path_of(module: str) -> Path:
    path = TOP / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def page_of(module: str) -> str:
    return next(page for page, topic in TOPICS.items() if module in [m.name for m in topic.modules])


def anchor(module: str) -> str:
    return module.replace(".", "")
