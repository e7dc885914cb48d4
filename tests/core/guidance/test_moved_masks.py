"""What a view does to a target mask: it moves it with the picture, and nothing else."""

from __future__ import annotations

import time

import pytest
import torch

from rectifid_core.discriminators.segmenter import Segmenter
from rectifid_core.guidance.segmentation import SegmentationEnergy
from rectifid_core.images import views as module
from rectifid_core.images.views import Views
from rectifid_core.networks.pretrained import Preprocessing
from tests.helpers.worlds import rng


def disc(height: int, width: int, x: float = 0.6, y: float = 0.4, radius: float = 0.2) -> torch.Tensor:
    """A mask with a soft edge of a few pixels; places as fractions, the radius of the shorter side."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = ((columns - x * width) ** 2 + (rows - y * height) ** 2).sqrt()
    return torch.sigmoid((radius * min(height, width) - distance) / 2)


def only_geometry(monkeypatch):
    for name in ("BLUR", "BRIGHTNESS", "CONTRAST", "NOISE"):
        monkeypatch.setattr(module, name, 0.0)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (120, 60)])
def test_a_mask_goes_where_the_picture_goes(monkeypatch, height, width):
    only_geometry(monkeypatch)
    mask = disc(height, width)
    seen = Views(6, seed=2)(mask.expand(2, 3, -1, -1), 5)[:, :1]
    moved = Views(6, seed=2).move(mask, (height, width), 5, range(2))
    assert moved.shape == (12, 1, height, width)
    torch.testing.assert_close(moved, seen, atol=2e-3, rtol=0)  # a blur of nothing takes a tenth of a pixel


def test_it_may_have_another_resolution(monkeypatch):
    """On a square of a picture that is none, a rotation stays one of the picture."""
    only_geometry(monkeypatch)
    fine = Views(6, seed=2).move(disc(192, 96), (192, 96), 5, range(1))
    coarse = Views(6, seed=2).move(
        torch.nn.functional.interpolate(disc(192, 96)[None, None], (64, 64), mode="area")[0, 0], (192, 96), 5, range(1)
    )
    expected = torch.nn.functional.interpolate(fine, (64, 64), mode="area")
    assert (coarse - expected).abs().mean() < 5e-3 and (coarse - expected).abs().max() < 0.25


@pytest.mark.parametrize("sign", [1, -1])
def test_neither_light_nor_blur_nor_noise_touches_it(monkeypatch, sign):
    for name in ("BLUR", "BRIGHTNESS", "CONTRAST", "NOISE"):
        monkeypatch.setattr(module, name, 0.9 * sign)
    mask = (disc(64, 64) > 0.5).float()
    plain = Views(8, seed=2).move(mask, (64, 64), 5, range(1))
    assert plain.aminmax() == (0.0, 1.0)
    edge = ((plain > 0) & (plain < 1)).float().mean()
    assert edge < 0.1, "only where a border runs between pixels"
    monkeypatch.undo()
    torch.testing.assert_close(Views(8, seed=2).move(mask, (64, 64), 5, range(1)), plain)


class ByBrightness(torch.nn.Module):
    """log p of dark and of bright, at a quarter of the picture's sides."""

    def forward(self, pixels):
        bright = torch.nn.functional.avg_pool2d(pixels.mean(dim=1, keepdim=True), 4)
        return torch.cat([0.5 - bright, bright - 0.5], dim=1).mul(20).log_softmax(dim=1)


def segmenter(side: int) -> Segmenter:
    plain = Preprocessing(side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Segmenter(ByBrightness(), ["dark", "bright"], plain, name="by brightness", digest="")


def test_the_goal_of_each_view_is_where_the_view_shows_it(monkeypatch):
    """A segmenter that is right about every pixel of a view finds little to complain of, in a wide picture too."""
    only_geometry(monkeypatch)
    mask = (disc(96, 192) > 0.5).float()
    energy = SegmentationEnergy(segmenter(64), "bright", mask, Views(8, seed=1))
    still = SegmentationEnergy(segmenter(64), "bright", mask)
    picture = mask.expand(1, 3, -1, -1)
    assert energy(picture, 0).energy < still(picture, 0).energy + 5 < still(picture.roll(9, dims=3), 0).energy


def test_a_large_picture_costs_no_more_for_its_mask():
    """At full size, its views took 5.4 s where 0.04 s do."""
    mask = (disc(512, 512) > 0.5).float()
    views = Views(4, seed=1)
    views.move(mask, (4096, 4096), 0, range(1))
    begin = time.perf_counter()
    views.move(mask, (4096, 4096), 1, range(1))
    moved = time.perf_counter() - begin
    image = torch.rand(1, 3, 1024, 1024, generator=rng())
    begin = time.perf_counter()
    views(image, 1)
    assert moved < (time.perf_counter() - begin) / 3
