"""What the network of an ONNX file may take, seen before it runs: a few bytes can ask for all memory of a machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

LARGEST_FILE = (1 << 31) - 1  # bytes: the most that the format can have
LARGEST_WEIGHTS = 1 << 32  # bytes of the weights that it keeps elsewhere; the largest recognisers have about 1.3 GB
LARGEST_VALUE = 1 << 31  # bytes of what one operator gives for one picture; 0.2 GB are usual for a large detector
LOOPS = ("Loop", "Scan")
_FREE_SIDE = 640  # pixels, for which a file is judged that leaves them free: what detectors look at
_SMALL = 1024  # numbers of a constant, which may be a shape


def beyond_bounds(model: onnx.ModelProto) -> str | None:
    """What a file asks for that no recogniser or detector needs, in words; None for nothing.

    By the shapes that onnx infers for one picture, without running or allocating anything.
    """
    for node in model.graph.node:
        if node.op_type in LOOPS:
            return f"its operator {node.name or node.op_type} is a loop ({node.op_type}), whose end cannot be foreseen"
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) * _bytes_of(tensor.data_type) > LARGEST_WEIGHTS:
            return f"its weights {tensor.name} have the shape {tuple(tensor.dims)}"
    for sparse in model.graph.sparse_initializer:
        if math.prod(sparse.dims) * _bytes_of(sparse.values.data_type) > LARGEST_WEIGHTS:
            return f"its weights {sparse.values.name} have the shape {tuple(sparse.dims)}"
    for value in _values(_skeleton(model)):
        kind = value.type.tensor_type
        shape = [axis.dim_value or 1 for axis in kind.shape.dim]
        if math.prod(shape) * _bytes_of(kind.elem_type) > LARGEST_VALUE:
            return f"it makes a value of the shape {tuple(shape)} ({value.name}) on its way"
    return None


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    """All that its operators make, as far as onnx can tell; below opset 14 it cannot tell computed shapes."""
    import onnx

    versions = [each for each in model.opset_import if each.domain in ("", "ai.onnx")]
    for lowest in (0, 14):
        if all(each.version >= lowest for each in versions) and lowest:
            return
        for each in versions:
            each.version = max(each.version, lowest)
        try:
            yield from onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):  # told where it is converted or run
            continue


def _bytes_of(kind: int) -> int:
    """Of one number."""
    import onnx

    try:
        return onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
    except (KeyError, TypeError):
        return 4


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The file for one picture, without its weights but for small constants: theirs are inputs of the same shape."""
    import onnx

    graph = onnx.GraphProto(name=model.graph.name, node=model.graph.node)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            graph.input.append(value)
            for number, axis in enumerate(graph.input[-1].type.tensor_type.shape.dim):
                if axis.dim_value <= 0:
                    axis.dim_value = (1, 3, _FREE_SIDE, _FREE_SIDE)[number] if number < 4 else 1
    for name, tensor in constants.items():
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    return onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
