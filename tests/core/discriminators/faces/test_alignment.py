"""Faces are brought to the template: exactly, as insightface brings them, and differentiably."""

from __future__ import annotations

import cmath

import numpy as np
import pytest
import torch

from rectifid_core.discriminators.faces.alignment import TEMPLATE, align, similarity_transform, template
from rectifid_core.discriminators.faces.detector import FaceDetector
from tests.helpers.photos import group_photo, norm_crop
from tests.helpers.portraits import PORTRAITS, portrait, real_pack
from tests.helpers.worlds import rng


def moved(points, a, b):
    """Points ``(5, 2)`` through z -> a z + b."""
    return torch.view_as_real(torch.view_as_complex(points) * a + b)


def pixels(side):
    """The centre of each pixel of a square, ``(side, side, 2)``, x and y."""
    return torch.stack(torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="xy"), dim=-1)


def scene(points):
    """A smooth picture that is known everywhere: its channels at ``(..., 2)``."""
    waves = torch.tensor([[0.05, 0.02], [-0.03, 0.06], [0.04, -0.05]], dtype=torch.float64)
    return 0.5 + 0.4 * torch.sin(torch.einsum("...c,wc->w...", points, waves))


@pytest.mark.parametrize("size", [112, 128, 224, 256])
def test_the_transform_of_a_template_that_was_moved(size):
    a, b = cmath.rect(2.3, 0.4), 31 - 17j
    landmarks = moved(template(size), a, b)
    found = similarity_transform(landmarks.float(), size)
    assert found[0] == pytest.approx(1 / a, abs=1e-5) and found[1] == pytest.approx(-b / a, abs=1e-3)


def test_the_transform_is_the_nearest_by_least_squares():
    points = TEMPLATE * 1.7 + 9 * torch.randn(5, 2, generator=rng(), dtype=torch.float64)
    a, b = similarity_transform(points, 112)

    def error(a, b):
        return (moved(points, a, b) - TEMPLATE).square().sum()

    for step in (1e-3, -1e-3, 1e-3j, -1e-3j):
        assert error(a, b) < error(a + step, b) and error(a, b) < error(a, b + step)


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated")  # insightface calls scikit-image in an old way
@pytest.mark.parametrize("size", [112, 128, 224, 256])
def test_the_transform_is_insightfaces(size):
    face_align = pytest.importorskip("insightface.utils.face_align")
    points = TEMPLATE * 1.7 + 9 * torch.randn(5, 2, generator=rng(1), dtype=torch.float64)
    (a, b), matrix = similarity_transform(points, size), face_align.estimate_norm(points.numpy(), size)
    np.testing.assert_allclose(matrix, [[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], atol=1e-4)


def test_what_cannot_be_aligned():
    with pytest.raises(ValueError, match="112 or 128.*160"):
        align(torch.zeros(3, 8, 8), TEMPLATE, 160)
    with pytest.raises(ValueError, match="one point"):
        align(torch.zeros(3, 8, 8), torch.ones(5, 2), 112)


@pytest.mark.parametrize("scale", [0.7, 1.0, 2.0, 3.4])
def test_each_pixel_of_the_crop_shows_its_place(scale):
    a, b = cmath.rect(scale, 0.3), 60 + 20j
    places = moved(pixels(112).view(-1, 2), a, b).view(112, 112, 2)
    inside = ((places > 1) & (places < 418)).all(dim=-1)
    assert inside.double().mean() > 0.8
    crop = align(scene(pixels(420)), moved(TEMPLATE, a, b), 112)
    torch.testing.assert_close(crop[:, inside], scene(places)[:, inside], atol=3e-3, rtol=0)


def test_outside_of_the_image_is_black():
    crop = align(torch.ones(3, 60, 112, dtype=torch.float64), TEMPLATE, 112)
    torch.testing.assert_close(crop[:, :60], torch.ones(3, 60, 112).double())
    assert (crop[:, 60:] == 0).all()


@pytest.mark.parametrize("scale", [1.3, 2.9, 6.1])
def test_every_pixel_of_a_face_counts(scale):
    side = int(130 * scale)
    image = torch.rand(3, side, side, generator=rng(), requires_grad=True)
    align(image, TEMPLATE * scale + 4.3, 112).sum().backward()
    edge = int(5 + scale)
    face = image.grad[:, edge : int(110 * scale), edge : int(110 * scale)]
    assert (face > 0).all()


@pytest.mark.parametrize(("scale", "shift"), [(0.1, 1 + 3j), (3.0, -110 - 160j)])
def test_gradient_against_finite_differences(scale, shift):
    """Of a whole face, small; and of a patch of a large one, where each pixel of the crop is the mean of samples."""
    landmarks = moved(TEMPLATE, cmath.rect(scale, -0.2), shift)
    image = torch.rand(3, 14, 12, generator=rng(), dtype=torch.float64).requires_grad_()
    assert (align(image, landmarks, 112) > 0).sum() > 3 * 16
    assert torch.autograd.gradcheck(lambda x: align(x, landmarks, 112), image, fast_mode=True)


def test_crops_are_insightfaces(tmp_path):
    """Of the photo's faces, 94 to 110 pixels wide, exactly but for rounding; measured: 0.22 to 0.24 of 255.

    Of the larger ones nearly, 0.21 to 0.64 of 255, for `align` looks at all of their pixels.
    """
    detect = FaceDetector(real_pack(tmp_path / "pack") / "scrfd_2.5g_bnkps.onnx")
    photo = group_photo()
    faces = detect(photo)[:6]
    for face in faces:
        difference = align(photo, face.landmarks, 112) - norm_crop(photo, face)
        assert difference.abs().mean() < 0.3 / 255
    for name, width in PORTRAITS.items():
        image = portrait(name)
        face = detect(image)[0]
        assert face.width == pytest.approx(width, abs=2)
        difference = align(image, face.landmarks, 112) - norm_crop(image, face)
        assert difference.abs().mean() < 0.8 / 255
