"""What holds of any boxes: their overlap is a similarity of places, and sizes follow the box."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rectifid_core.images.regions import Region, overlap, whole
from tests.helpers.properties import examples

NUMBERS = st.floats(-500, 500, allow_nan=False, width=32)
SIDES = st.floats(0.5, 400, width=32)


@st.composite
def regions(draw) -> Region:
    left, top, width, height = (draw(each) for each in (NUMBERS, NUMBERS, SIDES, SIDES))
    return Region((left, top, left + width, top + height))


def moved(region: Region, dx: float, dy: float, factor: float = 1.0) -> Region:
    left, top, right, bottom = region.box
    return Region((factor * left + dx, factor * top + dy, factor * right + dx, factor * bottom + dy))


@examples(50)
@given(regions(), regions())
def test_overlap_is_symmetric_and_between_none_and_all(a, b):
    assert overlap(a, b) == overlap(b, a)
    assert 0 <= overlap(a, b) <= 1 + 1e-12


@examples(50)
@given(regions())
def test_a_box_overlaps_itself_wholly(region):
    assert overlap(region, region) == pytest.approx(1)


@examples(50)
@given(regions(), regions(), NUMBERS, NUMBERS, st.floats(0.25, 4, width=32))
def test_overlap_stays_when_both_are_moved_and_scaled(a, b, dx, dy, factor):
    expected = overlap(a, b)
    assert overlap(moved(a, dx, dy, factor), moved(b, dx, dy, factor)) == pytest.approx(expected, abs=1e-9)


@examples(50)
@given(regions(), st.floats(0.125, 0.875, width=32), st.floats(0.125, 0.875, width=32))
def test_a_box_within_another_overlaps_it_by_the_share_of_their_areas(outer, x, y):
    left, top, _, _ = outer.box
    inner = Region((left, top, left + x * outer.width, top + y * outer.height))
    assert overlap(inner, outer) == pytest.approx(x * y, rel=1e-6)


@examples(50)
@given(regions(), regions())
def test_boxes_apart_do_not_overlap(a, b):
    gap = moved(b, a.box[2] - b.box[0] + 1, 0)
    assert overlap(a, gap) == 0


@examples(50)
@given(regions())
def test_sizes_follow_the_box(region):
    assert region.area == region.width * region.height > 0
    x, y = region.centre
    assert x - region.box[0] == pytest.approx(region.box[2] - x, abs=1e-6)
    assert y - region.box[1] == pytest.approx(region.box[3] - y, abs=1e-6)


@examples(50)
@given(regions())
def test_a_box_turned_inside_out_has_no_area(region):
    left, top, right, bottom = region.box
    assert Region((right, top, left, bottom)).area == 0
    assert Region((left, bottom, right, top)).area == 0


@examples(50)
@given(st.integers(1, 40), st.integers(1, 40))
def test_the_whole_image_is_a_region_of_its_size(height, width):
    region = whole(torch.zeros(3, height, width))
    assert (region.width, region.height) == (width, height)
    assert region.centre == (width / 2, height / 2)
