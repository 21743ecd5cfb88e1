"""Features on disk, in parts, for the same weights and the same files alone.

`<root>/<fingerprint>/<first row>.safetensors`; the fingerprint is a hash of everything that a feature depends
on. To forget them all, delete the root (`rm -r RUN/cache`).
"""

# N images of the set, n images of a part, D features

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sslkit.core.backbone import Backbone
from sslkit.core.evaluator import EvalBatch, Extractor, ImageSet
from sslkit.data.cache import write_aside

FORMAT = 1
"""Raise it when the same file gives other pixels, or the same pixels other features."""
KEPT = 16
"""Fingerprints that are kept; the longest unused go first."""
_PACKAGES = ("sslkit", "torch", "timm", "pillow", "numpy")


@runtime_checkable
class Identified(Protocol):
    """An image set that knows what it is made of, and can be gone through from any place on."""

    def identity(self) -> str | None:
        """Changes whenever the images may differ; None: that cannot be told."""
        ...

    def batches(self, start: int = 0) -> Iterator[EvalBatch]: ...


@dataclass(frozen=True)
class Part:
    """Features of consecutive images, with what else the pass told of them."""

    features: Tensor
    """[n, D] float32."""
    labels: Tensor | None
    """[n] int64."""
    instances: Tensor | None
    """[n] int64."""
    skipped: Mapping[str, str]
    """Reasons of the images that could not be read, by key."""


@dataclass
class FeatureCache:
    """The features of one backbone, on a device, in a precision."""

    root: Path
    backbone: Backbone
    computed: str
    """Where and how it computes, such as "cpu float32", and with which plugins."""
    used: set[Path] = field(default_factory=set)
    written: int = 0
    """Images whose features were written."""

    def folder(self, image_set: ImageSet, extract: Extractor) -> "Folder | None":
        """Where the features of a set are; None: what the set is made of cannot be told."""
        identity = image_set.identity() if isinstance(image_set, Identified) else None
        if identity is None:
            return None
        facts = {
            "format": FORMAT,
            "packages": {name: version(name) for name in _PACKAGES},
            "backbone": f"{type(self.backbone).__module__}.{type(self.backbone).__qualname__}",
            "built": dict(self.backbone.export_metadata),
            "weights": self._weights,
            "computed": self.computed,
            "extract": f"{type(extract).__module__}.{type(extract).__qualname__}: {extract.name}",
            "images": identity,
        }
        text = json.dumps(facts, sort_keys=True, default=str)
        path = self.root / hashlib.sha256(text.encode()).hexdigest()[:32]
        self.used.add(path)
        self._forget_old()
        return Folder(path, self)

    @cached_property
    def _weights(self) -> str:
        return digest_of(self.backbone)

    def _forget_old(self) -> None:
        with suppress(OSError):
            folders = sorted(self.root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in folders[KEPT:]:
                if path not in self.used:
                    shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Folder:
    """The parts of one set's features."""

    path: Path
    cache: FeatureCache

    def parts(self) -> Iterator[Part]:
        """Whole parts from the first image on, until one is missing or damaged."""
        with suppress(OSError):
            os.utime(self.path)  # used now: not the next to go
        start = 0
        while (part := _read(self._file(start))) is not None:
            yield part
            start += len(part.features)

    def write(self, start: int, part: Part) -> None:
        """Keep a part whose first image has place `start`; where nothing can be written, go on without."""
        tensors = {"features": part.features, "labels": part.labels, "instances": part.instances}
        known = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
        skipped = json.dumps(dict(part.skipped))
        told = {"skipped": skipped, "sha256": _digest(known, skipped)}

        def write(file: IO[bytes]) -> None:
            file.write(save(known, told))

        with suppress(OSError):
            write_aside(self._file(start), write)
            self.cache.written += len(part.features)

    def _file(self, start: int) -> Path:
        return self.path / f"{start:010}.safetensors"


def digest_of(backbone: Backbone) -> str:
    """Hash of all tensors that a backbone and its network hold."""
    modules: tuple[nn.Module, ...] = (backbone, backbone.network)
    return _digest({f"{i}.{k}": v for i, module in enumerate(modules) for k, v in _state(module).items()})


def _state(module: nn.Module) -> dict[str, Tensor]:
    """With the buffers that are not saved: a feature depends on them as well."""
    return {**dict(module.named_buffers()), **module.state_dict()}


def _digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> Part | None:
    """A part; None where there is none, or not as it was written."""
    try:
        with safe_open(path, framework="pt") as file:
            told: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    skipped = told.get("skipped", "")
    if told.get("sha256") != _digest(tensors, skipped):
        return None
    labels, instances = tensors.get("labels"), tensors.get("instances")
    return Part(tensors["features"], labels, instances, json.loads(skipped))
