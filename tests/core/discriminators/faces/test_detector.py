"""The face detector, by small networks whose answers are known."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
import torch

from rectifid_core.discriminators.faces import runtime as face_runtime
from rectifid_core.discriminators.faces.detector import FaceDetector
from rectifid_core.discriminators.faces.runtime import PROVIDERS, as_bgr
from tests.helpers.face_packs import (
    FACES,
    LANDMARKS,
    write_detector,
)

pytest.importorskip("insightface")


def black(height=64, width=64):
    return torch.zeros(3, height, width)


def test_confident_faces_first_and_a_bounded_rest(tmp_path):
    faces = FaceDetector(write_detector(tmp_path / "det.onnx", FACES))(black())
    assert [round(face.score, 1) for face in faces] == [0.6, 0.9, 0.3, 0.2]  # largest, next, then the surest
    face = faces[0]
    assert face.box == pytest.approx((24, 24, 40, 40), abs=0.1)
    np.testing.assert_allclose(face.landmarks, LANDMARKS * 8 + 32, atol=0.1)
    assert face.landmarks.dtype == torch.float32


@pytest.mark.parametrize(("threshold", "found"), [(0.8, 2), (0.5, 4), (0.3, 5), (0.05, 5)])
def test_the_threshold_is_lowered_once_and_not_below_a_floor(tmp_path, threshold, found):
    """0.8 leaves 0.5 and more; 0.3 leaves what scores 0.1 and more, and not 0.0."""
    assert len(FaceDetector(write_detector(tmp_path / "det.onnx", FACES), threshold)(black())) == found


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 1.5, float("nan")])
def test_thresholds_that_are_none(tmp_path, threshold):
    with pytest.raises(ValueError, match="threshold must be above 0 and below 1"):
        FaceDetector(write_detector(tmp_path / "det.onnx"), threshold)


def test_a_second_look_with_a_margin(tmp_path):
    """The detector sees nothing where the corner is white, as in a picture without a margin."""
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    (face,) = detect(torch.ones(3, 64, 64))
    # With a margin of 32 on each side, 128 pixels are seen as 64: the face at 32 +- 8 there is at 64 +- 16 - 32 here.
    assert face.box == pytest.approx((16, 16, 48, 48), abs=0.2)
    # The centre of a pixel that covers two is half a pixel further than that of the first of them.
    np.testing.assert_allclose(face.landmarks, LANDMARKS * 16 + 32.5, atol=0.2)


def test_a_picture_of_8k(tmp_path):
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    (face,) = detect(black(1, 1).expand(3, 4320, 7680))
    scale = 7680 / 64
    assert face.box == pytest.approx((24 * scale, 24 * scale, 40 * scale, 40 * scale), rel=0.01)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 3000), (3000, 8), (63, 65)])
def test_pictures_of_any_shape(tmp_path, height, width):
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    assert len(detect(black(height, width))) == 1


def test_pictures_as_opencv_has_them():
    image = torch.tensor([0.1, 0.5, 1.2]).view(3, 1, 1).expand(3, 2, 4).movedim(-1, -2)
    pixels = as_bgr(image.double().requires_grad_())
    assert pixels.shape == (4, 2, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert (pixels == [255, 128, 26]).all()


def test_where_it_runs_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(face_runtime, "_said", set())
    path = write_detector(tmp_path / "det.onnx")
    with caplog.at_level(logging.INFO):
        FaceDetector(path), FaceDetector(path)
    assert len([line for line in caplog.messages if line.startswith("RectifID: faces are found on the")]) == 1


@pytest.mark.parametrize(
    ("active", "available", "message"),
    [
        ("CUDAExecutionProvider", PROVIDERS, "on the GPU"),
        ("CPUExecutionProvider", PROVIDERS, "on the CPU .* could not start it"),
        ("CPUExecutionProvider", PROVIDERS[1:], "on the CPU .* onnxruntime-gpu would use the GPU"),
    ],
)
def test_a_silent_fall_to_the_cpu_is_none(active, available, message, caplog, monkeypatch):
    monkeypatch.setattr(face_runtime, "_said", set())
    with caplog.at_level(logging.INFO):
        face_runtime._say(active, available)
    assert re.search(message, caplog.text)
    assert ("WARNING" in caplog.text) == ("could not start" in message)
