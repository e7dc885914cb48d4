"""Each flow family against the host's own samplers, and against the published update written down again in float64.

On a small UNet of the host's SD 1.5 class (25.8 M parameters, one level) with random weights.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import nodes as host_nodes

CFG = 2.5


def ksampler(job, sampler, steps=3, denoise=1.0, scheduler="normal"):
    latent = host_nodes.common_ksampler(
        job.model, 5, steps, CFG, sampler, scheduler, job.positive, job.negative, job.latent, denoise=denoise
    )[0]
    return latent["samples"]


def network(job):
    """The bare UNet in float64, with cfg: ``(z, timestep) -> output``."""
    bare = copy.deepcopy(job.model.model.diffusion_model).to(torch.float64)
    bare.dtype = torch.float64
    context = [conditioning[0][0].double() for conditioning in (job.positive, job.negative)]

    def output(z, timestep):
        t = torch.full((len(z),), float(timestep), dtype=torch.float64)
        with_prompt, without = (bare(z, t, context=c.expand(len(z), -1, -1)) for c in context)
        return without + CFG * (with_prompt - without)

    return output


def start(job):
    return torch.randn(job.latent["samples"].shape, generator=torch.manual_seed(5)).double()


def stable_diffusion_abar():
    """LossScaling-linear betas from 0.00085 to 0.012."""
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


def perflow_as_published(output, z, prediction, steps, windows=4):
    """The scheduler's loop in its own order of things: times, window of each, weights of the line, Euler."""
    abar = stable_diffusion_abar()
    counts = [steps // windows + (1 if w < steps % windows else 0) for w in range(windows)]
    timeline = []
    for w, count in enumerate(counts):
        begin, finish = 1 - w / windows, 1 - (w + 1) / windows
        timesteps = (1000 * np.linspace(begin, finish, count, endpoint=False)).astype(np.int64)
        timeline += [(t / 1000, begin, finish) for t in timesteps.tolist()]
    for (t, t_s, t_e), after in zip(timeline, [*timeline[1:], (0.0,)], strict=True):
        pred = output(z, 1000 * t)
        if prediction == "velocity":
            velocity = pred
        else:
            a_s, a_e = (abar[max(round(1000 * x) - 1, 0)] for x in (t_s, t_e))
            lam = (a_e / a_s) ** 0.5
            if prediction == "diff_eps":
                gamma = (a_s / a_e) ** 0.5
                lam, eta = 1 / gamma, -((1 - gamma**2) ** 0.5) / gamma
            else:
                eta = (1 - a_e) ** 0.5 - (a_e / a_s * (1 - a_s)) ** 0.5
            below = lam * (t - t_s) + (t_e - t)
            z_end = lam * (t_e - t_s) / below * z + eta * (t_e - t) / below * pred
            velocity = (z_end - z) / (t_e - t)
        z = z + velocity * (after[0] - t)
    return z


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("prediction", ["diff_eps", "ddim_eps", "velocity"])
@pytest.mark.parametrize("steps", [4, 5, 6, 7, 8, 9])
def test_perflow_is_the_published_scheduler(unet, pack, prediction, steps):
    unet.model = pack("nodes.host.flows.model_sampling").with_perflow(unet.model, prediction, 4, "derived")
    latent, _ = unet.guide(iterations=0, steps=steps, cfg=CFG)
    expected = perflow_as_published(network(unet), start(unet), prediction, steps) / 0.18215
    assert relative(latent.double(), expected) < 1e-5


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_two_rectified_flow_is_the_published_loop(unet, pack, steps):
    unet.model = pack("nodes.host.flows.model_sampling").with_rectified_flow(unet.model)
    latent, _ = unet.guide(iterations=0, steps=steps, cfg=CFG, scheduler="simple")
    output, z = network(unet), start(unet)
    for i in range(steps):
        z = z + output(z, 1000 * (1 - i / steps)) / steps
    assert relative(latent.double(), z / 0.18215) < 1e-5
    assert torch.equal(latent, ksampler(unet, "euler", steps, scheduler="simple"))


@pytest.mark.parametrize(("family", "sampler"), [("consistency", "lcm"), ("diffusion", "euler")])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_a_diffusion_model_is_run_as_by_the_hosts_sampler(unet, family, sampler, denoise):
    unet.latent = {"samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))}
    latent, _ = unet.guide(iterations=0, cfg=CFG, scheduler="normal", family=family, denoise=denoise)
    assert relative(latent, ksampler(unet, sampler, denoise=denoise)) < 1e-5


def test_the_noise_of_a_consistency_model_is_the_same_in_each_iteration(unet):
    unet.guide(iterations=2, scale=0.0, cfg=CFG, family="consistency")
    first, *others = (each.latent for each in unet.iterates)
    assert all(relative(each, first) < 1e-6 for each in others)


class TestWhichFamily:
    @pytest.fixture
    def family_of(self, pack):
        return pack("nodes.host.flows.family").family_of

    def test_it_is_read_from_the_model(self, job, unet, pack, family_of, caplog):
        reading = pack("nodes.host.flows.model_sampling")
        assert family_of(job.model, 4) == "consistency" and not caplog.records
        assert family_of(reading.with_rectified_flow(unet.model), 4) == "flow"
        assert family_of(reading.with_perflow(unet.model, "diff_eps", 4, "derived"), 4) == "perflow"
        assert family_of(job.model, 20) == "diffusion"
        assert "differentiates all 20 steps" in caplog.text

    def test_the_host_says_by_itself_what_a_flow_is(self, pack, parts, family_of):
        assert family_of(pack("nodes.host.networks.demo").flow_from_state(parts.flow_state), 4) == "flow"

    def test_it_can_be_chosen(self, unet, family_of):
        assert family_of(unet.model, 20, "consistency") == "consistency"
        assert family_of(unet.model, 4, "diffusion") == "diffusion"

    @pytest.mark.parametrize(
        ("chosen", "advice"),
        [("flow", "a ModelSamplingRectifiedFlow node"), ("perflow", "a ModelSamplingPeRFlow node")],
    )
    def test_what_the_model_is_not(self, unet, family_of, chosen, advice):
        with pytest.raises(ValueError, match=f"consistency.*{chosen}.*{advice}"):
            family_of(unet.model, 4, chosen)

    def test_a_perflow_is_nothing_else(self, unet, pack, family_of):
        model = pack("nodes.host.flows.model_sampling").with_perflow(unet.model, "diff_eps", 4, "derived")
        with pytest.raises(ValueError, match="ModelSamplingPeRFlow"):
            family_of(model, 4, "diffusion")

    def test_too_few_steps_for_the_windows(self, unet, pack):
        unet.model = pack("nodes.host.flows.model_sampling").with_perflow(unet.model, "diff_eps", 4, "derived")
        with pytest.raises(ValueError, match="4 windows.*3"):
            unet.guide(iterations=0, steps=3)


@pytest.fixture(params=["flow", "perflow", "consistency", "diffusion"])
def family(request, unet, pack):
    """A job of each family."""
    reading = pack("nodes.host.flows.model_sampling")
    if request.param == "flow":
        unet.model = reading.with_rectified_flow(unet.model)
    elif request.param == "perflow":
        unet.model = reading.with_perflow(unet.model, "ddim_eps", 4, "derived")
    return request.param


def test_the_gradient_of_each_family(family, unet, pack, brightness, look_inside):
    """Along itself and random directions in the noise, to 1 % of its norm in float32."""
    slopes = []

    def probe(flow, decode, energy, z0):
        nothing = [torch.zeros_like(z0)] * len(flow)
        gradient = pack("rectifid_core.solver.gradient").windowed(flow, decode, energy, z0, nothing, 0)[3][0]
        run_flow = pack("rectifid_core.solver.trajectory").run_flow

        @torch.no_grad()
        def value(z):
            return energy(decode(run_flow(flow, z, nothing)[-1]), 0).energy.item()

        generator, step = torch.Generator().manual_seed(8), 1e-3
        for direction in [gradient, *torch.randn(3, *z0.shape, generator=generator)]:
            direction = direction / direction.norm()
            difference = (value(z0 + step * direction) - value(z0 - step * direction)) / (2 * step)
            slopes.append((difference, (gradient * direction).sum().item(), gradient.norm().item()))

    look_inside(probe)
    unet.guide(iterations=1, energy=brightness, steps=4, cfg=CFG, family=family)
    assert len(slopes) == 4 and slopes[0][2] > 1e-3
    for difference, computed, norm in slopes:
        assert computed == pytest.approx(difference, abs=1e-2 * norm)


def test_a_scale_means_the_same_on_every_latent(unet, pack, monkeypatch):
    """In units of the published latent's norm, for the rules that clip; as it is, for the others or by choice."""
    scales = []
    solve = pack("nodes.host.run.sampler").solve

    def watched(*arguments, scale, **settings):
        scales.append(scale)
        return solve(*arguments, scale=scale, **settings)

    monkeypatch.setattr(pack("nodes.host.run.sampler"), "solve", watched)
    for side, settings in (
        (64, {}),
        (32, {}),
        (32, {"rule": "fixed_point"}),
        (32, {"scale_unit": "published"}),
    ):
        unet.latent = {"samples": torch.zeros(2, 4, side, side)}
        unet.guide(iterations=0, steps=1, **{"scale": 3.0, "scale_unit": "latent", **settings})
    assert scales == pytest.approx([3.0, 1.5, 3.0, 3.0])
