"""Faces that lie, stand on their head, are small in a large picture, or enlarged are encoded as upright ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import rotate

from rectifid_core.discriminators.faces.detector import FaceDetector
from rectifid_core.discriminators.faces.discriminator import load_face_discriminator
from rectifid_core.identity.encoding import encode_identity
from tests.helpers.face_packs import LANDMARKS, write_detector
from tests.helpers.photos import group_photo
from tests.helpers.portraits import PORTRAITS, portrait, real_pack


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return load_face_discriminator(real_pack(tmp_path_factory.mktemp("packs") / "real"))


def embedding(real, image):
    return encode_identity(real, [image], strategy="largest").embeddings[0]


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 21])
def test_landmarks_of_an_enlarged_picture_are_where_its_pixels_are(tmp_path, scale):
    """Pixel i of 64 becomes ``scale`` pixels, whose centre is (scale - 1) / 2 from that of the first."""
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    (face,) = detect(torch.zeros(1, 1, 1).expand(3, 64 * scale, 64 * scale))
    wanted = torch.from_numpy(LANDMARKS * 8 + 32) * scale + (scale - 1) / 2
    torch.testing.assert_close(face.landmarks, wanted, atol=1e-3, rtol=0)
    assert face.box == pytest.approx([edge * scale for edge in (24, 24, 40, 40)])


@pytest.mark.parametrize("name", list(PORTRAITS)[1:])
def test_a_picture_that_a_phone_turned_scores_near_its_upright_self(real, name):
    """Without the turned looks 32 turns of ten such pictures gave -0.1 to 0.7."""
    image = portrait(name)
    upright = embedding(real, image)
    for quarters in (1, 2, 3):
        assert embedding(real, image.rot90(quarters, (1, 2))) @ upright > 0.9


@pytest.mark.parametrize("angle", [-45.0, 45.0])
def test_a_tilted_face_scores_near_its_upright_self(real, angle):
    image = portrait("hidream_e1_1-2")
    assert embedding(real, rotate(image, angle)) @ embedding(real, image) > 0.6


def test_an_upright_picture_is_looked_at_as_the_tracker_does(real):
    photo = group_photo()
    quick, thorough = (real.locate(photo[None], thorough=thorough)[0][:6] for thorough in (False, True))
    assert [face.box for face in quick] == [face.box for face in thorough]


def test_the_sampler_pays_for_one_look(real, monkeypatch):
    image, calls = portrait("hidream_e1_1-2")[None], []
    detect = real._detector._scrfd.detect
    monkeypatch.setattr(real._detector._scrfd, "detect", lambda *a, **k: calls.append(1) or detect(*a, **k))
    real.locate(image)
    once = len(calls)
    real.locate(image, thorough=True)
    assert len(calls) - once == 4 * once


@pytest.mark.parametrize("quarters", [0, 1])
def test_a_small_face_in_a_large_photograph_is_found(real, quarters):
    """A face of 81 of 8000 pixels, of which the detector sees 6 in the whole picture; also on its side."""
    face = portrait("image_z_image_turbo-1")
    small = F.interpolate(face[None], scale_factor=0.6, mode="bilinear", antialias=True)[0]
    photo = torch.full((3, 1500, 8000), 0.5)
    photo[:, 900:1140, 5900:6140] = small
    photo = photo.rot90(quarters, (1, 2))
    assert not [each for each in real.locate(photo[None])[0] if each.score >= real.threshold]
    assert embedding(real, photo) @ embedding(real, small) > 0.9


def test_nothing_in_a_large_picture_takes_bounded_time(real, monkeypatch):
    calls, nothing = [], (np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))
    monkeypatch.setattr(real._detector._scrfd, "detect", lambda *a, **k: calls.append(1) or nothing)
    assert real.locate(torch.full((1, 1, 1, 1), 0.5).expand(1, 3, 6000, 12000), thorough=True) == [[]]
    assert len(calls) < 2 * (5 + 64 + 3 * 21 + 1)
