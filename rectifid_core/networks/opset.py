"""ONNX files of newer operator sets than onnx2torch converts, read as older ones where that gives the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..packages import importing

if TYPE_CHECKING:
    import onnx

NEWEST = 17  # for all operators; some are converted up to 21


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a file declares; 0 where it declares none."""
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)


def lowered(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy that declares `NEWEST`; None where the file declares no newer one.

    Most of the newer versions only add types of numbers, or attributes with which an operator can do more.  The latter
    are dropped, and constant ``axes`` of reductions become attributes again; whether the numbers stay the same has to
    be seen by `agree`.  (onnx's own version converter has no way back for most of these operators.)
    """
    import onnx

    if opset_of(model) <= NEWEST:
        return None
    older = onnx.ModelProto()
    older.CopyFrom(model)
    for each in older.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = NEWEST
    constants = {tensor.name: tensor for tensor in older.graph.initializer}
    for node in older.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in older.graph.node:
        _lower(node, constants)
    return older


def _lower(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, NEWEST, node.domain)
    except onnx.defs.SchemaError:  # a younger operator, which the converter will name
        return
    if node.op_type.startswith("Reduce") and "axes" in schema.attributes and len(node.input) > 1:
        axes = constants.get(node.input[1])
        if axes is not None:
            node.attribute.append(onnx.helper.make_attribute("axes", onnx.numpy_helper.to_array(axes).tolist()))
            del node.input[1:]
    known = [attribute for attribute in node.attribute if attribute.name in schema.attributes]
    del node.attribute[:]
    node.attribute.extend(known)


@torch.no_grad()
def agree(model: onnx.ModelProto, network: nn.Module, images: Tensor) -> bool:
    """Whether ``network`` makes of the images what onnxruntime makes of the file; False where one of them does not run.

    ImportError without onnxruntime.
    """
    with importing("onnxruntime>=1.17", "ONNX files of new opsets"):
        import onnxruntime
    import onnx

    constants = {tensor.name for tensor in model.graph.initializer}
    (value,) = (each for each in model.graph.input if each.name not in constants)
    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {value.name: images.numpy().astype(kind)})
        given = network(torch.from_numpy(images.numpy().astype(kind)))
    except Exception:  # onnxruntime's errors have no class in common
        return False
    expected = torch.from_numpy(expected)
    rounds = kind.itemsize <= 2 or any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    tolerance = 3e-2 if rounds else 1e-3
    return given.shape == expected.shape and torch.allclose(
        given.float(), expected.float(), rtol=tolerance, atol=tolerance * float(expected.float().abs().max())
    )
