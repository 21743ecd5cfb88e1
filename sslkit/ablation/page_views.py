"""What the arms see: crops where the augmentation differs, whole images where the data do."""

# B images, V views of an image, C channels, h, w sides of a view

import io
import json
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sslkit.ablation.result import StudyResult
from sslkit.ablation.study import Arm, Study
from sslkit.ablation.tables import value_words
from sslkit.errors import DataError, SslkitError
from sslkit.recipe.write import plain_recipe
from sslkit.report.page_pictures import data_uri
from sslkit.report.rendering import Missing

if TYPE_CHECKING:
    from torch import Tensor

    from sslkit.recipe.load import Loaded
    from sslkit.recipe.schema import Recipe

CROPPED_IMAGES = 3
LOOKED_AT = 32
"""The first images, among which those are chosen whose crops show most of what the arms change."""
WHOLE_IMAGES = 8
MOST_VIEWS = 4
"""Of an image: two global crops and two local ones, or as many global ones."""
LARGEST = 96
"""Side of a picture on the page, pixels; larger ones are made smaller."""
NO_PICTURE = ("workers", "on_error", "max_broken")
"""Keys of `data` that change nothing in what is seen."""

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Tile:
    """A small picture."""

    source: str
    """A data URI."""
    is_local: bool = False
    is_enlarged: bool = False
    """Whether each of its pixels should be seen."""


@dataclass(frozen=True)
class Strip:
    """What arms of the same section see."""

    names: tuple[str, ...]
    changes: tuple[str, ...]
    """Of the section, against the baseline's; empty of the baseline."""
    groups: tuple[tuple[Tile, ...], ...]
    """For each image its tiles."""


@dataclass(frozen=True)
class Crops:
    """One row for each augmentation, the baseline's first."""

    rows: tuple[Strip, ...]
    whole: tuple[Tile, ...]
    """The images that the crops are of; none where they are of different images."""
    drawn_alike: bool
    """Whether an operation that two arms have changes their crops alike."""


def crops(result: StudyResult, missing: list[Missing]) -> Crops | None:
    """Crops that each augmentation makes; None where no arm changes them, or they cannot be made.

    `missing` is told why.
    """
    groups = _by_section(result.study, "augment")
    found = _tried(groups, "crops", _cropped, missing) if len(groups) > 1 else []
    if not found:
        return None
    recipes = [arms[0].recipe for arms, _ in found]
    same_images = len({(_section(recipe, "data"), recipe.optim.batch_size) for recipe in recipes}) == 1
    chosen = _telling([seen.views for _, seen in found]) if same_images else range(CROPPED_IMAGES)
    rows = [_strip(arms, "augment", seen.tiles(chosen)) for arms, seen in found]
    whole = [_tile(found[0][1].images[i]) for i in chosen] if same_images else []
    return Crops(tuple(rows), tuple(whole), same_images and len({r.augment.name for r in recipes}) == 1)


def whole_images(result: StudyResult, missing: list[Missing]) -> tuple[Strip, ...]:
    """The first training images where arms differ in their data; none as `crops` is None."""
    groups = _by_section(result.study, "data")
    found = _tried(groups, "images", _whole, missing) if len(groups) > 1 else []
    return tuple(_strip(arms, "data", [[_tile(image) for image in images]]) for arms, images in found)


# --- which arms --------------------------------------------------------------------------------------------


def _by_section(study: Study, section: str) -> list[list[Arm]]:
    """Arms of an equal section together, the baseline's first."""
    found: dict[str, list[Arm]] = {}
    for arm in study.arms:
        found.setdefault(_section(arm.recipe, section), []).append(arm)
    return list(found.values())


def _section(recipe: "Recipe", section: str) -> str:
    values = {key: value for key, value in plain_recipe(recipe)[section].items() if key not in NO_PICTURE}
    return json.dumps(values, sort_keys=True, default=str)


def _tried(
    groups: Sequence[Sequence[Arm]], what: str, see: Callable[["Loaded"], Seen], missing: list[Missing]
) -> list[tuple[Sequence[Arm], Seen]]:
    """What each group sees, of its first arm; where that fails why, told once for all of the same reason."""
    found, failed = list[tuple[Sequence[Arm], Seen]](), dict[str, list[str]]()
    for arms in groups:
        try:
            found.append((arms, see(arms[0].loaded)))
        except Exception as error:  # whatever is wrong with the data, the rest of the page stands
            failed.setdefault(_reason(error), []).extend(arm.name for arm in arms)
    missing += [Missing(f"{what} of {', '.join(names)}", why) for why, names in failed.items()]
    return found


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, SslkitError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0]


def _strip(arms: Sequence[Arm], section: str, groups: Sequence[Sequence[Tile]]) -> Strip:
    names = tuple(arm.name for arm in arms)
    return Strip(names, tuple(_changes(arms[0], section)), tuple(map(tuple, groups)))


def _changes(arm: Arm, section: str) -> Iterator[str]:
    for key, (before, now) in arm.differs_in.items():
        head, _, rest = key.partition(".")
        if head == section:
            yield f"{rest or head} {value_words(before)} → {value_words(now)}"


# --- what they see -----------------------------------------------------------------------------------------

View = tuple["Tensor", bool]
"""[C, h, w] in [0, 1], and whether it is a local one."""


@dataclass(frozen=True)
class _Cropped:
    """Some images and their views."""

    images: list["Tensor"]
    """[C, H, W] in [0, 1] each, in their own proportions."""
    views: list[list[View]]
    """By image."""

    def tiles(self, chosen: Container[int]) -> list[list[Tile]]:
        """The views of some of the images."""
        return [[_tile(*view) for view in views] for i, views in enumerate(self.views) if i in chosen]


def _cropped(loaded: "Loaded") -> _Cropped:
    from sslkit.report.crops import first_views

    canvas, size, views = first_views(loaded.recipe, loaded.registry, most=LOOKED_AT)
    local = () if views.local_views is None else tuple(views.local_views)  # [B, C, h, w] each
    chosen = [(view, False) for view in views.global_views[: 2 if local else MOST_VIEWS]]
    chosen += [(view, True) for view in local[: MOST_VIEWS - len(chosen)]]
    images = [_unsquashed(image, *hw) for image, hw in zip(canvas, size.tolist(), strict=True)]
    return _Cropped(images, [[(view[i], is_local) for view, is_local in chosen] for i in range(len(images))])


def _unsquashed(canvas: "Tensor", height: int, width: int) -> "Tensor":
    """A uint8 canvas [C, S, S] in the image's proportions, no side longer than S: [C, H, W] in [0, 1]."""
    import torch.nn.functional as F

    side = canvas.shape[-1] / max(height, width)
    shape = [max(1, round(height * side)), max(1, round(width * side))]
    return F.interpolate(canvas[None].float(), shape, mode="nearest-exact")[0] / 255


def _telling(views: Sequence[Sequence[Sequence[View]]]) -> list[int]:
    """Images in whose crops each arm can be told from the baseline; what few of them show comes first.

    Args:
        views: by augmentation, the baseline's first, and by image.
    """
    baseline, *others = views
    images = range(len(baseline))
    shows = {i: {arm for arm, own in enumerate(others) if _differ(baseline[i], own[i])} for i in images}
    left = set().union(*shows.values())
    chosen: list[int] = []
    while left and len(chosen) < CROPPED_IMAGES:
        rarest = min(left, key=lambda arm: sum(arm in shows[i] for i in images))
        best = max((i for i in images if rarest in shows[i]), key=lambda i: len(shows[i] & left))
        chosen.append(best)
        left -= shows[best]
    return sorted([*chosen, *(i for i in images if i not in chosen)][:CROPPED_IMAGES])


def _differ(a: Sequence[View], b: Sequence[View]) -> bool:
    pairs = zip(a, b, strict=False)  # an arm may make fewer crops
    return any(x.shape != y.shape or bool((x - y).abs().max() > 0.02) for (x, _), (y, _) in pairs)


def _whole(loaded: "Loaded") -> list["Tensor"]:
    """The first images of step 0 that can be read, [C, H, W] in [0, 1] each."""
    import torch

    from sslkit.data.loader import step_rows
    from sslkit.data.open import open_train

    recipe, images = loaded.recipe, list[torch.Tensor]()
    data = open_train(recipe, loaded.registry)
    for index in step_rows(len(data), recipe.seed, 0, recipe.optim.batch_size)[:WHOLE_IMAGES].tolist():
        try:
            images.append(torch.from_numpy(data[index].image).permute(2, 0, 1) / 255)
        except DataError:
            continue
    return images


def _tile(image: "Tensor", is_local: bool = False) -> Tile:
    """An image [C, h, w] in [0, 1] as a PNG that loses nothing, unless it is too large."""
    from PIL import Image

    from sslkit.style import shown

    picture = Image.fromarray((255 * shown(image)).round().astype("uint8"))
    is_small = max(picture.size) <= LARGEST
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return Tile(data_uri(file.getvalue(), "image/png"), is_local, is_small)
