"""Operators of ONNX that recognisers use, and that onnx2torch does not convert by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NOW = 17  # what `opset.lowered` declares; an operator that is younger is looked for under it, too
_QUANTISED = (10, 13, 19, 21, 23, 24, 25)
_RANGES = {torch.int8: (-128, 127), torch.uint8: (0, 255), torch.int16: (-32768, 32767), torch.uint16: (0, 65535)}


class Calls(nn.Module):
    """A function of the operator's inputs."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._function(*inputs)


class Quantise(nn.Module):
    """QuantizeLinear, its whole numbers as floats.

    Its gradient is that of the clamping alone, as if nothing was rounded (a straight-through estimate).
    """

    scale: Tensor
    zero: Tensor

    def __init__(self, scale: Tensor, zero: Tensor, axis: int, limits: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero.to(scale.dtype))
        self._axis, self._limits = axis, limits

    def forward(self, x: Tensor) -> Tensor:
        exact = x / _along(self.scale, self._axis, x)
        zero = _along(self.zero, self._axis, x)
        clamped = (exact + zero).clamp(*self._limits)
        return clamped + ((exact.round() + zero).clamp(*self._limits) - clamped).detach()


class Dequantise(nn.Module):
    """DequantizeLinear."""

    scale: Tensor
    zero: Tensor

    def __init__(self, scale: Tensor, zero: Tensor, axis: int) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero.to(scale.dtype))
        self._axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return (x - _along(self.zero, self._axis, x)) * _along(self.scale, self._axis, x)


def _along(values: Tensor, axis: int, x: Tensor) -> Tensor:
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def group_norm(x: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float) -> Tensor:
    """GroupNormalization; until opset 20 scale and bias are those of a group, from 21 on those of a channel."""
    each = x.shape[1] // len(scale)
    return F.group_norm(x, groups, scale.repeat_interleave(each), bias.repeat_interleave(each), epsilon)


def space_to_depth(x: Tensor, side: int) -> Tensor:
    """SpaceToDepth: blocks of ``side`` by ``side`` pixels become channels, slower than those that were there."""
    batch, channels, height, width = x.shape
    blocks = x.reshape(batch, channels, height // side, side, width // side, side)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * side**2, height // side, width // side)


@cache
def register() -> None:
    """Makes them known to onnx2torch, once."""
    from onnx2torch.node_converters.registry import add_converter
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult, get_const_value

    def add(name: str, versions: tuple[int, ...], make: Callable[[Any, Any], nn.Module], inputs: int | None) -> None:
        def converter(node: Any, graph: Any) -> OperationConverterResult:
            mapping = OnnxMapping(inputs=tuple(node.input_values)[:inputs], outputs=tuple(node.output_values))
            return OperationConverterResult(torch_module=make(node, graph), onnx_mapping=mapping)

        for version in versions:
            with suppress(ValueError):  # it is known: of the pack there twice, or of a newer onnx2torch
                add_converter(operation_type=name, version=version)(converter)

    def numbers(node: Any, graph: Any) -> tuple[Tensor, Tensor]:
        """Scale and zero point."""
        if node.attributes.get("block_size") or node.attributes.get("saturate", 1) != 1:
            raise NotImplementedError(f"{node.operation_type} by blocks")
        try:
            scale = torch.as_tensor(get_const_value(node.input_values[1], graph))
            has_zero = len(node.input_values) > 2 and node.input_values[2]
            zero = get_const_value(node.input_values[2], graph) if has_zero else torch.zeros_like(scale).to(torch.uint8)
        except KeyError as error:
            raise NotImplementedError(f"{node.operation_type} with a scale that is no constant") from error
        return scale, torch.as_tensor(zero)

    def quantise(node: Any, graph: Any) -> nn.Module:
        scale, zero = numbers(node, graph)
        if zero.dtype not in _RANGES:
            raise NotImplementedError(f"QuantizeLinear to {zero.dtype}")
        return Quantise(scale, zero, node.attributes.get("axis", 1), _RANGES[zero.dtype])

    def dequantise(node: Any, graph: Any) -> nn.Module:
        return Dequantise(*numbers(node, graph), node.attributes.get("axis", 1))

    def normalise(node: Any, graph: Any) -> nn.Module:
        order, axis = node.attributes.get("p", 2), node.attributes.get("axis", -1)
        return Calls(lambda x: x / torch.linalg.vector_norm(x, ord=order, dim=axis, keepdim=True))

    def grouped(node: Any, graph: Any) -> nn.Module:
        groups, epsilon = node.attributes["num_groups"], node.attributes.get("epsilon", 1e-5)
        return Calls(lambda x, scale, bias: group_norm(x, scale, bias, groups, epsilon))

    def gelu(node: Any, graph: Any) -> nn.Module:
        return nn.GELU(approximate=node.attributes.get("approximate", "none"))

    def deepen(node: Any, graph: Any) -> nn.Module:
        side = node.attributes["blocksize"]
        return Calls(lambda x: space_to_depth(x, side))

    add("QuantizeLinear", _QUANTISED, quantise, 1)
    add("DequantizeLinear", _QUANTISED, dequantise, 1)
    add("LpNormalization", (1, 22), normalise, None)
    add("GroupNormalization", (_NOW, 18, 21), grouped, None)
    add("Gelu", (_NOW, 20), gelu, None)
    add("Mish", (_NOW, 18, 22), lambda node, graph: nn.Mish(), None)
    add("GlobalMaxPool", (1, 22), lambda node, graph: Calls(lambda x: x.amax(dim=(2, 3), keepdim=True)), None)
    add("SpaceToDepth", (1, 13), deepen, None)
