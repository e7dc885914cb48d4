"""Similarity of images to an identity, by the region that is most similar."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.identity.measuring import measure
from rectifid_core.images.regions import Region
from tests.helpers.worlds import rng

LEFT, RIGHT, FAINT, FAINTER = (
    Region((16 * i, 0, 16 * i + 16, 16), score) for i, score in enumerate((0.9, 0.8, 0.4, 0.3))
)


class Tiles(EmbeddingDiscriminator):
    """Sees what it is told in images of four tiles in a row; notes how it is called."""

    noun = "tile"
    detects = True
    threshold = 0.5

    def __init__(self):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 6)).double().requires_grad_(False)
        super().__init__(network, name="tiles", digest="0" * 64, input_size=8)
        self.seen = [[LEFT, RIGHT, FAINT, FAINTER]]
        self.queries = []

    def locate(self, image, query=None, thorough=False):
        assert not torch.is_grad_enabled()
        self.queries.append(query)
        return self.seen


@pytest.fixture
def tiles():
    return Tiles()


@pytest.fixture
def image():
    return torch.rand(3, 16, 64, generator=rng(), dtype=torch.float64)


def encode(tiles, image, region):
    tiles.seen = [[region]]
    identity = encode_identity(tiles, [image])
    tiles.seen = [[LEFT, RIGHT, FAINT, FAINTER]]
    return identity


@pytest.mark.parametrize("region", [LEFT, RIGHT])
def test_the_most_similar_region_counts(tiles, image, region):
    [measured] = measure(encode(tiles, image, region), tiles, image[None].requires_grad_())
    assert measured.region is region and measured.similarity == pytest.approx(1)


def test_each_image_is_measured_alone(tiles, image):
    identity = encode(tiles, image, LEFT)
    images = torch.stack([torch.rand(3, 16, 64, generator=rng(1), dtype=torch.float64), image, image])
    tiles.seen = [[LEFT, RIGHT], [LEFT, RIGHT], []]
    first, second, third = measure(identity, tiles, images)
    assert first.similarity < 0.999 and second.similarity == pytest.approx(1) and third is None


def test_a_doubtful_region_counts_only_alone_and_then_the_surest(tiles, image):
    identity = encode(tiles, image, replace(FAINTER, score=1.0))
    [measured] = measure(identity, tiles, image[None])
    assert measured.region in (LEFT, RIGHT)
    tiles.seen = [[FAINTER, FAINT]]
    [measured] = measure(identity, tiles, image[None])
    assert measured.region is FAINT


def test_it_agrees_with_the_guidance(tiles, image):
    identity = encode(tiles, torch.rand(3, 16, 64, generator=rng(2), dtype=torch.float64), LEFT)
    tiles.seen = [[RIGHT]]
    [measured] = measure(identity, tiles, image[None])
    seen = IdentityGuidance(identity, tiles).energy(views=0)(image[None], 0)
    assert measured.similarity == pytest.approx(seen.similarity.item())


def test_the_detector_is_told_what_to_look_for(tiles, image):
    query = torch.rand(1, 5)
    identity = replace(encode(tiles, image, LEFT), query=query)
    tiles.queries.clear()
    measure(identity, tiles, image[None])
    assert tiles.queries == [query]
