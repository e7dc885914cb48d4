"""A second witness: the same weights in a UNet of diffusers, and the published algorithm around it, written down again.

Five iterations of a PeRFlow and of a 2-rectified flow, with cfg, guided by a fixed energy of the latent.
"""

from __future__ import annotations

import comfy.utils
import pytest
import torch

CFG, SCALE, ITERATIONS, STEPS = 2.5, 2.0, 5, 4

diffusers = pytest.importorskip("diffusers", reason="the second witness needs the package diffusers")


@pytest.fixture(scope="module")
def witness(unet_state):
    network = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    names = comfy.utils.unet_to_diffusers(
        {
            "num_res_blocks": [1],
            "channel_mult": [1],
            "transformer_depth": [1],
            "transformer_depth_output": [1, 1],
            "transformer_depth_middle": 1,
        }
    )
    with torch.inference_mode(False):
        weights = {name: unet_state[names[name]].reshape(w.shape).clone() for name, w in network.state_dict().items()}
        network.load_state_dict(weights)
        return network.requires_grad_(False)


TARGET = torch.linspace(-1, 1, 4 * 8 * 8).sin().view(1, 4, 8, 8)


def energy_of(z):
    return 100 * (1 - torch.cosine_similarity(z.flatten(1), TARGET.flatten(1)))


def published(step, z0, weights):
    """Each iteration runs the windows with the offsets so far, and moves each by its clipped gradient: z_K of each."""
    offsets, ends = [torch.zeros_like(z0)] * len(weights), []
    for _ in range(ITERATIONS + 1):
        states = [z0.clone().requires_grad_()]
        for k, offset in enumerate(offsets):
            states.append(step(k, states[-1]) + offset)
        ends.append(states[-1].detach())
        gradients = torch.autograd.grad(energy_of(states[-1]).sum(), states[:-1])
        for k, gradient in enumerate(gradients):
            offsets[k] = offsets[k] - SCALE * weights[k] * gradient / max(1.0, float(gradient.norm()))
    return ends


def perflow_of(predict):
    """The published scheduler at four steps, diff_eps; and its weights."""
    abar = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
    gammas = [float((abar[999 - 250 * k] / abar[max(749 - 250 * k, 0)]) ** 0.5) for k in range(4)]

    def step(k, z):
        eps = predict(z, 1000 - 250 * k)
        return z / gammas[k] - (1 - gammas[k] ** 2) ** 0.5 / gammas[k] * eps

    return step, [(1 - gamma**2) ** 0.5 for gamma in gammas]


def rectified_flow_of(predict):
    return lambda k, z: z + predict(z, 1000 * (1 - k / STEPS)) / STEPS, [1.0] * STEPS


@pytest.mark.parametrize("family", ["perflow", "flow"])
def test_the_guided_trajectory_is_that_of_the_published_algorithm(unet, pack, witness, family):
    reading = pack("nodes.host.flows.model_sampling")
    if family == "perflow":
        unet.model = reading.with_perflow(unet.model, "diff_eps", 4, "derived")
    else:
        unet.model = reading.with_rectified_flow(unet.model)
    with torch.inference_mode(False):
        prompt, negative = (conditioning[0][0].clone() for conditioning in (unet.positive, unet.negative))

        def predict(z, timestep):
            outputs = [witness(z, timestep, encoder_hidden_states=c).sample for c in (prompt, negative)]
            return outputs[1] + CFG * (outputs[0] - outputs[1])

        step, weights = (perflow_of if family == "perflow" else rectified_flow_of)(predict)
        z0 = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(5))
        expected = published(step, z0, weights)

    class OfLatent:
        """The same energy, of the latent that was last decoded."""

        def __call__(self, image, iteration):
            value = energy_of(image)
            return pack("rectifid_core.interfaces").Observation(value, value.detach())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack("nodes.host.gradient.decoder").VAEDecoder, "__call__", lambda self, z: z)
        unet.guide(
            energy=OfLatent(), steps=STEPS, cfg=CFG, scheduler="simple", iterations=ITERATIONS, scale=SCALE, views=0
        )
    assert len(unet.iterates) == len(expected)
    moved = (expected[-1] - expected[0]).norm()
    assert moved > 1
    for iterate, end in zip(unet.iterates, expected, strict=True):
        assert (iterate.latent - end).norm() < 1e-3 * end.norm()


def test_pcm_is_run_as_by_the_scheduler_of_its_authors(unet, witness):
    """Four steps of DDIM, their times counted from the end; with the settings of the template."""
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )
    scheduler.set_timesteps(STEPS)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
    with torch.inference_mode(False):
        prompt = unet.positive[0][0].clone()
        z = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(5))
        for timestep in scheduler.timesteps:
            z = scheduler.step(witness(z, timestep, encoder_hidden_states=prompt).sample, timestep, z).prev_sample
    expected = z / 0.18215
    latent, _ = unet.guide(iterations=0, steps=STEPS, cfg=1.0, scheduler="simple", family="diffusion")
    assert (latent - expected).norm() < 1e-3 * expected.norm()
    renoised, _ = unet.guide(iterations=0, steps=STEPS, cfg=1.0, scheduler="simple", family="consistency")
    assert (renoised - expected).norm() > 0.1 * expected.norm()
