"""The palette of a large reference: by a sample, and once."""

from __future__ import annotations

import time

import pytest
import torch

from rectifid_core.guidance import color
from rectifid_core.guidance.color import SAMPLE, ColorEnergy, ColorGuidance, palette_of
from tests.helpers.worlds import rng


def photograph(height: int, width: int) -> torch.Tensor:
    """Soft shapes and grain, with stripes as wide as one pixel, which a regular sample might miss."""
    coarse = torch.rand(1, 3, 9, 12, generator=rng())
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]
    grain = 0.05 * torch.randn(3, height, width, generator=rng(1))
    stripes = torch.zeros(width)
    stripes[::2] = 0.2
    return (smooth + grain + stripes).clamp(0, 1)


def test_a_sample_has_the_palette_of_the_whole(monkeypatch):
    large = photograph(900, 1201)
    sampled = palette_of(large)
    monkeypatch.setattr(color, "SAMPLE", large[0].numel())
    torch.testing.assert_close(sampled[:, 655:-655], palette_of(large)[:, 655:-655], atol=5e-3, rtol=0)
    assert 1 - ColorEnergy(sampled)(large[None, :, ::3, ::3], 0).similarity < 5e-3


def test_it_is_the_same_in_every_run_and_a_small_one_is_whole():
    large = photograph(800, 1000)
    assert large[0].numel() > SAMPLE and torch.equal(palette_of(large), palette_of(large))
    small = photograph(20, 30)
    assert palette_of(small).shape[1] == 600


def test_runs_and_candidates_share_it(monkeypatch):
    calls = []
    monkeypatch.setattr(color, "palette_of", lambda reference: calls.append(1) or palette_of(reference))
    guidance = ColorGuidance(photograph(20, 30))
    energies = [guidance.energy(seed=seed) for seed in range(5)]
    assert len({energy(photograph(16, 16)[None], 0).energy.item() for energy in energies}) == len(calls) == 1


def test_a_photograph_of_12_megapixels_is_ready_at_once():
    """Sorted whole, it took 40 s; the allowance here is for slow machines."""
    large = torch.rand(3, 3000, 4000, generator=rng())
    begin = time.perf_counter()
    palette_of(large)
    assert time.perf_counter() - begin < 4


@pytest.mark.parametrize("shape", [(1, 1_000_003), (1_000_003, 1), (1000, 1001)])
def test_any_shape_is_sampled_within_its_pixels(shape):
    assert palette_of(torch.rand(3, *shape, generator=rng())).isfinite().all()
