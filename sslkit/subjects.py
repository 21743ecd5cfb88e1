"""What `sslkit eval` is asked about: a run, a checkpoint of one, a backbone's file, or a timm network."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sslkit.core.evaluator import Subject
from sslkit.core.randomness import seeded
from sslkit.data.cache import cache_folder
from sslkit.errors import RunError
from sslkit.recipe.load import Loaded, load_recipe
from sslkit.recipe.schema import Recipe
from sslkit.recipe.write import differences, plain_recipe
from sslkit.stations import Facts, build_method
from sslkit.train import checkpoint
from sslkit.train.checkpoint import checkpoints
from sslkit.train.export import FILE_NAME, build_backbone, built_with, load_backbone
from sslkit.train.rundir import RunDirectory, next_free

TIMM = "timm:"
"""What a word begins with that names a network of timm's."""
RESIZE = 256 / 224
"""Short side of an image over the side of its crop, where nothing else is known (ImageNet's custom)."""
_MOVES = ("data", "data.name", "data.root")


@dataclass(frozen=True)
class Asked:
    """Somebody's question: which backbone on which images, and where the answer goes."""

    loaded: Loaded
    """The recipe with the data that it is evaluated on."""
    own: Recipe
    """The recipe that it was trained with; of a backbone alone the same."""
    subject: Subject
    step: int
    figures: Path
    cache: Path
    """Folder of features that were computed before."""
    metrics: Path | None
    """File that the numbers are added to; None: there is no run."""
    elsewhere: str | None
    """What other images than the run's own are called."""


def ask(
    word: str | Path,
    overrides: Sequence[str],
    *,
    plugins: Sequence[str] = (),
    no_plugins: Sequence[str] = (),
    out: str | Path | None = None,
) -> Asked:
    """Find what is meant, and load it.

    Args:
        word: a run directory, a checkpoint folder, a `backbone.safetensors`, or timm:NAME.
        out: folder for pictures and tables; None: the run's own, or the next free `eval-NAME`.

    Raises:
        SslkitError: there is no such run, file or network.
    """
    how = {"plugins": plugins, "no_plugins": no_plugins}
    moved = any(override.partition("=")[0] in _MOVES for override in overrides)
    words = ["eval.data=null", *overrides] if moved else list(overrides)
    if str(word).startswith(TIMM):
        return _timm(str(word).removeprefix(TIMM), words, out, **how)
    path = _shortest(Path(word).resolve())
    return _file(path, words, out, **how) if path.is_file() else _run(path, str(word), words, out, **how)


def _shortest(path: Path) -> Path:
    """As it is told: from the current folder where it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _run(path: Path, word: str, words: Sequence[str], out: str | Path | None, **how: Any) -> Asked:
    is_checkpoint = path.absolute().parent.name == "checkpoints"
    directory = RunDirectory(_shortest(path.absolute().parent.parent) if is_checkpoint else path)
    if not directory.holds_a_run:
        raise RunError(
            f"there is no run in {word}\n  name the directory of a run, one of its checkpoints,"
            f" a {FILE_NAME}, or {TIMM}NAME"
        )
    loaded = load_recipe(directory.recipe, words, **how)
    own = load_recipe(directory.recipe, **how).recipe
    subject, step = _subject(loaded, directory, path)
    other = elsewhere(own, loaded.recipe)
    if out is not None:
        figures = Path(out)
    elif other is None:
        figures = directory.figures
    else:  # the pictures of the run's own images stay
        figures = directory.figures / re.sub(r"[^\w.=-]+", "-", other)
    return Asked(loaded, own, subject, step, figures, directory.path / "cache", directory.metrics, other)


def _subject(loaded: Loaded, directory: RunDirectory, path: Path) -> tuple[Subject, int]:
    """A run's newest backbone or that of a checkpoint, and the step that it stands at."""
    newest = path if path != directory.path else checkpoint.newest_sound(directory.checkpoints)[0]
    if newest is None:
        step = int(directory.read_record().get("step") or 0)
        return Subject(load_backbone(directory.path / FILE_NAME, loaded.registry)), step
    problem = checkpoint.damage(newest)
    if problem is not None:
        names = ", ".join(p.name for p in checkpoints(directory.checkpoints)) or "none"
        raise RunError(f"{newest} cannot be read: {problem}\n  valid: {names}")
    setup = directory.read_record().get("setup") or {}
    if set(setup) != {f.name for f in fields(Facts)}:
        raise RunError(
            f"{directory.record} does not say how the method was built: it is damaged, or of an older sslkit"
            f"\n  its backbone alone can be evaluated: sslkit eval {directory.path / FILE_NAME}"
        )
    method = build_method(loaded.recipe, loaded.registry, Facts(**setup), load_weights=False)
    checkpoint.load_method(method, newest)
    step = json.loads((newest / "state.json").read_text())["step"]
    return Subject(method.encoder, method), step


def _file(path: Path, words: Sequence[str], out: str | Path | None, **how: Any) -> Asked:
    """A backbone's file; where its run's recipe lies beside it, seen as that run sees images."""
    beside = RunDirectory(path.parent)
    if beside.holds_a_run:
        loaded = load_recipe(beside.recipe, words, **how)
    else:
        built = built_with(path)
        network = {"name": built["name"], "args": built["args"]}
        loaded = _alone(network, words, built["image_size"], {"channels": built["channels"]}, **how)
    name = path.absolute().parent.name if path.name == FILE_NAME else path.stem
    return _bare(loaded, Subject(load_backbone(path, loaded.registry)), name, out)


def _timm(name: str, words: Sequence[str], out: str | Path | None, **how: Any) -> Asked:
    """A network with the weights of `backbone.weights`, or with initial ones, drawn from the seed."""
    import timm

    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    side, data = 224, dict[str, Any]()
    if known is not None:
        side = int(known.input_size[-1])
        data = {"mean": list(known.mean), "std": list(known.std)}
    if any(word.startswith("data.channels=") for word in words):
        data = {}
    loaded = _alone({"name": name}, words, side, data, **how)
    recipe = loaded.recipe
    with seeded(recipe.seed, "weights"):
        backbone = build_backbone(
            recipe.backbone,
            loaded.registry,
            channels=recipe.data.channels,
            image_size=side,
            drop_path_rate=0.0,
        )
    return _bare(loaded, Subject(backbone.eval()), name, out)


def _alone(
    network: Mapping[str, Any], words: Sequence[str], side: int, data: Mapping[str, Any], **how: Any
) -> Loaded:
    """A recipe for a backbone that no run is known of."""
    if not any(word.partition("=")[0] in _MOVES for word in words):
        raise RunError(
            "a backbone alone says nothing of images: say which\n"
            "  data.name=folder data.root=DIR, or the built-in data.name=demo"
        )
    recipe = {
        "sslkit": 1,
        "backbone": network,
        "data": data,
        "optim": {"batch_size": 1},  # it is not trained: any number of images is enough
        "eval": {"resize": round(side * RESIZE), "crop": side},
    }
    return load_recipe(recipe, words, **how)


def _bare(loaded: Loaded, subject: Subject, name: str, out: str | Path | None) -> Asked:
    figures = next_free(Path(f"eval-{name}")) if out is None else Path(out)
    return Asked(loaded, loaded.recipe, subject, 0, figures, cache_folder(), None, None)


# --- on which images -------------------------------------------------------------------------------------


_HOW = frozenset(
    (
        "data.workers",
        "data.on_error",
        "data.max_broken",
        "data.canvas",
        "eval.batch_size",
        "eval.every_epochs",
    )
)
"""Keys that change how images are read, and not which."""
_TOLD = frozenset(("data.name", "data.root", "data.eval_split"))
"""Keys that the name itself tells of."""


def elsewhere(own: Recipe, recipe: Recipe) -> str | None:
    """What other images than the run's own are called, such as folder:photos/val; None for its own.

    Args:
        own: the recipe of the run.
        recipe: the one that it is evaluated with.
    """
    changed = [key for key in differences(own, recipe) if _matters(key, own, recipe)]
    if not changed:
        return None
    kind, split, root = recipe.data.name, recipe.data.eval_split, recipe.data.root
    if recipe.eval.data is not None:
        kind, split, root = (recipe.eval.data[key] for key in ("name", "eval_split", "root"))
    told = [key for key in changed if key not in _TOLD and not key.startswith("eval.data")]
    given = (f"{key.rpartition('.')[2]}={_value(recipe, key)}" for key in told)
    return " ".join((f"{kind}{f':{Path(root).name}' if root else ''}/{split}", *given))


def _matters(key: str, own: Recipe, recipe: Recipe) -> bool:
    if key == "data.root" and own.data.root and recipe.data.root:
        return Path(own.data.root).resolve() != Path(recipe.data.root).resolve()
    other = key.startswith(("data.", "eval.")) and not key.startswith("eval.evaluators")
    return other and key not in _HOW


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = plain_recipe(recipe)
    for part in key.split("."):
        value = value[part]
    return value
