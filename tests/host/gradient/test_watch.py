"""A gradient that is cut, and a model that answers in two ways, are said; neither passes in silence."""

from __future__ import annotations

import logging

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_model_advanced import RescaleCFG
from comfy_extras.nodes_tomesd import TomePatchModel
from torch._subclasses.fake_tensor import FakeTensorMode

import nodes as host_nodes
from tests.helpers.benchmarks import benchmark
from tests.helpers.compositions import picture, unet_control


@pytest.fixture
def cut(pack):
    return pack("rectifid_core.interfaces").CutGradientError


def tiles_without_grad(mode):
    """As tiled diffusion runs the network."""

    @mode()
    def run_tiles(apply_model, arguments):
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    return lambda model: model.set_model_unet_function_wrapper(run_tiles)


def detaching_post_cfg(model):
    def sharpen(arguments):
        return arguments["denoised"].detach() * 1.01

    model.set_model_sampler_post_cfg_function(sharpen)


def detached_input(model):
    def hide(executor, x, *arguments, **options):
        return executor(x.detach(), *arguments, **options)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "hide", hide)


CUTS = {
    "run_tiles, inference_mode": tiles_without_grad(torch.inference_mode),
    "run_tiles, no_grad": tiles_without_grad(torch.no_grad),
    "sharpen": detaching_post_cfg,
    "hide": detached_input,
}


@pytest.mark.parametrize("gradient", ["auto", "windowed", "checkpointed", "conditional"])
@pytest.mark.parametrize("name", CUTS)
def test_a_patch_in_the_way_of_the_gradient_is_named(job, cut, name, gradient):
    if (name, gradient) == ("sharpen", "conditional"):
        pytest.skip("it goes around what follows on cfg")
    before = job.ksampler(cfg=3.0)
    model = job.model.clone()
    CUTS[name](model)
    with pytest.raises(cut, match=rf"{name.partition(',')[0]}.*test_watch.*straight"):
        job.guide(model, gradient=gradient, cfg=3.0)
    assert torch.equal(job.ksampler(cfg=3.0), before)
    assert "calculate_input" not in vars(job.model.model.model_sampling)


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("settings", [{"gradient": "straight"}, {"rule": "single_pass", "iterations": 6}])
def test_the_straight_gradient_does_without(job, brightness, name, settings):
    model = job.model.clone()
    CUTS[name](model)
    job.guide(model, energy=brightness, scale=1.0, scale_unit="latent", **settings)
    assert job.iterates[-1].energy < job.iterates[0].energy


@pytest.mark.parametrize("window", range(3))
def test_a_cut_of_one_window_is_an_error_too(job, cut, window):
    sigmas = comfy.samplers.KSampler(job.model, 3, job.model.load_device, "euler", "simple", 1.0).sigmas

    def cut_one(arguments):
        here = torch.isclose(arguments["sigma"][0], sigmas[window].to(arguments["sigma"]))
        return arguments["denoised"].detach() if here else arguments["denoised"]

    model = job.model.clone()
    model.set_model_sampler_post_cfg_function(cut_one)
    with pytest.raises(cut, match="cut_one"):
        job.guide(model)


def test_a_cut_of_one_prompt_is_a_warning(job, caplog):
    def one_sided(arguments):
        cond, uncond = arguments["cond"], arguments["uncond"].detach()
        return uncond + arguments["cond_scale"] * (cond - uncond)

    model = job.model.clone()
    model.set_model_sampler_cfg_function(one_sided, disable_cfg1_optimization=True)
    separate = model.clone()

    def one_by_one(calculate, model, conds, x, *arguments):
        (p, _), (_, n) = (calculate(model, one, x, *arguments) for one in ([conds[0], None], [None, conds[1]]))
        return [p, n]

    separate.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "separate", one_by_one)
    with caplog.at_level(logging.WARNING):
        job.guide(separate, cfg=3.0)
    assert caplog.text.count("a part of the gradient") == 1 and "one_sided" in caplog.text


def test_a_control_that_runs_without_autograd_is_a_warning(unet, caplog):
    control = unet_control()
    unet.positive, unet.negative = host_nodes.ControlNetApplyAdvanced().apply_controlnet(
        unet.positive, unet.negative, control, picture(), 0.9, 0.0, 1.0
    )
    network = control.control_model
    network.forward = torch.no_grad()(network.forward)
    with caplog.at_level(logging.WARNING):
        unet.guide(family="diffusion")
    assert caplog.text.count("ControlNet") == 1


def test_a_vae_that_decodes_without_autograd_is_named(job, cut, monkeypatch):
    network = job.vae.first_stage_model
    monkeypatch.setattr(network, "decode", torch.no_grad()(network.decode))
    for gradient in ("windowed", "straight"):
        with pytest.raises(cut, match="VAE"):
            job.guide(gradient=gradient)


@pytest.mark.parametrize("gradient", ["auto", "windowed", "checkpointed", "conditional"])
def test_patches_that_let_the_gradient_through_are_not_accused(job, caplog, gradient):
    model = RescaleCFG().patch(job.model, 0.7)[0]
    with caplog.at_level(logging.WARNING):
        job.guide(model, cfg=3.0, gradient=gradient)
    assert not [record for record in caplog.records if "RectifID" in record.message and record.levelname == "WARNING"]


# --- memory and chance between calls


def random_merges(job):
    (job.model,) = TomePatchModel.execute(job.model, 0.5).result


def noisy_block(job):
    def patch(q, k, v, extra_options):
        return q + 0.3 * torch.randn_like(q), k, v

    job.model = job.model.clone()
    job.model.set_model_attn2_patch(patch)


@pytest.mark.parametrize("put", [random_merges, noisy_block])
def test_what_a_patch_draws_at_random_is_drawn_again(unet, brightness, put, caplog):
    """So that each gradient is of the same trajectory."""
    put(unet)
    latents = {}
    settings = {"family": "diffusion", "energy": brightness, "cfg": 3.0, "steps": 2}
    with caplog.at_level(logging.WARNING):
        for gradient in ("full", "windowed", "checkpointed"):
            torch.manual_seed(len(latents))
            latents[gradient], _ = unet.guide(gradient=gradient, **settings)
    assert "two answers" not in caplog.text
    moved = latents["full"] - unet.iterates[0].latent
    for gradient in ("windowed", "checkpointed"):
        assert (latents[gradient] - latents["full"]).norm() < 0.02 * moved.norm()


@pytest.mark.parametrize("gradient", ["windowed", "full", "checkpointed"])
def test_a_patch_that_remembers_earlier_calls_is_named(job, caplog, gradient):
    def remembering(arguments):
        memory.append(arguments["denoised"].detach())
        return arguments["denoised"] + 0.3 * sum(memory[:-1], torch.zeros_like(memory[0]))

    memory = []
    model = job.model.clone()
    model.set_model_sampler_post_cfg_function(remembering)
    with caplog.at_level(logging.WARNING):
        job.guide(model, gradient=gradient)
    [said] = [record.message for record in caplog.records if "two answers" in record.message]
    assert "remembering" in said


def test_the_hosts_momentum_is_named(job, caplog):
    model = APG.execute(job.model, 1.0, 5.0, -0.8).result[0]
    with caplog.at_level(logging.WARNING):
        job.guide(model, cfg=3.0, gradient="windowed")
    assert "two answers" in caplog.text and "APG" in caplog.text


def test_answers_without_content_are_not_compared(pack, caplog):
    """As where a benchmark counts what a patched model costs, and every truth is true."""
    watch = pack("nodes.host.gradient.watch").ModelWatch(torch.nn.Module(), ["a patch"])

    def ask_twice():
        for _ in range(2):
            x = torch.zeros(1, 4)
            watch.compare(x, x[0, 0], x)

    with torch.inference_mode(False):
        with FakeTensorMode():
            ask_twice()
        benchmark("counting").cost(ask_twice)
    assert not caplog.text


def test_a_model_without_patches_is_not_accused(job, caplog):
    with caplog.at_level(logging.WARNING):
        job.guide(cfg=3.0, iterations=3)
    assert "two answers" not in caplog.text
