"""Scores of segments against scikit-learn and against counts by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, jaccard_score

from sslkit_glom.scores import ari, best_jaccard, best_mask_jaccard, figure, jaccard, score_segments

OBJECTS = np.array([[0, 0, 0, 0], [0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 255, 255]], np.uint8)
SEGMENTS = np.array([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 2], [0, 0, 2, 2]])


def test_ari_is_scikit_learns_over_the_pixels_that_count() -> None:
    counted = OBJECTS != 255
    assert ari(SEGMENTS, OBJECTS) == adjusted_rand_score(OBJECTS[counted], SEGMENTS[counted])
    on = counted & (OBJECTS > 0)
    assert ari(SEGMENTS, OBJECTS, background=False) == adjusted_rand_score(OBJECTS[on], SEGMENTS[on])
    assert ari(OBJECTS.astype(np.int64), OBJECTS) == 1


def test_each_object_takes_its_best_segment() -> None:
    # object 1: 4 of 5 pixels of segment 1; object 2: 1 of segment 1 (union 6), 1 of segment 2 (union 2)
    assert best_jaccard(SEGMENTS, OBJECTS) == pytest.approx((4 / 5 + 1 / 2) / 2)
    masks = np.stack([n == SEGMENTS for n in range(3)])
    assert best_mask_jaccard(masks, OBJECTS) == pytest.approx(best_jaccard(SEGMENTS, OBJECTS))


def test_the_figure_is_all_but_what_has_the_border() -> None:
    mask, counted = figure(SEGMENTS), OBJECTS != 255
    assert np.array_equal(mask, SEGMENTS > 0)
    wanted = jaccard_score(OBJECTS[counted] > 0, mask[counted])
    assert jaccard(mask, OBJECTS) == pytest.approx(wanted)
    assert score_segments(SEGMENTS, OBJECTS).figure_jaccard == pytest.approx(wanted)


def test_what_an_image_does_not_have_is_not_scored() -> None:
    empty, one = np.zeros((4, 4), np.uint8), np.where(OBJECTS == 1, 1, 0).astype(np.uint8)
    score = score_segments(SEGMENTS, empty)
    assert all(map(math.isnan, (score.objects_ari, score.jaccard, score.figure_jaccard)))
    assert math.isnan(best_mask_jaccard(SEGMENTS[None] > 0, empty))
    assert math.isnan(ari(SEGMENTS, one, background=False))
    assert not math.isnan(ari(SEGMENTS, one))
    assert math.isnan(ari(SEGMENTS, np.full((4, 4), 255, np.uint8)))


def test_one_segment_is_no_better_than_chance() -> None:
    score = score_segments(np.zeros((4, 4), np.int64), OBJECTS)
    assert score.ari == 0
    assert score.figure_jaccard == 0
    assert score.jaccard == pytest.approx((4 / 14 + 2 / 14) / 2)
