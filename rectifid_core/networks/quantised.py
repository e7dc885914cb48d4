"""ONNX files whose weights are whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .operators import Dequantise

if TYPE_CHECKING:
    import onnx


def with_plain_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights are floats where the file makes them of whole numbers; the model where it makes none.

    Layers have to be converted with their weights at hand, which DequantizeLinear gives only as the file runs.
    """
    import onnx

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and _is_constant(node, constants)]
    if not made:
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    names = {node.output[0] for node in made}
    others = [node for node in plain.graph.node if node.op_type != "DequantizeLinear" or node.output[0] not in names]
    del plain.graph.node[:]
    plain.graph.node.extend(others)
    for node in made:
        values = [onnx.numpy_helper.to_array(constants[name]) for name in node.input if name]
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        weights = _dequantised(axis, *values)
        plain.graph.initializer.append(onnx.numpy_helper.from_array(weights, node.output[0]))
    return plain


def _is_constant(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    blocks = any(each.name == "block_size" and each.i for each in node.attribute)
    return not blocks and all(name in constants for name in node.input if name)


def _dequantised(axis: int, numbers: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
    arrays = (scale, np.zeros_like(scale) if zero is None else zero, numbers)
    scales, zeros, exact = (torch.as_tensor(each.astype(np.float32)) for each in arrays)
    return Dequantise(scales, zeros, axis)(exact).numpy().astype(scale.dtype)
