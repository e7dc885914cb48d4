"""Small ONNX files that stand for parts of a face pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


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
        ("Relu", ["dark"], "visible", {}),
        *[("Mul", [f"all_{name}", "visible"], name, {}) for name in values if "scores" in name],
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


FACES = [
    (8, 4.0, 0.9),
    (32, 8.0, 0.6),
    (48, 3.0, 0.25),
    (16, 3.0, 0.35),
    (56, 3.0, 0.15),
]


def write_pack(folder, faces=FACES, **recogniser):
    write_detector(folder / "det.onnx", faces)
    write_recogniser(folder / "rec.onnx", **recogniser)
    return folder
