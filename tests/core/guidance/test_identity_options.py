"""Options of an identity's guidance that cannot be, and what it needs loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rectifid_core.guidance.base import NoGuidance, check_guidance
from tests.helpers.people import references
from tests.helpers.scripted import LEFT, Scripted, pictures


@pytest.fixture
def guidance():
    (guidance,) = references(Scripted([[LEFT]]), 7)
    return guidance


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detect_every": 0}, "every n-th, n >= 1, not 0"),
        ({"pixels": float("nan")}, "weight of the pixels .* not nan"),
        ({"pixels": float("inf")}, "weight of the pixels .* not inf"),
        ({"pixels": -1.0}, "weight of the pixels .* not -1"),
        ({"mask": torch.zeros(24, 24)}, "the mask is empty"),
    ],
)
def test_options_that_cannot_be(guidance, options, message):
    with pytest.raises(ValueError, match=message):
        replace(guidance, **options)


def test_it_needs_its_discriminator_and_its_identity_has_no_network(guidance):
    assert guidance.networks == [guidance.discriminator]
    assert not any(isinstance(each, torch.nn.Module | Scripted) for each in vars(guidance.identity).values())
    assert guidance.identity.references[0].chosen is LEFT and guidance.identity.references[0].index == 0


def test_no_guidance_needs_nothing_and_pulls_nowhere():
    image = pictures(2).requires_grad_()
    seen = NoGuidance().energy()(image, 0)
    (gradient,) = torch.autograd.grad(seen.energy.sum(), image)
    assert NoGuidance().networks == [] and not gradient.any()
    assert seen.energy.tolist() == [0, 0] and seen.similarity.isnan().all() and seen.found is None


@pytest.mark.parametrize("other", [None, 7, "a text", Scripted([[LEFT]])])
def test_what_is_no_guidance_is_refused(other):
    with pytest.raises(ValueError, match="where an identity or guidance should"):
        check_guidance(other)
