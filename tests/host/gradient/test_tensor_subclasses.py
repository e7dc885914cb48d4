"""Weights that are no plain tensors keep their class, their attributes and their storage in the gradient's alias."""

from __future__ import annotations

import comfy.ops
import comfy.sd
import pytest
import torch
from torch import nn


class Packed(torch.Tensor):
    """As GGUF loaders hold a weight: the storage has its bytes, ``shape`` tells that of the unpacked weight."""

    @staticmethod
    def __new__(cls, data, unpacked):
        return data.as_subclass(cls)

    def __init__(self, data, unpacked):
        self.unpacked = unpacked

    def to(self, *args, **kwargs):
        new = super().to(*args, **kwargs)
        new.unpacked = self.unpacked
        return new

    def clone(self, *args, **kwargs):
        return self

    def detach(self, *args, **kwargs):
        return self

    @property
    def shape(self):
        return self.unpacked


def q8_0(weight):
    """Of 32 numbers each a scale in float16 and whole numbers in 8 bits: 34 bytes."""
    blocks = weight.reshape(-1, 32)
    scale = (blocks.abs().amax(dim=1, keepdim=True) / 127).half()
    numbers = (blocks / scale.float().clamp(min=1e-8)).round().to(torch.int8)
    rows = torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], dim=1)
    return Packed(rows.reshape(len(weight), -1), weight.shape)


def unpack(packed, dtype):
    rows = packed.as_subclass(torch.Tensor).reshape(-1, 34)
    scale, numbers = rows[:, :2].view(torch.float16), rows[:, 2:].view(torch.int8)
    return (scale.to(dtype) * numbers.to(dtype)).reshape(packed.shape)


class PackedLayers(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def _load_from_state_dict(self, state, prefix, *arguments):
            weight, bias = state[f"{prefix}weight"], state.get(f"{prefix}bias")
            fits = weight.shape[1] % 32 == 0
            self.weight = nn.Parameter(q8_0(weight.float()) if fits else weight, requires_grad=False)
            self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

        def forward(self, x):
            weight = unpack(self.weight, x.dtype) if isinstance(self.weight, Packed) else self.weight
            return nn.functional.linear(x, weight, self.bias)


@pytest.fixture
def packed(parts):
    options = {"dtype": torch.float32, "custom_operations": PackedLayers}
    return comfy.sd.load_diffusion_model_state_dict(dict(parts.flow_state), model_options=options)


@pytest.mark.parametrize("gradient", ["windowed", "full", "checkpointed"])
def test_a_model_of_packed_weights_is_guided(job, packed, brightness, gradient):
    weight = packed.model.diffusion_model.joint_blocks[0].x_block.attn.qkv.weight
    assert isinstance(weight, Packed) and weight.size() != weight.shape and weight.is_inference()
    plain, _ = job.guide(energy=brightness, gradient=gradient)
    guided, _ = job.guide(packed, energy=brightness, gradient=gradient)
    assert job.iterates[-1].energy < job.iterates[0].energy
    assert torch.cosine_similarity(guided.flatten(), plain.flatten(), dim=0) > 0.99
    assert packed.model.diffusion_model.joint_blocks[0].x_block.attn.qkv.weight is weight


def test_the_alias_is_of_the_same_class_with_the_same_attributes_over_the_same_bytes(pack, packed):
    layer = packed.model.diffusion_model.joint_blocks[0].x_block.attn.qkv
    layer.weight.note = "of the loader"
    with pack("nodes.host.gradient.autograd").differentiable([packed.model]):
        alias = layer.weight
        assert type(alias) is Packed and isinstance(alias, nn.Parameter) and not alias.requires_grad
        assert not alias.is_inference()
        assert alias.note == "of the loader" and alias.shape == alias.unpacked
    assert alias is not layer.weight
    assert alias.data_ptr() == layer.weight.data_ptr() and alias.size() == layer.weight.size()


class Marked(nn.Parameter):
    """A subclass of Parameter, as bitsandbytes has them."""


def test_a_subclass_of_parameter_stays_one(pack):
    layer = nn.Linear(4, 4)
    layer.weight = Marked(layer.weight.detach(), requires_grad=False)
    layer.weight.state = [1]
    held = layer.weight
    with pack("nodes.host.gradient.autograd").differentiable([layer]):
        assert type(layer.weight) is Marked and layer.weight.state is held.state
        x = torch.ones(1, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(gradient[0], held.sum(dim=0).clone())
    assert layer.weight is held
