"""Real weights and pictures for the tests that want them, and small ONNX files that stand for parts of a face pack."""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor

from rectifid_core.discriminators.faces.runtime import as_bgr
from rectifid_core.images.regions import Region

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("RECTIFID_SHARED", REPOSITORY.parent / "shared")) / "data"
MODELS = ("scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx")
PORTRAITS = {  # pictures of nobody, made by models: the width of the face in pixels
    "flux_fill_inpaint_example-1": 245,
    "hidream_i1_dev-1": 184,
    "image_z_image_turbo-1": 135,
    "hidream_e1_1-2": 130,
}


def shared(name: str) -> Path:
    """A file of the shared data; without it, the test is skipped."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {path.parent}; RECTIFID_SHARED names another folder")
    return path


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


def write_onnx(path: Path, image: list, nodes: list, outputs: dict[str, list], **constants: np.ndarray) -> Path:
    """A file with one input "image" of the given shape; nodes as (operator, inputs, output, attributes)."""
    graph = helper.make_graph(
        [
            helper.make_node(operator, inputs, [output], name=f"{operator}_{i}", **attributes)
            for i, (operator, inputs, output, attributes) in enumerate(nodes)
        ],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_recogniser(path: Path, side: int = 112, width: int = 64, prepare: list = (), **constants) -> Path:
    """Embeds by random weights; ``prepare`` are nodes before, the last of which gives "prepared"."""
    weights = np.random.default_rng(0).normal(0, 1, (3 * (side // 16) ** 2, width)).astype(np.float32)
    nodes = [
        *prepare,
        ("AveragePool", ["prepared" if prepare else "image"], "small", {"kernel_shape": [16, 16], "strides": [16, 16]}),
        ("Flatten", ["small"], "flat", {}),
        ("MatMul", ["flat", "weights"], "embedding", {}),
    ]
    outputs = {"embedding": ["batch", width]}
    return write_onnx(path, ["batch", 3, side, side], nodes, outputs, weights=weights, **constants)


PARTS = {"scores": 1, "boxes": 4, "landmarks": 10}
LANDMARKS = np.array([[-0.4, -0.4], [0.4, -0.4], [0.0, 0.0], [-0.3, 0.4], [0.3, 0.4]], np.float32)  # of a half width


def write_detector(
    path: Path, faces: list[tuple[int, float, float]] = (), parts: tuple[str, ...] = tuple(PARTS)
) -> Path:
    """Sees the same faces in each picture whose upper left corner is black, and none where it is white.

    It looks at 64 x 64 pixels; faces: (column, a multiple of 8; half width; score) each, all in row 32.
    """
    values = {
        f"{part}{n}": np.zeros((2 * (64 // n) ** 2, PARTS[part]), np.float32) for part in parts for n in (8, 16, 32)
    }
    for column, half, score in faces:
        anchor = 2 * (8 * (32 // 8) + column // 8)
        values["scores8"][anchor] = score
        values["boxes8"][anchor] = half / 8
        values["landmarks8"][anchor] = (LANDMARKS * half / 8).ravel()
    nodes = [
        ("Slice", ["image", "from", "to"], "corner", {}),
        ("Reshape", ["corner", "one"], "bright", {}),
        ("Neg", ["bright"], "dark", {}),
        ("Relu", ["dark"], "seen", {}),
        *[("Mul", [f"all_{name}", "seen"], name, {}) for name in values if "scores" in name],
        *[("Identity", [f"all_{name}"], name, {}) for name in values if "scores" not in name],
    ]
    corner = {"from": np.zeros(4, np.int64), "to": np.ones(4, np.int64), "one": np.ones(1, np.int64)}
    outputs = {name: list(value.shape) for name, value in values.items()}
    return write_onnx(path, [1, 3, 64, 64], nodes, outputs, **corner, **{f"all_{k}": v for k, v in values.items()})


def write_attributes(path: Path) -> Path:
    """Takes the redder half of all pictures for men's, and greener ones for older people's."""
    weights = np.array([[-1, 1, 0], [0, 0, 0.3], [0, 0, 0]], np.float32)  # rows: red, green, blue
    nodes = [
        ("ReduceMean", ["image"], "colour", {"axes": [2, 3], "keepdims": 0}),
        ("MatMul", ["colour", "weights"], "mixed", {}),
        ("Add", ["mixed", "bias"], "answer", {}),
    ]
    bias = np.array([[0, 0, 0.4]], np.float32)
    return write_onnx(path, ["batch", 3, 96, 96], nodes, {"answer": ["batch", 3]}, weights=weights, bias=bias)
