"""Real weights and pictures for the tests that want them."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rectifid_core.discriminators.faces.runtime import as_bgr
from rectifid_core.images.regions import Region

from .places import shared

MODELS = ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx")
PORTRAITS = {  # pictures of nobody, made by models: the width of the face in pixels
    "flux_fill_inpaint_example-1": 245,
    "hidream_i1_dev-1": 184,
    "image_z_image_turbo-1": 135,
    "hidream_e1_1-2": 130,
}


def real_pack(folder: Path) -> Path:
    """A folder with a real detector and a real recogniser."""
    folder.mkdir(parents=True)
    for name in MODELS:
        (folder / name).write_bytes(shared(f"models/{name}").read_bytes())
    return folder


def group_photo() -> Tensor:
    """Six people, ``(3, 886, 1280)`` in [0, 1]; insightface brings it."""
    pytest.importorskip("insightface")
    return picture(Path(importlib.util.find_spec("insightface").origin).parent / "data" / "images" / "t1.jpg")


def portrait(name: str) -> Tensor:
    for kind in ("image", "other", "video"):
        spec = importlib.util.find_spec(f"comfyui_workflow_templates_media_{kind}")
        path = spec and Path(spec.origin).parent / "templates" / f"{name}.webp"
        if path and path.is_file():
            return picture(path)
    pytest.skip(f"{name}.webp is not installed; it is in the packages comfyui-workflow-templates-media-*")


def picture(path: Path) -> Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).movedim(-1, 0).float() / 255


def norm_crop(image: Tensor, face: Region) -> Tensor:
    """insightface's crop of an image's face, as ours: ``(3, 112, 112)`` in [0, 1]."""
    face_align = pytest.importorskip("insightface.utils.face_align")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of scikit-image, which insightface calls in an old way
        crop = face_align.norm_crop(as_bgr(image), face.landmarks.numpy())
    return torch.from_numpy(crop[..., ::-1].copy()).movedim(-1, 0) / 255
