"""ONNX files as frozen torch networks, so that gradients run through them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..packages import importing
from . import operators
from .onnx_file import OnnxError, Shape, inputs_of, read_onnx, read_whole_onnx, shape_of, show
from .opset import NEWEST, agree, lowered, opset_of
from .quantised import with_plain_weights
from .weights import first_weight

if TYPE_CHECKING:
    import onnx


class OnnxNetwork(nn.Module):
    """A converted file: ``(B, 3, H, W) -> (B, ...)``, frozen, in eval mode, whatever the floating type of its weights.

    shape: the (batch, 3, height, width) that the file takes.
    one_by_one: the file was exported for a batch of exactly one, and constants inside it rely on that.
    digest: the SHA-256 of the file, and of the weights that it keeps elsewhere.
    """

    def __init__(self, network: nn.Module, shape: Shape, one_by_one: bool, digest: str) -> None:
        super().__init__()
        self.network = network
        self.shape = shape
        self.one_by_one = one_by_one
        self.digest = digest
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if any(side not in (None, given) for side, given in zip(self.shape[1:], x.shape[1:], strict=True)):
            raise OnnxError(f"the network takes images of shape {show(self.shape)}, not {show(x.shape)}: set that size")
        x = x.to(first_weight(self.network, x).dtype)
        return torch.cat([self.network(sample) for sample in x.split(1)]) if self.one_by_one else self.network(x)


def load_onnx(path: str | Path) -> OnnxNetwork:
    """The network of a file with one input, ``(batch, 3, height, width)``, and one output; axes may be dynamic.

    Raises OnnxError for a file that is damaged or not ONNX, has other inputs or outputs, uses an operator that cannot
    be converted, or names external data outside of its own folder; ImportError without onnx or onnx2torch.
    """
    path = Path(path)
    file = read_whole_onnx(path)
    shape = _input_shape(path, file.model)
    if shape[0] not in (None, 1):
        raise OnnxError(f"{path.name} takes exactly {shape[0]} images at a time; export it for one, or for any number")
    outputs = file.model.graph.output
    if len(outputs) != 1:
        raise OnnxError(f"{path.name} has {len(outputs)} outputs; a discriminator needs exactly one, the embedding")
    network = _convert(path, file.model, shape)
    one_at_a_time = 1 in (shape[0], *shape_of(outputs[0])[:1])
    one_by_one = one_at_a_time and not _takes_batches(network, shape)
    return OnnxNetwork(network, shape, one_by_one, file.digest)


def input_size(path: str | Path) -> int:
    """The side of the square, in pixels, for which the file was exported; OnnxError where the file leaves it free."""
    path = Path(path)
    _, _, height, width = _input_shape(path, read_onnx(path))
    if height is None or width is None:
        raise OnnxError(f"{path.name} takes images of any size; set the input size for which it was trained")
    if height != width:
        raise OnnxError(f"{path.name} takes images of {width} x {height} pixels; only square ones are supported")
    return height


def _convert(path: Path, model: onnx.ModelProto, shape: Shape) -> nn.Module:
    with importing("onnx2torch==1.5.15", "ONNX files"):
        from onnx2torch import convert
    operators.register()
    given = model
    try:
        model = with_plain_weights(model)
        try:
            return convert(model).eval()
        except NotImplementedError:
            if (older := lowered(model)) is None:
                raise
            network = convert(older).eval()
    except NotImplementedError as error:
        raise OnnxError(
            f"{path.name} uses an operator that cannot be converted to torch: {error}. The file has opset "
            f"{opset_of(model)}; what works is up to {NEWEST}: export it again with that, if you can"
        ) from error
    except Exception as error:  # the converter trusts the file, and so raises anything for one that is wrong
        what = f"{type(error).__name__}: {error}"
        raise OnnxError(f"{path.name} contradicts itself ({what}); download or export it again") from error
    if not agree(given, network, _sample(1, shape)):
        raise OnnxError(
            f"{path.name} has opset {opset_of(model)}, and gives other numbers when it is read as opset {NEWEST}, the "
            "newest that can be converted to torch as a whole; export it again with that"
        )
    return network


@torch.no_grad()
def _takes_batches(network: nn.Module, shape: Shape) -> bool:
    """Whether a network that was exported for one image does two as it does each: most do, and it is faster."""
    two = _sample(2, shape)
    two = two.to(first_weight(network, two).dtype)
    try:
        each, both = [network(one) for one in two.split(1)], network(two)
    except RuntimeError:  # a constant shape inside it is that of one image, or of another size
        return False
    return both.shape[:1] == (2,) and torch.allclose(both, torch.cat(each), rtol=1e-3, atol=1e-4)


def _sample(count: int, shape: Shape) -> Tensor:
    sides = [side or 112 for side in shape[2:]]
    return torch.rand(count, 3, *sides, generator=torch.Generator().manual_seed(0))


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
