from __future__ import annotations

import numpy as np
import pytest
import torch

from rectifid_core.report.filmstrip import SIDE, chosen, filmstrip, small
from rectifid_core.report.report import Report


def report(similarity, found=None):
    """One sample, a picture of one grey for each iterate."""
    made = Report({})
    made.number = list(range(len(similarity)))
    made.similarity = [[each] for each in similarity]
    made.found = [[each] for each in found or [True] * len(similarity)]
    made.predicted = [False] * len(similarity)
    made.pictures = [np.full((1, 40, 60, 3), 10 * i, np.uint8) for i in range(len(similarity))]
    return made


def test_it_shows_the_first_the_best_the_last_and_every_nth():
    climb = report([0.1, 0.2, 0.3, 0.9, 0.4, 0.5, 0.6, 0.7])
    assert chosen(climb, 0) == [0, 3, 7]
    assert chosen(climb, 2) == [0, 2, 3, 4, 6, 7]


def test_a_picture_without_it_is_never_the_best():
    assert chosen(report([0.1, 0.9, 0.4, 0.2], [True, False, True, True]), 0) == [0, 2, 3]
    assert chosen(report([0.1, 0.9], [False, False]), 0) == [0, 1]


def test_the_pictures_stand_side_by_side_under_words():
    strip = filmstrip(report([0.1, 0.5, 0.3]), 0)
    assert strip.shape == (62, 3 * 64 - 4, 3)
    assert [strip[50, 64 * i + 30, 0] for i in range(3)] == [0, 10, 20]
    assert (strip[:22, :60] < 128).any(), "the number and the similarity"


def test_a_report_without_pictures_says_so_on_a_page():
    page = filmstrip(Report({}), 5)
    assert page.ndim == 3 and page.shape[-1] == 3 and page.min() < 255


@pytest.mark.parametrize(("size", "expected"), [((64, 64), (64, 64)), ((1024, 512), (256, SIDE)), ((2, 4), (2, 4))])
def test_a_small_picture_keeps_its_proportions(size, expected):
    picture = small(torch.full((2, 3, *size), 0.5))
    assert picture.shape == (2, *expected, 3) and picture.dtype == np.uint8 and (picture == 128).all()
