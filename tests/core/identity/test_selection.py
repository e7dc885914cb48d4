"""Regions, and which of them is meant."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.identity.selection import select_region
from rectifid_core.images.masks import box_of
from rectifid_core.images.regions import Region, overlap, whole

SIZE = (100, 200)  # height, width
LARGE, LEFT, CENTRAL = (
    Region((120, 10, 180, 90)),
    Region((5, 60, 25, 90)),
    Region((80, 30, 115, 70)),
)
FACES = [LARGE, LEFT, CENTRAL]


@pytest.mark.parametrize(("strategy", "meant"), [("largest", LARGE), ("leftmost", LEFT), ("central", CENTRAL)])
def test_the_one_that_is_meant(strategy, meant):
    assert FACES[select_region(FACES, "face", SIZE, strategy=strategy)] is meant


def test_by_number():
    assert [select_region(FACES, "face", SIZE, strategy="index", index=i) for i in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"no face number 3.*number 0 at \(150, 50\)"):
        select_region(FACES, "face", SIZE, strategy="index", index=3)


def test_only_wants_one():
    assert select_region([LEFT], "face", SIZE) == 0
    with pytest.raises(ValueError, match="3 faces.*number 0 .*number 2"):
        select_region(FACES, "face", SIZE)


def test_nothing_found():
    with pytest.raises(ValueError, match="no face found"):
        select_region([], "face", SIZE, strategy="largest")


def test_a_mask_chooses():
    mask = torch.zeros(SIZE)
    mask[55:100, 0:60] = 1
    assert FACES[select_region(FACES, "face", SIZE, strategy="largest", mask=mask)] is LEFT
    with pytest.raises(ValueError, match="mask covers no face"):
        select_region(FACES, "face", SIZE, mask=torch.zeros(SIZE))
    with pytest.raises(ValueError, match="mask.*100 x 200.*200 x 100"):
        select_region(FACES, "face", SIZE, mask=mask.T)


def test_a_region_beyond_the_border_under_a_mask():
    outside = Region((-40, -40, -5, -5))
    beyond = Region((150, 50, 260, 140))
    assert select_region([outside, beyond], "face", SIZE, mask=torch.ones(SIZE)) == 1


def test_overlap():
    assert overlap(LARGE, LARGE) == 1
    assert overlap(LARGE, LEFT) == 0
    assert overlap(Region((0, 0, 2, 2)), Region((1, 0, 3, 2))) == pytest.approx(1 / 3)
    assert overlap(Region((1, 1, 1, 1)), Region((1, 1, 1, 1))) == 0


def test_boxes():
    assert whole(torch.zeros(3, 10, 20)).box == (0, 0, 20, 10)
    mask = torch.zeros(10, 20)
    mask[3, 4] = mask[7, 15] = 1
    assert box_of(mask).box == (4, 3, 16, 8)
    with pytest.raises(ValueError, match="mask is empty"):
        box_of(mask / 2)


def test_of_what_words_found_the_best_is_meant():
    assert select_region(FACES, "dog", SIZE, by_words=True) == 0
    assert FACES[select_region(FACES, "dog", SIZE, strategy="leftmost", by_words=True)] is LEFT
