"""Portraits side by side."""

import pytest
import torch
from torch import nn

from rectifid_core.discriminators.panels import PanelDiscriminator
from rectifid_core.identity.encoding import encode_identity


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


@pytest.fixture
def eye():
    return PanelDiscriminator(Mean(), name="mean", digest="", input_size=4, mean=0.0, std=1.0)


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((8, 8), [(0, 0, 8, 8)]),
        ((8, 6), [(0, 0, 6, 8)]),
        ((8, 11), [(0, 0, 11, 8)]),
        ((8, 16), [(0, 0, 8, 8), (8, 0, 16, 8)]),
        ((8, 25), [(0, 0, 8, 8), (8, 0, 17, 8), (17, 0, 25, 8)]),
    ],
)
def test_a_panel_is_as_wide_as_high_or_nearly(eye, size, boxes):
    found = eye.locate(torch.zeros(2, 3, *size))
    assert [[region.box for region in each] for each in found] == [boxes, boxes]


def test_the_box_is_that_of_every_panel():
    eye = PanelDiscriminator(
        Mean(), name="mean", digest="", input_size=4, mean=0.0, std=1.0, box=(0.25, 0.0, 0.75, 0.5)
    )
    (found,) = eye.locate(torch.zeros(1, 3, 8, 16))
    assert [region.box for region in found] == [(2, 0, 6, 4), (10, 0, 14, 4)]


def test_of_two_people_in_a_reference_one_has_to_be_chosen(eye):
    couple = torch.zeros(3, 8, 16)
    couple[0, :, :8], couple[1, :, 8:] = 1.0, 1.0
    with pytest.raises(ValueError, match="2 portraits"):
        encode_identity(eye, [couple])
    left, right = (encode_identity(eye, [couple], strategy="index", index=i).embedding for i in (0, 1))
    assert left.tolist() == [1, 0, 0] and right.tolist() == [0, 1, 0]
    mask = torch.zeros(8, 16)
    mask[4:, 9:12] = 1
    assert encode_identity(eye, [couple], masks=[mask]).embedding.tolist() == right.tolist()
