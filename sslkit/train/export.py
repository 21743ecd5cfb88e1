"""A backbone as a file that timm loads, and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from sslkit.core.backbone import Backbone
from sslkit.doors import built_ins, packages
from sslkit.errors import RunError
from sslkit.plugins import Registry
from sslkit.recipe.schema import BackboneSection
from sslkit.train.checkpoint import mismatches
from sslkit.train.rundir import RunDirectory

FILE_NAME = "backbone.safetensors"


def build_backbone(
    section: BackboneSection,
    registry: Registry,
    *,
    channels: int,
    image_size: int,
    drop_path_rate: float | None = None,
) -> Backbone:
    """The recipe's backbone, untrained or from `section.weights`: any timm model, or a plugin's.

    Raises `PluginError` for an unknown name, `RecipeError` for an argument that the network does not take,
    `RunError` for weights that do not match to the last tensor.
    """
    from sslkit.nn.backbones import timm_backbone

    own = registry.names("backbones")
    args = dict(section.args)
    rate = section.drop_path_rate if drop_path_rate is None else drop_path_rate
    common: dict[str, Any] = {"channels": channels, "image_size": image_size, "drop_path_rate": rate}
    if section.name in own:
        backbone: Backbone = registry.get("backbones", section.name)(**common, **args)
    else:
        backbone = timm_backbone(section.name, args=args, known=own, **common)
    if section.weights is not None:
        load_weights(backbone, Path(section.weights))
    return backbone


def save_backbone(backbone: Backbone, section: BackboneSection, path: Path, **build: int) -> None:
    """Write the network's weights under timm's own key names, and in the metadata how to build it again."""
    metadata = {
        **{key: json.dumps(value) for key, value in backbone.export_metadata.items()},
        "sslkit": json.dumps({"name": section.name, "args": section.args, **build}),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in backbone.network.state_dict().items()}
    aside = path.with_suffix(".tmp")
    save_file(tensors, aside, metadata)
    _sort_header(aside)
    aside.replace(path)


def _sort_header(path: Path) -> None:
    """Make equal content equal bytes: safetensors writes its metadata in a random order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length
        file.seek(8)
        file.write(text.ljust(length))


def load_backbone(run: str | Path, registry: Registry | None = None) -> Backbone:
    """The trained backbone of a run directory or a `backbone.safetensors`, on the CPU, in eval mode.

    `load_backbone(run)(images)` maps [B, C, H, W], normalised as in training, to features [B, D]; its
    `network` is the plain timm module. Raises `RunError` where there is none.
    """
    path = backbone_file(run)
    built = built_with(path)
    section = BackboneSection(built["name"], args=built["args"])
    backbone = build_backbone(
        section,
        registry or Registry.load(kept_plugins(path.parent), blocked=blocked_in(path.parent)),
        channels=built["channels"],
        image_size=built["image_size"],
        drop_path_rate=0.0,
    )
    load_weights(backbone, path)
    return backbone.eval()


def built_with(path: Path) -> dict[str, Any]:
    """What the network of a `backbone.safetensors` was built from: name, args, channels, image_size.

    Raises `RunError` for a file that sslkit did not write.
    """
    try:
        return dict(json.loads(_metadata(path)["sslkit"]))
    except KeyError:
        raise RunError(
            f"{path} does not say how its network is built: sslkit did not write it\n"
            f"  for weights of a timm network: sslkit eval timm:NAME backbone.weights={path}"
        ) from None


def kept_plugins(run_dir: Path) -> list[str]:
    """The one-file plugins that a run keeps copies of."""
    return [str(path.resolve()) for path in sorted((run_dir / "plugins").glob("*.py"))]


def blocked_in(run_dir: Path) -> list[str]:
    """Names of the plugins that a run was told to leave out, as far as they are still there."""
    plugins = RunDirectory(run_dir).read_record().get("plugins", [])
    names = [plugin["name"] for plugin in plugins if plugin["status"] == "left out"]
    there = [*built_ins(), *packages()] if names else []
    return [name for name in names if any(candidate.called([name]) for candidate in there)]


def backbone_file(run: str | Path) -> Path:
    """The `backbone.safetensors` of a run directory, or the file itself."""
    path = Path(run)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise RunError(
            f"there is no {path}: a run writes it when it ends\n"
            "  give a finished run directory or a backbone.safetensors"
        )
    return path


def timm_call(backbone: Backbone) -> str | None:
    """The Python call that builds the network without sslkit; None for one that timm does not have."""
    import timm

    built = backbone.export_metadata
    if not timm.is_model(built["name"]):
        return None
    args = "".join(f", {key}={value!r}" for key, value in built["args"].items())
    return f'timm.create_model("{built["name"]}", num_classes=0{args})'


def load_weights(backbone: Backbone, path: Path) -> None:
    """Load all of a `backbone.safetensors` (or a run directory's) into a backbone, or nothing."""
    path = backbone_file(path)
    saved, own = load_file(path), backbone.network.state_dict()
    if wrong := mismatches(saved, own):
        raise RunError(
            f"{path} does not fit the backbone: {len(wrong)} tensors are missing, too many or of another"
            f" shape, such as {', '.join(wrong[:3])}\n  it holds {_metadata(path).get('name', 'a network')}"
            f" with {_metadata(path).get('args', 'arguments unknown')}"
        )
    backbone.network.load_state_dict(saved)


def _metadata(path: Path) -> Mapping[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise RunError(f"{path} is not a safetensors file: {error}") from error
