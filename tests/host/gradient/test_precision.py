"""Networks in other types than float32: the gradient stays right, and no picture turns black."""

from __future__ import annotations

import comfy.ops
import comfy.sd
import pytest
import torch


@pytest.fixture
def gradient(pack, brightness, look_inside, job):
    """`gradient(model)`: g_0 of the reference trajectory, and the loss scale with which the solver runs."""

    def of(model, **options):
        slopes = []

        def probe(flow, decode, energy, z0):
            windowed, offsets = pack("rectifid_core.solver.gradient").windowed, [torch.zeros_like(z0)] * len(flow)
            scale = pack("nodes.host.run.sampler").LOSS_SCALE
            slopes.append(windowed(flow, decode, energy, z0, offsets, 0, scale)[3][0])

        look_inside(probe)
        job.guide(model=model, energy=brightness, iterations=1, **options)
        return slopes[0]

    return of


def cast(model, dtype):
    """MODEL with its weights as they are, computing in ``dtype``."""
    model = model.clone()
    model.set_model_compute_dtype(dtype)
    return model


def alike(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)


@pytest.mark.parametrize(("dtype", "likeness"), [(torch.float16, 0.999), (torch.bfloat16, 0.99)])
def test_the_gradient_in_half_precision(job, gradient, dtype, likeness):
    exact, rounded = gradient(job.model), gradient(cast(job.model, dtype))
    assert rounded.dtype == torch.float32, "latents and offsets stay in float32"
    assert alike(exact, rounded) > likeness


def test_weights_in_eight_bits(job, parts, gradient):
    """As an fp8 file comes: the host casts each weight when it is used."""
    state = {name: weight.to(torch.float8_e4m3fn) for name, weight in parts.flow_state.items()}
    small = comfy.sd.load_diffusion_model_state_dict(state, model_options={"dtype": torch.float8_e4m3fn})
    assert small.model.get_dtype() == torch.float8_e4m3fn
    back = {name: weight.float() for name, weight in state.items()}
    same = comfy.sd.load_diffusion_model_state_dict(back, model_options={"dtype": torch.float32})
    # not to the bit: the host casts an embedding through the weights' type
    assert alike(gradient(small), gradient(same)) > 0.999


class Quantised(comfy.ops.manual_cast):
    """Layers as GGUF packs bring them: whole numbers and a scale, made into a weight in each forward."""

    class Linear(comfy.ops.manual_cast.Linear):
        def _load_from_state_dict(self, state, prefix, *arguments):
            weight = state[f"{prefix}weight"]
            self.scale = weight.abs().amax(dim=1, keepdim=True) / 127
            self.weight = torch.nn.Parameter((weight / self.scale).round().to(torch.int8), requires_grad=False)
            bias = state.get(f"{prefix}bias")
            self.bias = None if bias is None else torch.nn.Parameter(bias.clone(), requires_grad=False)

        def forward(self, x):
            return torch.nn.functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias)


def test_weights_that_are_dequantised_on_the_fly(job, parts, gradient):
    options = {"dtype": torch.float32, "custom_operations": Quantised}
    small = comfy.sd.load_diffusion_model_state_dict(dict(parts.flow_state), model_options=options)
    assert small.model.diffusion_model.joint_blocks[0].x_block.attn.qkv.weight.dtype == torch.int8
    assert 0.99 < alike(gradient(small), gradient(job.model)) < 0.999999


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_guidance_raises_the_similarity_in_half_precision(job, dtype):
    latent, image = job.guide(model=cast(job.model, dtype), iterations=5, scale=20.0)
    assert latent.dtype == torch.float32 and latent.isfinite().all() and image.std() > 0.01
    assert job.iterates[-1].similarity > job.iterates[0].similarity + 0.01


def test_the_loss_scale_is_for_half_precision_only(job, pack, monkeypatch):
    scales = []
    sampler = pack("nodes.host.run.sampler")
    solve = sampler.solve

    def watched(*arguments, loss_scale, **settings):
        scales.append(loss_scale)
        return solve(*arguments, loss_scale=loss_scale, **settings)

    monkeypatch.setattr(sampler, "solve", watched)
    for model in (job.model, cast(job.model, torch.bfloat16), cast(job.model, torch.float16)):
        job.guide(model=model, iterations=0)
    assert scales == [1.0, 1.0, sampler.LOSS_SCALE]
