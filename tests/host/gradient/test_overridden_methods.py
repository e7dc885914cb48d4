"""Packs that set `forward` on the modules of a network, of which a MODEL's options know nothing."""

from __future__ import annotations

from types import MethodType

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

import nodes as host_nodes
from tests.helpers.families import FAMILIES


def other_forward(self, *args, **kwargs):
    """Of one block: adds tokens through a layer of its own, made where nodes make it, under inference mode."""
    context, x = type(self).forward(self, *args, **kwargs)
    return context, x + self.extra_layer(x) * self.extra["scale"]


def override(model):
    block = model.model.diffusion_model.joint_blocks[0]
    block.extra = {"scale": torch.full((1,), 0.3)}
    block.add_module("extra_layer", nn.Linear(128, 128))
    generator = torch.Generator().manual_seed(2)
    block.extra_layer.weight.data = 0.1 * torch.randn(128, 128, generator=generator)
    block.forward = MethodType(other_forward, block)


def override_by_closure(model):
    block = model.model.diffusion_model.joint_blocks[0]
    original, layer = block.forward, nn.Linear(128, 128)

    def hidden_forward(*args, **kwargs):
        context, x = original(*args, **kwargs)
        return context, x + 0.3 * layer(x)

    block.forward = hidden_forward


def decoded(job, latent):
    return host_nodes.VAEDecode().decode(job.vae, {"samples": latent})[0].movedim(-1, 1)


class Paged(ModelPatcher):
    """What newer hosts make on NVIDIA cards, as far as it can be here: its twin is another network."""

    def __init__(self, patcher, twin):
        super().__init__(patcher.model, patcher.load_device, patcher.offload_device)
        self.cached_patcher_init, self.twin = (twin.clone, ()), twin

    def is_dynamic(self):
        return True

    def get_non_dynamic_delegate(self):
        return self.twin


@pytest.mark.parametrize("gradient", ["windowed", "full", "checkpointed"])
@pytest.mark.parametrize("put", [override, override_by_closure])
def test_a_block_with_another_forward_is_guided(job, brightness, put, gradient):
    plain = job.ksampler()
    put(job.model)
    before = job.ksampler()
    assert (before - plain).abs().max() > 1e-3
    job.guide(energy=brightness, gradient=gradient, scale=1.0, scale_unit="latent")
    assert job.iterates[-1].energy < job.iterates[0].energy
    torch.testing.assert_close(job.iterates[0].image, decoded(job, before), atol=1e-4, rtol=0)
    assert torch.equal(job.ksampler(), before)


def test_the_twin_of_a_paged_model_has_it_too(job, pack, parts, brightness):
    """Its first picture is KSampler's with the pack, and afterwards the twin is as it was."""
    override(job.model)
    before = job.ksampler()
    twin = pack("nodes.host.networks.demo").flow_from_state(parts.flow_state)
    plain = job.ksampler(twin)
    job.guide(Paged(job.model, twin), energy=brightness)
    torch.testing.assert_close(job.iterates[0].image, decoded(job, before), atol=1e-4, rtol=0)
    assert (before - plain).abs().max() > 1e-3
    assert torch.equal(job.ksampler(twin), plain)
    block = twin.model.diffusion_model.joint_blocks[0]
    assert not {"forward", "extra"} & vars(block).keys() and "extra_layer" not in block._modules


def test_what_cannot_be_carried_over_is_refused(job, pack, parts, brightness):
    override_by_closure(job.model)
    twin = pack("nodes.host.networks.demo").flow_from_state(parts.flow_state)
    with pytest.raises(ValueError, match="hidden_forward.*--disable-dynamic-vram"):
        job.guide(Paged(job.model, twin), energy=brightness)


def test_it_is_named_where_it_is_in_the_way(job, pack):
    block = job.model.model.diffusion_model.joint_blocks[0]
    block.forward = torch.no_grad()(block.forward)
    last = job.model.model.diffusion_model.final_layer

    def cutting_forward(*args, **kwargs):
        return type(last).forward(last, *args, **kwargs).detach()

    last.forward = cutting_forward
    with pytest.raises(pack("rectifid_core.interfaces").CutGradientError, match="cutting_forward"):
        job.guide()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_host_itself_sets_none(pack, name):
    if name == "flux2_klein" and FAMILIES[name].detect().unet_config["num_heads"] != 24:
        pytest.skip("this host knows FLUX.2 in the width of dev only")
    overrides_in = pack("nodes.host.gradient.patches").overrides_in
    assert list(overrides_in(FAMILIES[name].load().model)) == []
    assert list(overrides_in(FAMILIES[name].vae().first_stage_model)) == []
