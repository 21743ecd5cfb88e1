"""The colours of a parse: parts have hues near their whole's."""

from itertools import groupby

import numpy as np
from matplotlib.colors import rgb_to_hsv

from sslkit_glom.figure import parse_colours

# Two wholes; two parts of each, of which one part of the second reaches over into the first; single places.
WHOLES = np.array([[0, 0, 0, 1, 1, 1]] * 4)
PARTS = np.array([[0, 0, 2, 2, 2, 3], [0, 0, 2, 2, 2, 3], [1, 1, 1, 3, 3, 3], [1, 1, 1, 3, 3, 3]])
PLACES = np.arange(24).reshape(4, 6)
OF_PARTS = {0: 0, 1: 0, 2: 1, 3: 1}
"""The whole that each part lies in for the most part."""


def hues(picture: np.ndarray, islands: np.ndarray) -> dict[int, float]:
    """The one hue of each island; fails where an island has two colours."""
    found = {}
    for number in np.unique(islands).tolist():
        (colour,) = np.unique(picture[islands == number], axis=0)
        found[number] = float(rgb_to_hsv(colour)[0])
    return found


def apart(first: float, second: float) -> float:
    """On the circle of hues, 0 to 0.5."""
    return abs((first - second + 0.5) % 1 - 0.5)


def test_parts_have_hues_near_their_wholes_down_to_the_lowest_level() -> None:
    levels = [PLACES, PARTS, WHOLES]
    pictures = parse_colours(levels)
    assert [picture.shape for picture in pictures] == [(4, 6, 3)] * 3
    places, parts, wholes = (hues(p, level) for p, level in zip(pictures, levels, strict=True))
    for part, whole in OF_PARTS.items():
        assert apart(parts[part], wholes[whole]) < apart(parts[part], wholes[1 - whole])
    in_order = [int(PARTS.ravel()[place]) for place in sorted(places, key=places.__getitem__)]
    assert [part for part, _ in groupby(in_order)] == sorted(parts, key=parts.__getitem__)


def test_no_two_islands_of_a_level_look_alike() -> None:
    for picture, islands in zip(parse_colours([PLACES, PARTS, WHOLES]), (PLACES, PARTS, WHOLES), strict=True):
        colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
        assert len(colours) == len(np.unique(islands))


def test_larger_islands_get_more_of_the_hues() -> None:
    """Three quarters and a quarter of the image: the middles of hues 0 to .75 and .75 to 1."""
    level = np.array([[0, 0, 0, 1]])
    (picture,) = parse_colours([level])
    found = hues(picture, level)
    np.testing.assert_allclose([found[0], found[1]], [0.375, 0.875], atol=1e-3)
