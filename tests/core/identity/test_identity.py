"""Discriminator, identity and energy."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.images.regions import Region
from rectifid_core.images.validation import as_rgb
from rectifid_core.images.views import Views
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import pushed_together, rng


def network(size=16):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * (size // 2) ** 2, 10))
    return net.double().requires_grad_(False)


def discriminator(net=None, **settings):
    settings = {"name": "toy", "digest": "0" * 64, "input_size": 16} | settings
    return EmbeddingDiscriminator(net or network(), **settings)


def images(batch=2, height=32, width=32, seed=0):
    return torch.rand(batch, 3, height, width, generator=rng(seed), dtype=torch.float64)


def guidance(references):
    toy = discriminator()
    return IdentityGuidance(encode_identity(toy, references), toy)


def first(regions):
    """The best region of each image."""
    return [found[0] for found in regions]


def test_box_in_pixels():
    toy = discriminator(box=(0.25, 0.5, 0.75, 1.0))
    image = images(height=20, width=40)
    regions = toy.locate(image)
    assert [[region.box for region in found] for found in regions] == [[(10, 10, 30, 20)]] * 2
    other = image.clone()
    other[:, :, 10:20, 10:30] = 0.5
    torch.testing.assert_close(toy.crop(other, first(regions)), torch.full((2, 3, 16, 16), 0.5, dtype=torch.float64))
    assert first(discriminator(box=(0.99, 0.99, 1, 1)).locate(images(1, 8, 8)))[0].box == (7, 7, 8, 8)


def test_each_sample_has_its_own_region():
    image = images()
    regions = [Region((0, 0, 16, 16)), Region((16, 8, 32, 24))]
    crops = discriminator().crop(image, regions)
    torch.testing.assert_close(crops[0], image[0, :, :16, :16])
    torch.testing.assert_close(crops[1], image[1, :, 8:24, 16:])


def test_every_pixel_of_the_region_counts():
    image = images(1, 128, 128).requires_grad_()
    toy = discriminator()
    toy.crop(image, first(toy.locate(image))).square().sum().backward()
    assert (image.grad != 0).all()


def test_embeddings_are_unit_vectors_of_normalised_channels():
    crops = images(3, 16, 16)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    embeddings = discriminator(mean=mean, std=std, channel_order="bgr").embed(crops)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3, dtype=torch.float64))
    channels = [(crops[:, 2 - c : 3 - c] - mean[c]) / std[c] for c in range(3)]
    torch.testing.assert_close(embeddings, nn.functional.normalize(network()(torch.cat(channels, dim=1)), dim=1))
    assert discriminator(network().half()).embed(crops.half()).dtype == torch.float32


def test_gradient_of_the_energy():
    energy = guidance(images(seed=1)).energy(views=2, seed=3)
    assert torch.autograd.gradcheck(lambda x: energy(x, 5).energy, images(2, 24, 20).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"box": (0.5, 0, 0.5, 1)},
        {"box": (0, 0, 1.1, 1)},
        {"channel_order": "gbr"},
        {"std": 0.0},
        {"std": (0.5, 0.5, -1.0)},
        {"input_size": 0},
    ],
)
def test_settings_that_cannot_work(settings):
    with pytest.raises(ValueError):
        discriminator(**settings)


def test_a_network_that_mixes_images_is_refused():
    mixing = discriminator(nn.Flatten(start_dim=0), name="mixer")
    with pytest.raises(ValueError, match="mixer"):
        mixing.embed(images(2, 16, 16))


def test_an_identity_of_more_than_one_reference():
    toy, references = discriminator(), images(3)
    identity = encode_identity(toy, references)
    assert identity.crops.shape == (3, 3, 16, 16)
    mean = toy.embed(toy.crop(references, first(toy.locate(references)))).mean(dim=0)
    torch.testing.assert_close(identity.embedding, mean / mean.norm())
    assert not identity.embedding.requires_grad


def test_energy_is_a_hundred_times_one_minus_the_cosine():
    reference = images(1)
    energy = replace(guidance(reference), color_first=False).energy(views=0)
    observation = energy(torch.cat([reference, images(1, seed=2)]), 0)
    assert observation.energy[0].item() == pytest.approx(0, abs=1e-10) and observation.similarity[
        0
    ].item() == pytest.approx(1)
    torch.testing.assert_close(observation.energy, 100 * (1 - observation.similarity))


def test_views_change_the_energy_and_not_the_similarity():
    image, toy = images(), discriminator()
    identity = encode_identity(toy, images(1, seed=2))
    plain = IdentityGuidance(identity, toy).energy(views=0)(image, 7)
    observation = IdentityGuidance(identity, toy).energy(views=3, seed=4)(image.requires_grad_(), 7)
    torch.testing.assert_close(observation.similarity, plain.similarity)
    assert not observation.similarity.requires_grad
    by_view = toy.embed(Views(3, seed=4)(toy.crop(image, first(toy.locate(image))).detach(), 7)) @ identity.embedding
    torch.testing.assert_close(observation.energy, 100 * (1 - (by_view[0:2] + by_view[2:4] + by_view[4:6]) / 3))
    assert (observation.energy - plain.energy).abs().min() > 1e-3


def test_guided_samples_do_not_influence_each_other_through_views():
    energy = guidance(images(1, seed=2)).energy(views=2)

    def run(z0):
        return list(solve(pushed_together(), torch.sigmoid, energy, z0, iterations=5))[-1]

    z0, others = images(3, 24, 24, seed=3), images(3, 24, 24, seed=4)
    together, single = run(z0), run(z0[:1])
    torch.testing.assert_close(together.latent[:1], single.latent, atol=1e-10, rtol=0)
    others[1] = z0[1]
    torch.testing.assert_close(run(others).latent[1], together.latent[1], atol=1e-10, rtol=0)
    assert (together.similarity > energy(torch.sigmoid(z0), 0).similarity).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no reference image"),
        ([torch.rand(2, 32, 32)], "grey, RGB or RGBA"),
        ([torch.rand(32, 32, 3)], "grey, RGB or RGBA"),
        ([torch.rand(3, 32)], "grey, RGB or RGBA"),
        ([torch.rand(3, 7, 32)], "32 x 7.*8 x 8"),
        ([torch.rand(3, 1, 1)], "1 x 1"),
        ([torch.rand(3, 9, 9), torch.full((3, 9, 9), torch.nan)], "image 2 of 2.*nan"),
        ([torch.randint(0, 255, (3, 9, 9), dtype=torch.uint8)], "whole numbers"),
        ([65535 * torch.rand(3, 9, 9)], "255.*65535"),
    ],
)
def test_images_that_cannot_be_references_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        encode_identity(discriminator(), bad)


def test_pictures_of_every_kind_become_rgb():
    pictures = [torch.rand(1, 9, 9), torch.rand(9, 12, 3).movedim(-1, 0), torch.rand(4, 9, 10)]
    grey, rgb, rgba = as_rgb(pictures, "picture")
    assert [x.shape for x in (grey, rgb, rgba)] == [(3, 9, 9), (3, 9, 12), (3, 9, 10)]
    assert (grey[0] == grey[2]).all()
    transparent = torch.rand(4, 9, 9)
    transparent[3] = torch.arange(9) > 4
    (rgb,) = as_rgb([transparent], "picture")
    assert (rgb[:, :, :5] == 1).all() and (rgb[:, :, 5:] == transparent[:3, :, 5:]).all()
