"""gradient=conditional: the value of cfg, and the gradient of the positive prompt's pass."""

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_model_advanced import RescaleCFG
from comfy_extras.nodes_perpneg import PerpNegGuider

from tests.helpers.benchmarks import benchmark
from tests.helpers.guiders import cfg as cfg_guider
from tests.helpers.guiders import draw, sigmas

cost = benchmark("counting").cost


@pytest.fixture
def loud(job):
    """The job with a prompt that the small network does hear."""
    [[context, options]] = job.positive
    job.positive = [[10 * torch.randn(context.shape, generator=torch.Generator().manual_seed(1)), options]]
    return job


@pytest.fixture
def step(loud, look_inside):
    """`step(gradient, cfg)`: the end of the first window, and the gradient of its sum with respect to its start."""

    def of(gradient, cfg):
        slopes = []

        def probe(flow, decode, energy, z0):
            z = z0.detach().requires_grad_()
            with torch.enable_grad():
                end = flow.step(0, z)
                slopes.append((end.detach(), *torch.autograd.grad(end, z, torch.ones_like(z))))

        look_inside(probe)
        loud.guide(gradient=gradient, cfg=cfg)
        return slopes[0]

    return of


def test_the_value_is_that_of_cfg_and_the_gradient_that_of_the_positive_prompt(step):
    exact, conditional, without_cfg = step("windowed", 3.0), step("conditional", 3.0), step("windowed", 1.0)
    torch.testing.assert_close(conditional[0], exact[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(conditional[1], without_cfg[1], atol=1e-5, rtol=1e-5)
    assert (exact[0] - without_cfg[0]).abs().max() > 1e-2
    assert (exact[1] - without_cfg[1]).abs().max() > 1e-3


def test_it_is_off_by_what_the_jacobians_differ_in(step):
    """|J_D - J_p| = (c - 1) |J_p - J_n|: twice as much at cfg 5 as at 3."""
    off = [(step("windowed", cfg)[1] - step("conditional", cfg)[1]).norm().item() for cfg in (3.0, 5.0)]
    assert off[1] == pytest.approx(2 * off[0], rel=1e-3)


def test_it_is_exact_where_both_prompts_are_one(job):
    job.negative = job.positive
    exact, _ = job.guide(gradient="windowed", cfg=3.0)
    conditional, _ = job.guide(gradient="conditional", cfg=3.0)
    torch.testing.assert_close(conditional, exact, atol=1e-4, rtol=0)


def test_at_cfg_1_it_is_the_exact_gradient_and_the_same_calls(job):
    exact, _ = job.guide(gradient="auto")
    conditional, _ = job.guide(gradient="conditional")
    assert torch.equal(conditional, exact)


def test_the_negative_prompt_has_no_graph(job):
    """Of two prompts one is in a graph, of as many calls as there are; and no more than the host's are made."""
    calls = []

    def watch(executor, *arguments, **options):
        output = executor(*arguments, **options)
        calls.append((len(output), output.requires_grad, arguments[5]["cond_or_uncond"]))
        return output

    model = job.model.clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watch", watch)
    job.guide(model, gradient="conditional", cfg=3.0, iterations=1, steps=2)
    assert job.facts["gradient"] == "conditional, full"
    guided, last = calls[:4], calls[4:]
    assert guided == [(1, False, [1]), (1, True, [0])] * 2
    assert [(size, graph) for size, graph, _ in last] == [(2, False)] * 2


def test_it_takes_less(job, look_inside):
    peaks = []

    def probe(flow, decode, energy, z0):
        def window():
            z = z0.detach().requires_grad_()
            with torch.enable_grad():
                torch.autograd.grad(flow.step(0, z), z, torch.ones_like(z))

        peaks.append(cost(window))

    look_inside(probe)
    job.latent = {"samples": torch.zeros(1, 16, 16, 16)}
    for gradient in ("windowed", "conditional"):
        job.guide(gradient=gradient, cfg=3.0)
    exact, conditional = peaks
    assert conditional.bytes < 0.7 * exact.bytes
    assert conditional.flops < 0.8 * exact.flops


def test_it_guides(job):
    before = job.ksampler(cfg=3.0)
    job.guide(gradient="conditional", cfg=3.0, iterations=4)
    assert job.iterates[-1].similarity > job.iterates[0].similarity
    assert torch.equal(job.ksampler(cfg=3.0), before)
    unguided, _ = job.guide(gradient="conditional", cfg=3.0, iterations=0)
    assert torch.equal(unguided, before)


def test_custom_sampling_has_it_under_a_cfg_guider(job):
    expected, _ = job.guide(gradient="conditional", cfg=3.0)
    drawn = draw(job, cfg_guider(job), job.sampler(gradient="conditional"), sigmas(job))
    assert torch.equal(drawn, expected)


def test_under_another_guider_the_gradient_is_exact(job):
    guider = PerpNegGuider.execute(job.model, job.positive, job.negative, job.negative, 3.0, 1.0).result[0]
    exact = draw(job, guider, job.sampler(gradient="auto"), sigmas(job))
    assert torch.equal(draw(job, guider, job.sampler(gradient="conditional"), sigmas(job)), exact)
    assert job.facts["gradient"] == "full"


def test_a_rescaled_cfg_keeps_its_value(loud):
    model = RescaleCFG().patch(loud.model, 0.7)[0]
    latents = []
    for changes in ({"gradient": "conditional"}, {"gradient": "full"}, {"model": loud.model, "gradient": "full"}):
        loud.guide(**{"model": model, "cfg": 3.0, "iterations": 1, **changes})
        latents.append(loud.iterates[0].latent)
    torch.testing.assert_close(latents[0], latents[1], atol=2e-5, rtol=0)
    assert (latents[0] - latents[2]).abs().max() > 5e-5
