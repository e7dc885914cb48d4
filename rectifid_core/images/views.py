"""Random views of an image: what a discriminator must also recognise, so that its own gradient does not fool it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Each view draws uniformly within these bounds; lengths are fractions of the image's side.
ROTATION = math.radians(8)
SCALE = 0.08
SHIFT = 0.04
BLUR = 0.012  # standard deviation, from 0
BRIGHTNESS = 0.08
CONTRAST = 0.15
NOISE = 0.03  # standard deviation, from 0


class Views:
    """``count`` random views of each image, drawn from (seed, iteration, sample index) and nothing else.

    A view is the image a little rotated, scaled, shifted, blurred, made brighter or darker, and noisy; differentiable.
    The draw is made on the CPU, so that it is the same on every device.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"the number of views must be 1 or more, not {count}")
        self.count = count
        self.seed = seed

    def __call__(self, image: Tensor, iteration: int, samples: Iterable[int] | None = None) -> Tensor:
        """``(B, 3, H, W)`` -> ``(count * B, 3, H, W)``, view v of image b at v * B + b; may leave [0, 1] a little.

        samples: the number of each image in its batch, where it is not its place here.
        """
        samples = range(len(image)) if samples is None else samples
        draws = [self._draw(iteration, sample, image.shape[1:]) for sample in samples]
        uniform, noise = (torch.stack(each, dim=1).flatten(0, 1).to(image) for each in zip(*draws, strict=True))
        *geometry, blur, brightness, contrast, grain = uniform.unbind(dim=1)

        height, width = image.shape[-2:]
        views = _move(image.repeat(self.count, 1, 1, 1), geometry, height / width)
        views = _blur(views, BLUR * blur.abs())
        views = (views - 0.5) * _per_view(1 + CONTRAST * contrast) + 0.5 + _per_view(BRIGHTNESS * brightness)
        return views + _per_view(NOISE * grain.abs()) * noise

    def move(self, mask: Tensor, size: tuple[int, int], iteration: int, samples: Iterable[int]) -> Tensor:
        """A mask ``(h, w)`` where the views of images of ``size``, (height, width), show what it marks.

        It may be of another resolution than the images.  ``(count * B, 1, h, w)`` for B samples, ordered as the views.
        """
        draws = [self._draw(iteration, sample, torch.Size())[0] for sample in samples]
        geometry = torch.stack(draws, dim=1).flatten(0, 1).to(mask).unbind(dim=1)[:4]
        return _move(mask.expand(len(geometry[0]), 1, -1, -1), geometry, size[0] / size[1])

    def _draw(self, iteration: int, sample: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Uniform numbers in [-1, 1], ``(count, 8)``, and standard normal noise, ``(count, *shape)``."""
        name = f"{self.seed} {iteration} {sample}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name).digest()[:7], "big"))
        uniform = 2 * torch.rand(self.count, 8, generator=generator) - 1
        return uniform, torch.randn(self.count, *shape, generator=generator)


def views_or_none(count: int, seed: int) -> Views | None:
    """None for no views, that is for the plain image, as published."""
    return Views(count, seed) if count else None


def _per_view(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1, 1)


def _move(views: Tensor, geometry: Sequence[Tensor], aspect: float) -> Tensor:
    """geometry: what was drawn for the angle, scale, dx and dy, ``(B,)`` each, in [-1, 1]."""
    angle, scale, dx, dy = geometry
    return _warp(views, ROTATION * angle, 1 + SCALE * scale, SHIFT * dx, SHIFT * dy, aspect)


def _warp(views: Tensor, angle: Tensor, scale: Tensor, dx: Tensor, dy: Tensor, aspect: float = 1.0) -> Tensor:
    """Rotation and scale about the centre, then the shift; what lies outside is the nearest border.

    aspect: the picture's height over its width, whatever its resolution here.
    """
    cos, sin = scale * angle.cos(), scale * angle.sin()
    # Sampling positions run from -1 to 1 over either side: a rotation of pixels needs the sides' ratio.
    rows = [cos, -sin * aspect, 2 * dx, sin / aspect, cos, 2 * dy]
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(views.shape), align_corners=False)
    return F.grid_sample(views, grid, padding_mode="border", align_corners=False)


def _blur(views: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian of ``sigma`` sides, ``(B,)``, along the rows and then the columns."""
    side = max(views.shape[-2:])
    radius = math.ceil(3 * BLUR * side)
    x = torch.arange(-radius, radius + 1, device=views.device, dtype=views.dtype)
    # The floor keeps a blur of nothing from dividing by 0; a tenth of a pixel leaves the image as it is.
    kernel = torch.softmax(-0.5 * (x / (sigma * side).clamp(min=0.1)[:, None]) ** 2, dim=1)
    kernel = kernel.repeat_interleave(views.shape[1], dim=0)
    planes = views.flatten(0, 1)[None]
    for row, column in ((1, len(x)), (len(x), 1)):
        padding = (column // 2, column // 2, row // 2, row // 2)
        planes = F.conv2d(
            F.pad(planes, padding, mode="replicate"), kernel.view(-1, 1, row, column), groups=planes.shape[1]
        )
    return planes.view_as(views)
