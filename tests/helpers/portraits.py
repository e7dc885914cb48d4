"""Pictures of nobody, made by models, which ComfyUI's template packages bring, and real weights that see faces."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .places import shared

MODELS = ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx")
PORTRAITS = {  # the width of the face in pixels
    "flux_fill_inpaint_example-1": 245,
    "hidream_i1_dev-1": 184,
    "image_z_image_turbo-1": 135,
    "hidream_e1_1-2": 130,
}


def portrait(name: str) -> Tensor:
    for kind in ("image", "other", "video"):
        spec = importlib.util.find_spec(f"comfyui_workflow_templates_media_{kind}")
        path = spec and Path(spec.origin).parent / "templates" / f"{name}.webp"
        if path and path.is_file():
            return picture(path)
    pytest.skip(f"{name}.webp is not installed; it is in the packages comfyui-workflow-templates-media-*")


def picture(path: Path) -> Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).movedim(-1, 0).float() / 255


def square(name: str, side: int) -> Tensor:
    """The middle of a portrait, ``(3, side, side)``."""
    image = portrait(name)
    edge = min(image.shape[1:])
    top, left = ((length - edge) // 2 for length in image.shape[1:])
    cut = image[None, :, top : top + edge, left : left + edge]
    return F.interpolate(cut, (side, side), mode="bilinear", antialias=True)[0]


def real_pack(folder: Path) -> Path:
    """A folder with a real detector and a real recogniser."""
    folder.mkdir(parents=True)
    for name in MODELS:
        (folder / name).write_bytes(shared(f"models/{name}").read_bytes())
    return folder
