"""ONNX files as frozen torch networks, so that a gradient runs through them.  A file is data: nothing in it is executed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data
from onnx2torch import convert
from torch import Tensor, nn


class OnnxError(ValueError):
    """The file cannot serve as a discriminator's network; the message says why and what to do."""


class OnnxNetwork(nn.Module):
    """A converted file: ``(B, 3, H, W) -> (B, ...)``, frozen, in eval mode.

    one_by_one: the file was exported for a batch of exactly one, and shapes inside it may rely on that.
    """

    def __init__(self, network: nn.Module, one_by_one: bool) -> None:
        super().__init__()
        self.network = network
        self.one_by_one = one_by_one
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.network(sample) for sample in x.split(1)]) if self.one_by_one else self.network(x)


def load_onnx(path: str | Path) -> OnnxNetwork:
    """The network of a file with one input, ``(batch, 3, height, width)``, and one output; dynamic axes are welcome.

    Raises OnnxError for a file that is damaged or not ONNX, has another input or output, contains an operator that
    cannot be differentiated here, or names external data outside of its own folder.
    """
    path = Path(path)
    model = _read(path)
    batch = _input_shape(path, model)[0]
    if batch not in (None, 1):
        raise OnnxError(
            f"{path.name} takes exactly {batch} images at a time; export it with a batch of 1 or a free one"
        )
    if len(model.graph.output) != 1:
        raise OnnxError(
            f"{path.name} has {len(model.graph.output)} outputs; a discriminator needs exactly one, the embedding"
        )
    _load_external_data(path, model)
    try:
        network = convert(model)
    except NotImplementedError as error:
        raise OnnxError(f"{path.name} uses an operator that onnx2torch does not support: {error}") from error
    return OnnxNetwork(network, one_by_one=batch == 1)


def input_size(path: str | Path) -> int:
    """The side of the square, in pixels, for which the file was exported; OnnxError where it leaves that free."""
    path = Path(path)
    _, _, height, width = _input_shape(path, _read(path))
    if height is None or width is None:
        raise OnnxError(f"{path.name} works at any size; set the input size for which it was trained")
    if height != width:
        raise OnnxError(f"{path.name} takes images of {width} x {height} pixels; only square inputs are supported")
    return height


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise OnnxError(f"{path.name} is not an ONNX file, or only a part of one: download it again") from error
    if not model.graph.node:  # some damage still parses, as an empty message
        raise OnnxError(f"{path.name} is not an ONNX file, or only a part of one: download it again")
    return model


def _input_shape(path: Path, model: onnx.ModelProto) -> list[int | None]:
    """(batch, 3, height, width); None for an axis that the file leaves free."""
    constants = {tensor.name for tensor in model.graph.initializer}  # old files list them among the inputs
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise OnnxError(f"{path.name} has {len(inputs)} inputs; a discriminator needs exactly one, the image")
    axes = inputs[0].type.tensor_type.shape.dim
    shape = [axis.dim_value if axis.dim_value > 0 else None for axis in axes]
    if len(shape) != 4 or shape[1] not in (None, 3):
        wanted = "(batch, 3, height, width)"
        raise OnnxError(f"{path.name} takes an input of shape {_show(shape)}; a discriminator needs {wanted}")
    return shape


def _show(shape: list[int | None]) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def _load_external_data(path: Path, model: onnx.ModelProto) -> None:
    folder = path.resolve().parent
    for tensor in _tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        file = (folder / location).resolve()
        if not file.is_relative_to(folder):
            raise OnnxError(
                f"{path.name} wants to read weights outside of its own folder ({location}): do not trust it"
            )
        if not file.is_file():
            raise OnnxError(
                f"{path.name} keeps weights in a second file, {location}, which is missing: put it next to it"
            )
    load_external_data_for_model(model, str(folder))


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
