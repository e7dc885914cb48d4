"""ONNX files as frozen torch networks, so that gradients run through them.  A file is data: none of it is executed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data
from onnx2torch import convert
from torch import Tensor, nn

Shape = Sequence[int | None]  # None: an axis that the file leaves free


class OnnxError(ValueError):
    """The file cannot serve as a discriminator's network; the message says why and what to do."""


class OnnxNetwork(nn.Module):
    """A converted file: ``(B, 3, H, W) -> (B, ...)``, frozen, in eval mode.

    shape: the (batch, 3, height, width) that the file takes.
    one_by_one: the file was exported for a batch of exactly one, and constants inside it rely on that.
    """

    def __init__(self, network: nn.Module, shape: Shape, one_by_one: bool) -> None:
        super().__init__()
        self.network = network
        self.shape = shape
        self.one_by_one = one_by_one
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if any(side not in (None, given) for side, given in zip(self.shape[1:], x.shape[1:], strict=True)):
            raise OnnxError(f"the network takes images of shape {show(self.shape)}, not {show(x.shape)}: set that size")
        return torch.cat([self.network(sample) for sample in x.split(1)]) if self.one_by_one else self.network(x)


def load_onnx(path: str | Path) -> OnnxNetwork:
    """The network of a file with one input, ``(batch, 3, height, width)``, and one output; axes may be dynamic.

    Raises OnnxError for a file that is damaged or not ONNX, has other inputs or outputs, uses an operator that cannot
    be converted, or names external data outside of its own folder.
    """
    path = Path(path)
    model = read_onnx(path)
    shape = _input_shape(path, model)
    if shape[0] not in (None, 1):
        raise OnnxError(f"{path.name} takes exactly {shape[0]} images at a time; export it for one, or for any number")
    outputs = model.graph.output
    if len(outputs) != 1:
        raise OnnxError(f"{path.name} has {len(outputs)} outputs; a discriminator needs exactly one, the embedding")
    check_external_data(path, model)
    load_external_data_for_model(model, str(path.resolve().parent))
    try:
        network = convert(model).eval()
    except NotImplementedError as error:
        raise OnnxError(f"{path.name} uses an operator that cannot be converted to torch: {error}") from error
    except (KeyError, RuntimeError, ValueError) as error:
        raise OnnxError(f"{path.name} contradicts itself ({error}); download it again") from error
    one_at_a_time = 1 in (shape[0], *shape_of(outputs[0])[:1])
    return OnnxNetwork(network, shape, one_by_one=one_at_a_time and not _takes_batches(network, shape))


@torch.no_grad()
def _takes_batches(network: nn.Module, shape: Shape) -> bool:
    """Whether a network that was exported for one image does two as it does each: most do, and it is faster."""
    sides = [side or 112 for side in shape[2:]]
    two = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(0))
    try:
        each, both = [network(one) for one in two.split(1)], network(two)
    except RuntimeError:  # a constant shape inside it is that of one image, or of another size
        return False
    return both.shape[:1] == (2,) and torch.allclose(both, torch.cat(each), rtol=1e-3, atol=1e-4)


def input_size(path: str | Path) -> int:
    """The side of the square, in pixels, for which the file was exported; OnnxError where the file leaves it free."""
    path = Path(path)
    _, _, height, width = _input_shape(path, read_onnx(path))
    if height is None or width is None:
        raise OnnxError(f"{path.name} takes images of any size; set the input size for which it was trained")
    if height != width:
        raise OnnxError(f"{path.name} takes images of {width} x {height} pixels; only square ones are supported")
    return height


def read_onnx(path: Path) -> onnx.ModelProto:
    """A file, without the weights that it may keep in a second one; OnnxError where it is damaged."""
    damaged = OnnxError(f"{path.name} is not an ONNX file, or only a part of one; download it again")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise damaged from error
    if not (model.graph.node and model.opset_import):  # a file cut between two fields still parses
        raise damaged
    return model


def _input_shape(path: Path, model: onnx.ModelProto) -> Shape:
    """(batch, 3, height, width) of the only input."""
    inputs = inputs_of(model)
    if len(inputs) != 1:
        raise OnnxError(f"{path.name} has {len(inputs)} inputs; a discriminator needs exactly one, the image")
    shape = shape_of(inputs[0])
    if len(shape) != 4 or shape[1] not in (None, 3):
        wanted = "(batch, 3, height, width)"
        raise OnnxError(f"{path.name} takes an input of shape {show(shape)}; a discriminator needs {wanted}")
    return shape


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}  # old files list them among the inputs
    return [value for value in model.graph.input if value.name not in constants]


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    return [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]


def show(shape: Shape) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"


def check_external_data(path: Path, model: onnx.ModelProto) -> None:
    """OnnxError where the file keeps weights in a second file that is missing, or outside of its own folder."""
    folder = path.resolve().parent
    for tensor in _tensors(model.graph):
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        file = (folder / location).resolve()
        if not file.is_relative_to(folder):
            raise OnnxError(f"{path.name} reads weights from outside of its own folder ({location}); do not trust it")
        if not file.is_file():
            raise OnnxError(f"{path.name} keeps its weights in a second file, {location}; put that next to it")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant: the weights, and those inside of nodes and their subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for subgraph in (attribute.g, *attribute.graphs):
                yield from _tensors(subgraph)
