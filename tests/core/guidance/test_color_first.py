"""Colour first: what it adds to the energy of an identity, when, and where in a crop it looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from demo.portrait import Identity as Person
from demo.portrait import Scene, draw
from rectifid_core.discriminators.faces.alignment import template
from rectifid_core.discriminators.panels import PanelDiscriminator
from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.identity import COLOR_ITERATIONS, IdentityGuidance
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.images.oklab import oklab
from rectifid_core.images.spots import discs
from tests.helpers.identities import discriminator, references

SKIN_TONES = (0.05, 0.5, 0.95)


def plain(*rgb, size=20):
    return torch.tensor(rgb).view(3, 1, 1).expand(3, size, size)


@pytest.fixture
def guidance():
    eye = discriminator()
    return IdentityGuidance(encode_identity(eye, [plain(0.8, 0.3, 0.2)]), eye)


def added(guidance, image, iteration):
    """What colour adds to the energy of ``(3, H, W)``."""
    with_, without = (replace(guidance, color_first=on).energy(views=0) for on in (True, False))
    return (with_(image[None], iteration).energy - without(image[None], iteration).energy).item()


def test_it_acts_in_the_first_iterations_only(guidance):
    other = plain(0.2, 0.3, 0.8)
    assert added(guidance, other, 0) > 100
    assert added(guidance, other, COLOR_ITERATIONS - 1) == added(guidance, other, 0)
    assert added(guidance, other, COLOR_ITERATIONS) == 0
    assert added(guidance, plain(0.8, 0.3, 0.2), 0) == pytest.approx(0, abs=1e-3)
    assert guidance.changes == [COLOR_ITERATIONS] and replace(guidance, color_first=False).changes == []


def test_guidance_that_starts_later_has_its_colour_first_then(guidance):
    late = combine(
        {"late": (guidance, Schedule(start=7)), "colour off": (replace(guidance, color_first=False), Schedule())}
    )
    assert late.changes == [7, 7 + COLOR_ITERATIONS, 0]
    image, energy = plain(0.2, 0.3, 0.8)[None], late.energy(views=0)
    energies = [energy(image, n).terms["late"].energy.item() for n in (7, 6 + COLOR_ITERATIONS, 7 + COLOR_ITERATIONS)]
    assert energies[0] == energies[1] > energies[2] + 100


def test_the_end_of_a_guidance_is_a_change(guidance):
    assert combine({"short": (guidance, Schedule(end=15))}).changes == [0, COLOR_ITERATIONS, 15]


def test_light_counts_less_than_chroma(guidance):
    reference = plain(0.5, 0.5, 0.5)
    grey = replace(guidance, identity=encode_identity(guidance.discriminator, [reference]))
    darker, redder = (
        oklab(torch.tensor([[0.4, 0.4, 0.4], [0.62, 0.44, 0.44]]).T).T - oklab(torch.tensor([[0.5] * 3]).T).T
    )
    per_light, per_chroma = (
        added(grey, image, 0) / distance.square().sum().item()
        for image, distance in ((plain(0.4, 0.4, 0.4), darker), (plain(0.62, 0.44, 0.44), redder))
    )
    assert per_light < 0.5 * per_chroma


def test_the_surroundings_of_a_thing_do_not_count(guidance):
    framed = plain(0.8, 0.3, 0.2).clone()
    framed[:, :3], framed[:, -3:], framed[:, :, :3], framed[:, :, -3:] = 0.0, 0.0, 0.0, 0.0
    eye = guidance.discriminator
    torch.testing.assert_close(eye.color(framed[None]), guidance.identity.colors, atol=0.01, rtol=0)


def test_a_mask_says_what_of_a_reference_counts(guidance):
    halves = torch.cat([plain(0.8, 0.3, 0.2)[:, :, :10], plain(0.1, 0.2, 0.9)[:, :, :10]], dim=2)
    mask = torch.ones(20, 20)
    mask[:, 10:] = 0
    identity = encode_identity(guidance.discriminator, [halves], masks=[mask])
    torch.testing.assert_close(identity.colors, guidance.identity.colors, atol=0.02, rtol=0)


def test_nearest_compares_with_the_colour_of_each_reference(guidance):
    pictures = [plain(0.8, 0.3, 0.2), plain(0.2, 0.3, 0.8)]
    mean, nearest = (encode_identity(guidance.discriminator, pictures, matching=each) for each in ("mean", "nearest"))
    colors = mean.colors
    torch.testing.assert_close(nearest.color_difference(colors), torch.zeros(2))
    assert (mean.color_difference(colors) > 0.01).all()
    torch.testing.assert_close(mean.color_difference(colors.mean(dim=0, keepdim=True)), torch.zeros(1))


def test_discs_are_where_they_are_said_to_be():
    weights = discs(16, torch.tensor([[0.25, 0.75]]), 0.125)
    assert weights[12, 4] == 1 and weights[0, 0] == 0 and weights[4, 12] == 0
    assert weights.sum() == pytest.approx(np.pi * 2**2, rel=0.1)


def test_the_spots_of_a_face_avoid_its_eyes_and_its_mouth():
    from rectifid_core.discriminators.faces.discriminator import FaceDiscriminator

    face = FaceDiscriminator.__new__(FaceDiscriminator)
    face.input_size = 112
    counts = face._interior(torch.zeros(2, 3, 112, 112))
    assert counts.shape == (2, 1, 112, 112) and counts[0].sum() > 300
    for x, y in template(112)[[0, 1, 3, 4]].round().long().tolist():
        assert counts[0, 0, y, x] == 0


@pytest.mark.parametrize("position", ["left", "center", "right"])
def test_a_portrait_s_skin_is_found_wherever_it_stands(position):
    """In chromaticity, since scenes differ in their light."""
    eye = PanelDiscriminator(torch.nn.Identity(), name="eye", digest="", input_size=64)
    found, drawn = [], []
    for seed, tone in enumerate(SKIN_TONES * 4):
        rng = np.random.default_rng(4_700_000 + seed)
        person = replace(Person.sample(rng), skin=tone, beard="none", glasses="none")
        picture = torch.from_numpy(np.array(draw(person, replace(Scene.sample(rng), position=position))))
        crop = eye.crop(picture.movedim(-1, 0)[None].float() / 255, eye.locate(torch.zeros(1, 3, 128, 128))[0])
        counts = eye._interior(crop)
        mean = (crop * counts).sum(dim=(2, 3)) / counts.sum(dim=(2, 3))
        found.append(mean[0] / mean.sum())
        skin = torch.tensor(_skin(tone)).float()
        drawn.append(skin / skin.sum())
    off = (torch.stack(found) - torch.stack(drawn)).norm(dim=1)
    assert off.median() < 0.03 and (off < 0.15).all()


def _skin(tone):
    from demo import portrait

    return portrait._skin(tone)


def test_the_colour_of_an_identity_comes_from_its_references(guidance):
    eye = discriminator()
    identity = encode_identity(eye, references())
    assert identity.colors.shape == (3, 3)
    torch.testing.assert_close(identity.colors, eye.color(identity.crops))
