"""Random views, seen from outside: each within its stated bounds, and drawn from (seed, iteration, sample) only."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rectifid_core.images.views import BLUR, BRIGHTNESS, CONTRAST, NOISE, ROTATION, SCALE, SHIFT, Views
from tests.helpers.properties import examples
from tests.helpers.worlds import normal

SEEDS, NUMBERS = st.integers(0, 2**64 - 1), st.integers(0, 10_000)
HEIGHT, WIDTH = 80, 100


def measure(count: int, seed: int, iteration: int, sample: int) -> dict[str, torch.Tensor]:
    """What each of ``count`` views does, ``(count,)`` each, told from views of plain, sloping and spotted pictures.

    The draw does not depend on the picture, so that brightness and noise cancel between two.
    """
    y, x = torch.meshgrid(torch.arange(HEIGHT) - (HEIGHT - 1) / 2, torch.arange(WIDTH) - (WIDTH - 1) / 2, indexing="ij")
    x, y = x.double(), y.double()
    sigma = 6.0

    def view(picture):
        image = picture.expand(1, 3, HEIGHT, WIDTH)
        return Views(count, seed)(image, iteration, [sample])[:, :1].squeeze(1)

    plain = view(torch.full((), 0.5, dtype=torch.float64))
    contrast = (view(torch.ones((), dtype=torch.float64)) - plain).mean(dim=(1, 2)) / 0.5
    gain = contrast.view(-1, 1, 1)
    middle = (x.abs() < WIDTH / 4) & (y.abs() < HEIGHT / 4)
    columns = torch.stack([x[middle], y[middle], torch.ones_like(x[middle])], dim=1)
    rows = []
    for slope in (x, y):  # where each pixel of the view comes from
        source = 200 * (view(0.5 + slope / 200) - plain) / gain
        rows.append(torch.linalg.lstsq(columns.expand(count, -1, -1), source[:, middle][..., None]).solution[..., 0])
    (a, b, dx), (c, d, dy) = rows[0].T, rows[1].T
    scale = (a * d - b * c).sqrt()
    spot = (view(0.5 + 0.5 * torch.exp(-(x**2 + y**2) / (2 * sigma**2))) - plain) / gain
    weight = spot / spot.sum(dim=(1, 2), keepdim=True)
    centre = (weight * x).sum(dim=(1, 2), keepdim=True)
    variance = (weight * (x - centre) ** 2).sum(dim=(1, 2))
    return {
        "contrast": contrast - 1,
        "brightness": plain.mean(dim=(1, 2)) - 0.5,
        "noise": plain.std(dim=(1, 2)),
        "rotation": torch.atan2(c - b, a + d),
        "skew": torch.stack([a - d, b + c]).abs().amax(dim=0),
        "scale": scale - 1,
        "dx": dx / WIDTH,
        "dy": dy / HEIGHT,
        "blur": (variance - (sigma / scale) ** 2).clamp(min=0).sqrt() / max(HEIGHT, WIDTH),
    }


# What is measured differs from what was drawn by the mean of the noise, and by the blur of sampling between pixels.
BOUNDS = {
    "contrast": (CONTRAST, 1e-6),
    "brightness": (BRIGHTNESS, 5 * NOISE / math.sqrt(HEIGHT * WIDTH)),
    "noise": (NOISE, 0.1 * NOISE),
    "rotation": (ROTATION, 1e-6),
    "scale": (SCALE, 1e-6),
    "dx": (SHIFT, 1e-6),
    "dy": (SHIFT, 1e-6),
    "blur": (BLUR, 0.25 * BLUR),
}


@examples(10)
@given(seed=SEEDS, iteration=NUMBERS, sample=NUMBERS)
def test_each_view_stays_within_the_stated_bounds(seed, iteration, sample):
    measured = measure(4, seed, iteration, sample)
    for name, (bound, error) in BOUNDS.items():
        assert measured[name].abs().max() <= bound + error, name
    assert measured["skew"].max() < 1e-6, "angles stay angles, also on a picture that is not square"


@functools.cache
def many():
    return measure(64, 3, 1, 2)


@pytest.mark.parametrize("name", BOUNDS)
def test_views_use_the_stated_bounds(name):
    """Uniformly: of 64, the largest is near the bound, the median of the sizes near its half."""
    bound, error = BOUNDS[name]
    sizes = many()[name].abs()
    assert sizes.max() >= 0.85 * bound
    assert 0.3 * bound < sizes.median() < 0.7 * bound + error
    if name not in ("noise", "blur"):
        assert many()[name].min() < -0.5 * bound and many()[name].max() > 0.5 * bound


@examples(25)
@given(seed=SEEDS, iteration=NUMBERS, data=st.data())
def test_a_view_depends_on_seed_iteration_and_sample_only(seed, iteration, data):
    """Not on its place in the batch, nor on who else is in it."""
    numbers = data.draw(st.lists(NUMBERS, min_size=1, max_size=3, unique=True))
    count, place = data.draw(st.integers(1, 3)), data.draw(st.integers(0, len(numbers) - 1))
    images = normal(len(numbers), 3, 8, 9, seed=7)
    batch = Views(count, seed)(images, iteration, numbers).view(count, len(numbers), 3, 8, 9)
    single = Views(count, seed)(images[place : place + 1], iteration, numbers[place : place + 1])
    torch.testing.assert_close(batch[:, place], single, atol=1e-12, rtol=0)


@examples(25)
@given(numbers=st.tuples(SEEDS, NUMBERS, NUMBERS), others=st.tuples(SEEDS, NUMBERS, NUMBERS))
def test_other_numbers_give_another_view(numbers, others):
    def view(seed, iteration, sample):
        return Views(1, seed)(torch.full((1, 3, 4, 4), 0.5), iteration, [sample])

    assert torch.equal(view(*numbers), view(*others)) == (numbers == others)
