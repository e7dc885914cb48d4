from __future__ import annotations

import math

import pytest
import torch

from rectifid_core.images.views import Views, _blur, _warp
from tests.helpers.worlds import rng


def images(batch=2, height=32, width=32, seed=0):
    """Smooth pictures in [0, 1]."""
    coarse = torch.rand(batch, 3, 4, 4, generator=rng(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def test_a_view_is_near_its_own_image_and_stands_in_its_place():
    image = images(height=24, width=40)
    views = Views(3, seed=1)(image, 0)
    assert views.shape == (6, 3, 24, 40) and views.dtype == image.dtype
    for view in range(3):
        for sample in range(2):
            distances = (views[view * 2 + sample] - image).abs().mean(dim=(1, 2, 3))
            assert distances[sample] < 0.15 and distances[sample] == distances.min()


def test_views_depend_on_seed_iteration_and_sample_only():
    image = images(3)
    views = Views(2, seed=5)(image, 4).view(2, 3, 3, 32, 32)
    assert torch.equal(Views(2, seed=5)(image, 4).view_as(views), views)
    assert torch.equal(Views(2, seed=5)(image[:1], 4), views[:, 0])  # without the rest of its batch
    others = images(3, seed=9)
    others[1] = image[1]
    torch.testing.assert_close(Views(2, seed=5)(others, 4).view_as(views)[:, 1], views[:, 1], atol=1e-14, rtol=0)

    same = images(1).repeat(2, 1, 1, 1)
    one = Views(2, seed=5)(same, 4).view(2, 2, -1)
    for other in (Views(2, seed=6)(same, 4).view(2, 2, -1), Views(2, seed=5)(same, 5).view(2, 2, -1)):
        assert (one - other).abs().amax(dim=2).min() > 0.01
    assert (one[0] - one[1]).abs().max() > 0.01  # views differ
    assert (one[:, 0] - one[:, 1]).abs().max() > 0.01  # so do samples


def test_the_global_generator_is_untouched():
    before = torch.get_rng_state()
    Views(2, seed=2**64 - 1)(images(), 0)  # the largest seed of a user interface
    assert torch.equal(torch.get_rng_state(), before)


def test_views_are_differentiable():
    image = images(2, 9, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Views(2, seed=3)(x, 1), image, fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: Views(2, seed=3)(x, 1)[:, 1, 4], images(1, 9, 8).requires_grad_())


def test_warp_turns_pixels_not_fractions():
    square = torch.rand(1, 3, 16, 16, generator=rng())
    quarter, one, zero = torch.tensor([math.pi / 2]), torch.ones(1), torch.zeros(1)
    turned = _warp(square, quarter, one, zero, zero)
    assert torch.allclose(turned, square.rot90(1, (2, 3)), atol=1e-5) or torch.allclose(
        turned, square.rot90(-1, (2, 3)), atol=1e-5
    )
    torch.testing.assert_close(_warp(square, zero, one, zero, zero), square)
    torch.testing.assert_close(_warp(square, zero, one, one / 16, zero)[..., :-1], square[..., 1:], atol=1e-5, rtol=0)

    y, x = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(48) - 23.5, indexing="ij")
    disc = torch.sigmoid(8 - (x**2 + y**2).sqrt()).expand(1, 3, 24, 48)  # stays a disc on a wide picture
    torch.testing.assert_close(_warp(disc, quarter / 3, one, zero, zero, 24 / 48), disc, atol=0.05, rtol=0)


def test_blur_leaves_flat_areas_and_widens_a_point():
    flat = torch.full((1, 3, 20, 30), 0.3)
    torch.testing.assert_close(_blur(flat, torch.tensor([0.012])), flat)
    point = torch.zeros(2, 3, 101, 101)
    point[:, :, 50, 50] = 1
    blurred = _blur(point, torch.tensor([0.0, 0.01]))
    torch.testing.assert_close(blurred[0], point[0])
    x = torch.arange(101) - 50.0
    width = (blurred[1, 0].sum(dim=0) * x**2).sum() ** 0.5
    assert width == pytest.approx(1.01, rel=0.05)


def test_no_view_is_refused():
    with pytest.raises(ValueError, match="1 or more"):
        Views(0, seed=0)
