"""Each way in which a view differs is there, within its bounds, and apart from the others."""

from __future__ import annotations

import math

import pytest
import torch

from rectifid_core.images import views as module
from rectifid_core.images.views import Views
from tests.helpers.worlds import rng

COUNT = 200


def flat(value: float) -> torch.Tensor:
    """The views of a picture of one grey, which neither its geometry nor its blur changes."""
    return Views(COUNT, seed=3)(torch.full((1, 3, 24, 24), value, dtype=torch.float64), 0)


def test_noise():
    """What lies outside of a picture is its border: a flat one stays flat but for the noise."""
    noise = flat(0.5) - flat(0.5).mean(dim=(1, 2, 3), keepdim=True)
    amount = noise.std(dim=(1, 2, 3))
    assert (
        amount.max() < 1.1 * module.NOISE and amount.max() > 0.8 * module.NOISE and amount.median() > 0.3 * module.NOISE
    )
    assert noise.abs().max() < 6 * module.NOISE


def test_brightness():
    shift = flat(0.5).mean(dim=(1, 2, 3)) - 0.5
    assert shift.abs().max() < 1.1 * module.BRIGHTNESS
    assert shift.max() > 0.8 * module.BRIGHTNESS and shift.min() < -0.8 * module.BRIGHTNESS


def test_contrast():
    stretch = (flat(0.9) - flat(0.5)).mean(dim=(1, 2, 3)) / 0.4 - 1
    assert stretch.abs().max() < module.CONTRAST
    assert stretch.max() > 0.8 * module.CONTRAST and stretch.min() < -0.8 * module.CONTRAST


def test_blur(monkeypatch):
    """A picture of noise loses its detail; by how much follows from the width of the Gaussian."""
    for name in ("ROTATION", "SCALE", "SHIFT", "BRIGHTNESS", "CONTRAST", "NOISE"):
        monkeypatch.setattr(module, name, 0.0)
    image = torch.rand(1, 3, 96, 96, generator=rng(), dtype=torch.float64)
    detail = Views(COUNT, seed=3)(image, 0).std(dim=(1, 2, 3)) / image.std()
    assert detail.max() > 0.97, "some views are hardly blurred"
    sigma = module.BLUR * 96
    assert detail.min() == pytest.approx(1 / (2 * math.sqrt(math.pi) * sigma), rel=0.3)


def test_geometry():
    """Rotation, scale and shift, read from where a picture of its own coordinates goes."""
    side = 64
    places = torch.arange(side, dtype=torch.float64)
    ramp = places.expand(side, side)
    moved = Views(COUNT, seed=3).move(ramp, (side, side), 0, range(1))[:, 0]
    middle = slice(20, 44)  # the border stays outside of it
    across = (moved[:, middle, 43] - moved[:, middle, 20]).mean(dim=1) / 23  # scale times cosine
    down = (moved[:, 43, middle] - moved[:, 20, middle]).mean(dim=1) / 23  # scale times sine
    angle, scale = torch.atan2(down, across), torch.hypot(across, down) - 1
    shift = (moved[:, 31:33, 31:33].mean(dim=(1, 2)) - (side - 1) / 2) / side
    for measured, bound in ((angle, module.ROTATION), (scale, module.SCALE), (shift, module.SHIFT)):
        assert measured.abs().max() <= 1.01 * bound
        assert measured.max() > 0.8 * bound and measured.min() < -0.8 * bound
