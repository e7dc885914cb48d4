"""Faces brought to the place, size and pose in which recognisers learned them, differentiably."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Where ArcFace's recognisers expect the eyes, the nose and the corners of the mouth, in a crop of 112 x 112 pixels.
TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=torch.float64,
)
FINEST = 16  # samples to a side for each pixel of the crop, at most


def template(size: int) -> Tensor:
    """The five landmarks in a crop of ``size`` pixels: ``(5, 2)`` float64.

    A multiple of 112 scales `TEMPLATE`; one of 128 scales it with a margin of 8 pixels on the left and the right and
    of 16 below.  Recognisers of other sizes were not trained on ArcFace's crops: ValueError.
    """
    if size > 0 and size % 112 == 0:
        return TEMPLATE * (size / 112)
    if size > 0 and size % 128 == 0:
        return (TEMPLATE + torch.tensor([8.0, 0.0])) * (size / 128)
    raise ValueError(f"faces are aligned to crops of 112 or 128 pixels, or a multiple of these, not of {size}")


def similarity_transform(landmarks: Tensor, size: int) -> tuple[complex, complex]:
    """The rotation, scale and shift that bring five landmarks ``(5, 2)`` nearest to the template, by least squares.

    With a point (x, y) as the number z = x + iy, it is z -> a z + b; the result is (a, b).  ValueError where all
    landmarks are one point.
    """
    z = torch.view_as_complex(landmarks.to("cpu", torch.float64).contiguous())
    wanted = torch.view_as_complex(template(size))
    spread = z - z.mean()
    power = spread.abs().square().sum()
    if not power > 0:
        raise ValueError("the landmarks of the face are all in one point")
    a = (spread.conj() * (wanted - wanted.mean())).sum() / power
    return complex(a), complex(wanted.mean() - a * z.mean())


def align(image: Tensor, landmarks: Tensor, size: int) -> Tensor:
    """The face of an image ``(3, H, W)`` at ``landmarks`` ``(5, 2)``, in pixels: ``(3, size, size)``; differentiable.

    Bilinear, and black outside of the image, as insightface's ``norm_crop``.  That looks at 2 x 2 pixels for each of
    the crop, and so misses most of a large face.  Where a pixel of the crop is wider than 2 of the image, it is the
    mean of several samples here, spread just so far that every pixel of an upright face counts.
    """
    a, b = similarity_transform(landmarks, size)
    scale = 1 / abs(a)  # pixels of the image to one of the crop
    reach = max(0.5 - 1 / scale, 0.0)
    count = min(math.ceil(scale), FINEST) if reach else 1
    spread = torch.linspace(-reach, reach, count)
    crop = (torch.arange(size)[:, None] + spread).flatten().to(image)
    samples = sample(image, 1 / a, -b / a, crop, crop, padding="zeros")
    return F.avg_pool2d(samples, count)


def sample(image: Tensor, a: complex, b: complex, columns: Tensor, rows: Tensor, padding: str) -> Tensor:
    """The pixels of ``(3, H, W)`` at a z + b for each z = column + i row: ``(3, rows, columns)``; bilinear.

    padding: what lies outside, "zeros" or "border", as `torch.nn.functional.grid_sample` means it.
    """
    u, v = columns[None, :], rows[:, None]
    x = a.real * u - a.imag * v + b.real
    y = a.imag * u + a.real * v + b.imag
    height, width = image.shape[-2:]
    # The centre of pixel i is at i here, as in OpenCV; grid_sample has it at (2 i + 1) / width - 1.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(image[None], grid[None], padding_mode=padding, align_corners=False)[0]
