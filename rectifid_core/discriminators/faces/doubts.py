"""Why a face makes a poor reference: too small, blurred, cut off, seen from the side, half hidden, or drawn.

Measured by SCRFD 2.5G and MobileFaceNet on 91 faces in AI-made pictures, among them 36 of people, seen from the front
or obliquely, 7 in profile, 30 animals and drawings; and on 24 of the people with half of the face covered in the
picture, by grey or by fur.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...images.regions import Region
from .alignment import similarity_transform, template

# Measured on fourteen faces of 51 to 245 pixels: shrunk to 48 pixels they keep a similarity of 0.88 to 0.98 to
# themselves, to 32 one of 0.60 to 0.90.  Sharp ones have a sharpness of 0.05 to 1.2; 0.006 is a Gaussian blur of 1.5 to
# 2 pixels of the 112, which leaves a similarity of 0.46 to 0.93.
SMALLEST = 48  # pixels, the width of a face that makes a good reference
DULLEST = 0.006  # the sharpness of its crop
OUTSIDE = 0.15  # of its box beyond the picture
CROOKED = 7.5 / 112  # of a crop's side: people 1.2 to 7.2 of 112, profiles 7.7 to 12.4
# A crop's similarity to itself with half of it covered.  People 0.48 to 0.73; with a side hidden 0.50 to 1.00 (0.88
# in the middle), mouth and chin 0.65 to 0.94 (0.75, 0.88), the eyes 0.62 to 1.00 (0.74, 0.96).
UNUSED = 0.76
# A crop's mean similarity to itself turned: to a recogniser a turned face is somebody else's, and what it takes for no
# face is the same thing however it lies.  21 people from the front -0.12 to 0.14, blurred by 1 of the 112 pixels -0.07
# to 0.15, by 1.6 up to 0.19; 20 animals and drawings 0.04 to 0.59, 12 of them 0.27 and more; 9 faces under helmets,
# sunglasses, veils 0.07 to 0.72, 5 of them 0.29 and more.  And the length of its embedding to that of the same on its
# side: people 1.14 to 1.9, but down to 1.0 with a blur of 1.3; those 12 animals and drawings 0.8 to 1.3.  A person as
# white as china has 0.19 (0.28 with that blur) and 1.6.
TURNED, LONG = 0.23, 1.4


def doubt_face(region: Region, crop: Tensor, features: Callable[[Tensor], Tensor]) -> str | None:
    """Why to doubt the face in ``region``, with advice, or None.

    crop: of it, ``(3, s, s)``; features: of crops ``(B, 3, s, s)``, as the recogniser gives them, ``(B, D)``.

    Without landmarks only its size and sharpness are looked at.
    """
    if region.width < SMALLEST:
        return (
            f"the face is only {region.width:.0f} pixels wide, and may be taken for somebody else's; use a picture "
            f"in which it has {SMALLEST} or more"
        )
    if sharpness(crop) < DULLEST:
        return (
            f"the face, {region.width:.0f} pixels wide, is blurred, and may be taken for somebody else's; use a "
            "sharper picture"
        )
    if region.outside > OUTSIDE:
        return (
            f"the edge of the picture cuts off {region.outside:.0%} of the face, which may be taken for somebody "
            "else's; use a picture in which it is whole"
        )
    if region.landmarks is None:
        return None
    if misfit(region.landmarks) > CROOKED:
        return (
            "the face is seen from the side, or its eyes, nose and mouth are not where a person has them, and it may "
            "be taken for somebody else's; use a picture that shows it from the front"
        )
    likeness, length = turned(crop, features)
    if likeness > TURNED and length < LONG:
        return (
            "this may be no face of a person, or one that is hidden or drawn, and similarities to it mean little; use "
            "a photograph that shows the whole face from the front"
        )
    if unused(crop, features) > UNUSED:
        return (
            "half of the face seems hidden, by a hand, a mask, hair or shadow, and it may be taken for somebody "
            "else's; use a picture that shows all of it"
        )
    return None


def sharpness(crop: Tensor) -> float:
    """The detail in a crop ``(3, s, s)``: the variance of its Laplacian as a share of its own; 0 for a flat one."""
    grey = crop.float().mean(dim=0)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var() / grey.var().clamp(min=1e-8))


def misfit(landmarks: Tensor) -> float:
    """How far landmarks ``(5, 2)`` are from the template at best, as a share of the crop: root of the mean square."""
    a, b = similarity_transform(landmarks, 112)
    places = torch.view_as_complex(landmarks.to("cpu", torch.float64).contiguous())
    return float((a * places + b - torch.view_as_complex(template(112))).abs().square().mean().sqrt() / 112)


@torch.no_grad()
def turned(crop: Tensor, features: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """A crop's mean similarity to itself on either side and on its head; its features' length to that on the sides."""
    made = features(torch.stack([crop.rot90(quarters, (1, 2)) for quarters in range(4)])).double()
    lengths = torch.linalg.vector_norm(made, dim=1)
    likeness = torch.cosine_similarity(made[:1], made[1:]).mean()
    return float(likeness), float(lengths[0] / lengths[1::2].mean().clamp(min=1e-12))


@torch.no_grad()
def unused(crop: Tensor, features: Callable[[Tensor], Tensor]) -> float:
    """The greatest similarity of a crop to itself with its left, right, upper or lower half in its mean colour."""
    across, down = crop.shape[2] // 2, crop.shape[1] * 4 // 7  # down to the nose
    halves = [(slice(None), slice(across)), (slice(None), slice(across, None)), (slice(down),), (slice(down, None),)]
    crops = crop.repeat(1 + len(halves), 1, 1, 1)
    for covered, half in zip(crops[1:], halves, strict=True):
        covered[(slice(None), *half)] = crop.mean(dim=(1, 2)).view(3, *[1] * 2)
    whole, *others = features(crops).double()
    return max(float(torch.cosine_similarity(whole, other, dim=0)) for other in others)
