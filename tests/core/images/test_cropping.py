"""A part of a picture around a face: where it lies, what it shows, and how its mask fades."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.images.cropping import Crop, crop_around, cut_and_scale, soft_mask
from rectifid_core.images.regions import Region

SIZE = (200, 300)


def test_the_margin_is_on_each_side():
    assert crop_around(Region((100, 80, 140, 120)), SIZE, (512, 512), 0.5) == Crop(80, 60, 80, 80)
    assert crop_around(Region((100, 80, 140, 120)), SIZE, (512, 512), 0.0) == Crop(100, 80, 40, 40)


def test_the_longer_side_of_a_face_counts():
    assert crop_around(Region((100, 80, 130, 120)), SIZE, (512, 512), 0.5) == Crop(75, 60, 80, 80)


@pytest.mark.parametrize("drawn", [(512, 1024), (1024, 512), (768, 1024)])
def test_it_has_the_proportions_of_what_is_drawn(drawn):
    crop = crop_around(Region((120, 90, 150, 130)), SIZE, drawn, 0.5)
    assert abs(crop.width * drawn[0] / drawn[1] - crop.height) <= 1
    assert crop.width >= 70 and crop.height >= 80, "no less than the face with its margins"
    assert abs(crop.x + crop.width / 2 - 135) <= 0.5 and abs(crop.y + crop.height / 2 - 110) <= 0.5


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 40, 40), (0, 0, 80, 80)),
        ((260, 160, 300, 200), (220, 120, 80, 80)),
        ((-40, 80, 20, 120), (0, 60, 80, 80)),
        ((280, 80, 340, 120), (220, 60, 80, 80)),
    ],
    ids=["corner", "other corner", "beyond the left edge", "beyond the right edge"],
)
def test_near_a_border_it_is_moved_and_not_cut(box, expected):
    """Of a face that leaves the picture, the part in it counts: 20 x 40 pixels."""
    assert crop_around(Region(box), SIZE, (512, 512), 0.5) == expected


def test_a_large_margin_gives_as_much_as_there_is():
    assert crop_around(Region((100, 80, 140, 120)), SIZE, (512, 512), 4.0) == Crop(20, 0, 200, 200)
    assert crop_around(Region((100, 80, 140, 120)), SIZE, (400, 600), 4.0) == Crop(0, 0, 300, 200)


def test_a_face_for_which_there_is_no_room_is_named_with_advice():
    with pytest.raises(ValueError, match=r"280 x 190 pixels.*512 : 512.*300 x 200 has room for 200 x 200.*proportions"):
        crop_around(Region((10, 5, 290, 195)), SIZE, (512, 512), 0.5)


def test_what_is_cut_out_is_what_lies_there():
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    crop = Crop(20, 30, 60, 40)
    assert torch.equal(cut_and_scale(image, crop, (40, 60)), image[:, 30:70, 20:80])
    large = cut_and_scale(image, crop, (400, 600))
    assert large.shape == (3, 400, 600) and large.min() >= 0 and large.max() <= 1
    torch.testing.assert_close(large.mean(), image[:, 30:70, 20:80].mean(), atol=0.01, rtol=0)


def test_the_mask_is_whole_in_the_middle_and_fades_at_the_edges():
    mask = soft_mask(Crop(20, 30, 60, 60), SIZE, (64, 64))
    assert (mask[8:-8, 8:-8] == 1).all()
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert edge.max() < 0.1
    rising = mask[32, :9]
    assert (rising.diff() > 0).sum() == 8
    assert torch.equal(mask, mask.flip(0)) and torch.equal(mask, mask.flip(1))


@pytest.mark.parametrize(
    ("crop", "whole"),
    [
        (Crop(0, 30, 60, 60), "left"),
        (Crop(240, 30, 60, 60), "right"),
        (Crop(20, 0, 60, 60), "top"),
        (Crop(20, 140, 60, 60), "bottom"),
    ],
)
def test_at_the_border_of_the_picture_there_is_nothing_to_fade_into(crop, whole):
    mask = soft_mask(crop, SIZE, (64, 64))
    middles = {"left": mask[32, 0], "right": mask[32, -1], "top": mask[0, 32], "bottom": mask[-1, 32]}
    assert [side for side, value in middles.items() if value == 1] == [whole]
