"""Real weights and pictures for the tests that want them."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rectifid_core.discriminators.faces.runtime import as_bgr
from rectifid_core.images.regions import Region

from .portraits import picture


def group_photo() -> Tensor:
    """Six people, ``(3, 886, 1280)`` in [0, 1]; insightface brings it."""
    pytest.importorskip("insightface")
    return picture(Path(importlib.util.find_spec("insightface").origin).parent / "data" / "images" / "t1.jpg")


def norm_crop(image: Tensor, face: Region) -> Tensor:
    """insightface's crop of an image's face, as ours: ``(3, 112, 112)`` in [0, 1]."""
    face_align = pytest.importorskip("insightface.utils.face_align")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of scikit-image, which insightface calls in an old way
        crop = face_align.norm_crop(as_bgr(image), face.landmarks.numpy())
    return torch.from_numpy(crop[..., ::-1].copy()).movedim(-1, 0) / 255
