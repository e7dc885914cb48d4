"""Patches that change in place what autograd has saved: the host's own, by every gradient."""

from __future__ import annotations

import importlib.util

import comfy_extras.nodes_post_processing  # noqa: F401  before nodes_latent, with which it is in a circle
import pytest
import torch
from comfy_extras.nodes_freelunch import FreeU, FreeU_V2
from comfy_extras.nodes_latent import LatentApplyOperationCFG, LatentOperationTonemapReinhard
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

GRADIENTS = ["windowed", "full", "checkpointed", "conditional"]


def put_freeu(node):
    def put(job, request):
        request.getfixturevalue("unet")
        job.model = request.getfixturevalue("pack")("nodes.host.flows.model_sampling").with_rectified_flow(job.model)
        config = job.model.model.model_config.unet_config
        config["model_channels"] = 80  # so that the widths of the small network are those that it acts on
        job.model = node().patch(job.model, 1.3, 1.4, 0.9, 0.2)[0]

    return put


def put_tone_map(job, request):
    (operation,) = LatentOperationTonemapReinhard.execute(0.5).result
    job.model = LatentApplyOperationCFG.execute(job.model, operation).result[0]


def put_rescaled_skipping(job, request):
    job.model = SkipLayerGuidanceDiT.execute(job.model, 2.0, 0.0, 1.0, "0", "", 0.4).result[0]


def put_attention_guidance(job, request):
    if importlib.util.find_spec("comfy_extras.nodes_nag") is None:
        pytest.skip("this host has no NAGuidance")
    from comfy_extras.nodes_nag import NAGuidance

    request.getfixturevalue("unet")
    job.model = request.getfixturevalue("pack")("nodes.host.flows.model_sampling").with_rectified_flow(job.model)
    job.model = NAGuidance.execute(job.model, 5.0, 0.5, 1.5).result[0]


def put_a_write_within_a_block(job, request):
    """As packs do that add to the image's tokens within an attention."""

    def patch(q, k, v, extra_options):
        a, b = q.exp(), q.sigmoid()
        q = q + 0.1 * a.sin() * b
        a += 1
        b.mul_(2)
        return q + 0.01 * a.sin() * b, k, v

    request.getfixturevalue("unet")
    job.model = request.getfixturevalue("pack")("nodes.host.flows.model_sampling").with_rectified_flow(job.model)
    job.model = job.model.clone()
    job.model.set_model_attn2_patch(patch)


PATCHES = {
    "FreeU": put_freeu(FreeU),
    "FreeU_V2": put_freeu(FreeU_V2),
    "Reinhard tone map": put_tone_map,
    "SkipLayerGuidanceDiT, rescaled": put_rescaled_skipping,
    "NAGuidance": put_attention_guidance,
    "a write within a block": put_a_write_within_a_block,
}


@pytest.fixture(params=PATCHES)
def patched(job, request):
    before = job.model
    PATCHES[request.param](job, request)
    assert job.model is not before
    return job


@pytest.mark.parametrize("gradient", GRADIENTS[:3])
def test_the_gradient_is_the_finite_difference(patched, pack, brightness, look_inside, gradient):
    """To 1 % of its norm, along itself and elsewhere, by the gradient that the run uses."""
    slopes = []
    memory, run_flow = pack("nodes.host.gradient.memory"), pack("rectifid_core.solver.trajectory").run_flow

    def probe(flow, decode, energy, z0):
        nothing = [torch.zeros_like(z0)] * len(flow)
        [plan] = memory.plans_of(gradient, len(flow))
        networks = [patched.model.model, patched.vae.patcher.model]
        g = memory.OutOfMemoryFallback(plan, networks)(flow, decode, energy, z0, nothing, 0).gradients[0]

        @torch.no_grad()
        def value(z):
            return energy(decode(run_flow(flow, z, nothing)[-1]), 0).energy.sum().item()

        step = 1e-2
        for direction in (g, g.abs() * torch.randn(g.shape, generator=torch.Generator().manual_seed(8))):
            direction = direction / direction.norm()
            difference = (value(z0 + step * direction) - value(z0 - step * direction)) / (2 * step)
            slopes.append((difference, (g * direction).sum().item(), g.norm().item()))

    look_inside(probe)
    patched.guide(energy=brightness, iterations=1, steps=2, cfg=3.0)
    assert len(slopes) == 2
    for difference, computed, norm in slopes:
        assert norm > 1e-3
        assert computed == pytest.approx(difference, abs=1e-2 * norm)


@pytest.mark.parametrize("gradient", [*GRADIENTS, "straight", "auto"])
def test_it_guides(patched, brightness, gradient):
    before = patched.ksampler(cfg=3.0)
    settings = {"energy": brightness, "scale": 1.0, "scale_unit": "latent", "cfg": 3.0}
    patched.guide(iterations=3, gradient=gradient, **settings)
    assert patched.iterates[-1].energy < patched.iterates[0].energy
    assert torch.equal(patched.ksampler(cfg=3.0), before)
