"""What counts as a picture, checked where a user's pictures come in."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

SMALLEST = 8  # pixels to a side
LARGEST = 1 << 28  # pixels in all, 16384 x 16384: as numbers they take 3 GiB


def as_rgb(images: Iterable[Tensor], what: str) -> list[Tensor]:
    """Each picture as ``(3, H, W)`` in [0, 1]; their sizes may differ.

    images: ``(C, H, W)`` each, with values in [0, 1]: grey (C = 1), RGB, or RGBA, whose transparent parts turn white.
    what: for messages, such as "reference image".

    Raises ValueError, with advice, for what is no picture.
    """
    images = list(images)
    if not images:
        raise ValueError(f"no {what}: connect at least one")
    many = len(images) > 1
    return [_as_rgb(image, f"{what} {i} of {len(images)}" if many else what) for i, image in enumerate(images, 1)]


def _as_rgb(image: Tensor, what: str) -> Tensor:
    if image.ndim != 3 or len(image) not in (1, 3, 4):
        raise ValueError(f"the {what} must be grey, RGB or RGBA, (channels, height, width); it is {tuple(image.shape)}")
    height, width = image.shape[-2:]
    if min(height, width) < SMALLEST:
        raise ValueError(f"the {what} has only {width} x {height} pixels; use one of at least {SMALLEST} x {SMALLEST}")
    if height * width > LARGEST:
        raise ValueError(f"the {what} has {width} x {height} pixels, too many to work on; make it smaller")
    if not image.is_floating_point():
        raise ValueError(f"the {what} has whole numbers ({image.dtype}); pixels must be fractions from 0 to 1")
    if not image.isfinite().all():
        raise ValueError(f"the {what} has pixels that are nan or infinite")
    low, high = image.aminmax()
    if low < -0.1 or high > 1.1:  # resampling may overshoot a little
        raise ValueError(
            f"the {what} has pixels from {low:.3g} to {high:.3g}; they must be in 0 to 1 (divide 8-bit values by 255, "
            "16-bit ones by 65535)"
        )
    image = image.clamp(0, 1)
    if len(image) == 4:
        return image[:3] * image[3:] + (1 - image[3:])
    return image.expand(3, -1, -1)
