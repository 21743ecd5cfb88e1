"""The built-in data: scenes of known objects with classes, identities and masks; no download."""

from PIL import Image

from sslkit.core.dataset import Dataset, DataSource, Sample
from sslkit.data.decode import from_picture
from sslkit.data.scenes import (
    CLASS_NAMES,
    IDENTITY_NAMES,
    SPLITS,
    ScenesConfig,
    fingerprint,
    load_scenes,
)
from sslkit.data.splits import missing_split
from sslkit.errors import DataError
from sslkit.hookspecs import hookimpl


class Demo(Dataset):
    """Scenes drawn from OpenMoji (openmoji.org, CC BY-SA 4.0): splits train, val and unseen."""

    Config = ScenesConfig

    def __init__(self, config: ScenesConfig, source: DataSource) -> None:
        if source.root is not None:
            raise DataError(
                f"the demo draws its own images, but data.root is {source.root}\n"
                "  for images of your own: data.name=folder data.root=DIR (or parquet, webdataset, timm)"
            )
        if source.split not in SPLITS:
            raise missing_split("the demo", source.split, list(SPLITS))
        self._scenes = load_scenes(config, source.split)
        self._split, self._channels = source.split, source.channels
        self._told_apart = config.objects > 1
        self._identity = f"demo {fingerprint(config, source.split)}"
        self.has_masks = config.objects > 0
        self.instances = len(IDENTITY_NAMES) if self.has_masks else None
        self.classes = CLASS_NAMES if self.has_masks and source.labels != "none" else None

    def __len__(self) -> int:
        return len(self._scenes.images)

    def key(self, index: int) -> str:
        return f"{self._split}/{index}"

    def identity(self) -> str:
        return self._identity

    def __getitem__(self, index: int) -> Sample:
        image = from_picture(Image.fromarray(self._scenes.images[index]), self._channels)
        if not self.has_masks:
            return Sample(image, None, self.key(index))
        return Sample(
            image,
            None if self.classes is None else int(self._scenes.labels[index]),
            self.key(index),
            mask=self._scenes.masks[index],
            instance=int(self._scenes.identities[index]),
            objects=self._scenes.objects[index] if self._told_apart else None,
        )


@hookimpl
def sslkit_datasets() -> dict[str, type[Dataset]]:
    return {"demo": Demo}
