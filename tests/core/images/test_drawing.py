"""Pictures of regions."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.images.drawing import CHOSEN, LONGEST, OTHER, draw_regions, on_one_size
from rectifid_core.images.regions import Region

GREEN, ORANGE = (torch.tensor(color) / 255 for color in (CHOSEN, OTHER))


def at(picture, x, y):
    return picture[:, y, x]


def test_the_chosen_box_is_green_and_the_others_orange():
    regions = [Region((20, 40, 60, 100)), Region((100, 30, 180, 90))]
    picture = draw_regions(torch.zeros(3, 120, 200), regions, 1)
    assert picture.shape == (3, 120, 200)
    for region, color in zip(regions, (ORANGE, GREEN), strict=True):
        left, top, right, bottom = (int(edge) for edge in region.box)
        for x, y in ((left, bottom - 1), (right - 1, top), (right - 1, bottom - 1), (left, (top + bottom) // 2)):
            torch.testing.assert_close(at(picture, x, y), color)
        assert (at(picture, right - 8, bottom - 8) == 0).all(), "the inside stays"
    assert (at(picture, 80, 60) == 0).all() and (at(picture, 180, 90) == 0).all()


def test_the_chosen_box_is_drawn_last():
    regions = [Region((10, 10, 90, 90)), Region((10, 10, 90, 90))]
    for chosen in range(2):
        assert torch.equal(at(draw_regions(torch.zeros(3, 100, 100), regions, chosen), 89, 50), GREEN)


def test_landmarks_are_dots():
    region = Region((10, 10, 90, 90), landmarks=torch.tensor([[50.0, 60.0]]))
    torch.testing.assert_close(at(draw_regions(torch.zeros(3, 100, 100), [region]), 50, 60), ORANGE)


@pytest.mark.parametrize("box", [(-30, -30, 40, 40), (70, 70, 130, 130), (98, 98, 99, 99), (40, 40, 40, 40)])
def test_a_box_that_leaves_the_image_or_is_tiny_has_its_number_inside(box):
    with_number = draw_regions(torch.zeros(3, 100, 100), [Region(box)])
    assert (with_number == ORANGE[:, None, None]).all(dim=0).sum() > 20


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (8, 900), (700, 900)])
def test_lines_and_numbers_grow_with_the_picture(height, width):
    region = Region((0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height))
    picture = draw_regions(torch.zeros(3, height, width), [region])
    assert picture.shape == (3, height, width) and (picture != 0).any()
    if height == 700:
        row = (picture[:, 350] == ORANGE[:, None]).all(dim=0)
        assert row.sum() == 8, "two lines of four pixels"


def test_a_large_image_is_made_smaller():
    image = torch.zeros(3, 2000, 3000)
    picture = draw_regions(image, [Region((1500, 1000, 3000, 2000))])
    assert picture.shape == (3, round(LONGEST * 2 / 3), LONGEST)
    torch.testing.assert_close(at(picture, 512, 600), ORANGE)
    assert not image.any()


def test_pictures_of_different_sizes_become_one_batch():
    pictures = [torch.ones(3, 20, 40), torch.ones(3, 30, 10), torch.ones(3, 7, 7)]
    batch = on_one_size(pictures)
    assert batch.shape == (3, 3, 30, 40)
    assert [int(picture[0].sum()) for picture in batch] == [20 * 40, 30 * 10, 30 * 30]
    assert batch[2, :, :, 5:35].min() == 1 and batch[0, :, 5:25].min() == 1


def test_regions_are_numbered_in_order_above_their_boxes():
    one, other = Region((10, 30, 50, 90)), Region((50, 30, 90, 90))
    first, second = (draw_regions(torch.zeros(3, 100, 100), regions) for regions in ([one, other], [other, one]))
    changed = (first != second).any(dim=0)
    assert changed[10:30, 10:30].any() and changed[10:30, 50:70].any()
    changed[10:30, 10:30] = changed[10:30, 50:70] = False
    assert not changed.any(), "only the numbers differ, and none covers what is in the box"
