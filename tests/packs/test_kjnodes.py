"""KJNodes' guider, its compiler, and its settings that change no picture."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.compiled import needs_a_compiler, same_as_plain
from tests.helpers.finite_differences import slopes
from tests.helpers.guiders import cfg, draw, euler, sigmas
from tests.helpers.other_packs import module

FP16 = torch.backends.cuda.matmul


@pytest.fixture
def optimization(packs):
    return module(packs, "ComfyUI-KJNodes", "nodes.model_optimization_nodes")


@pytest.mark.parametrize("scale", [3.0, [3.0, 2.0, 1.5]], ids=["in the first half", "a list"])
def test_a_guider_that_schedules_cfg_is_guided(job, packs, brightness, look_inside, scale):
    pack, steps = module(packs, "ComfyUI-KJNodes", "nodes.nodes"), sigmas(job)
    end = 1.0 if isinstance(scale, list) else 0.5
    (guider,) = pack.ScheduledCFGGuidance().get_guider(job.model, scale, job.positive, job.negative, 0.0, end)
    before = draw(job, guider, euler(), steps)
    assert (before - draw(job, cfg(job), euler(), steps)).abs().max() > 1e-4, "it has no effect"
    assert torch.equal(draw(job, guider, job.sampler(iterations=0), steps), before)
    probe, measured = slopes()
    look_inside(probe)
    draw(job, guider, job.sampler(energy=brightness, iterations=4, scale=1.0, scale_unit="latent"), steps)
    [(gradient, slope)] = measured
    assert gradient.norm() > 1e-3
    assert slope == pytest.approx(gradient.norm().item(), rel=1e-2)
    assert job.iterates[-1].energy < job.iterates[0].energy
    assert torch.equal(draw(job, guider, euler(), steps), before)


def test_settings_that_change_no_picture_change_no_guided_one(job, optimization):
    expected, before = job.guide()[0], FP16.allow_fp16_accumulation
    (model,) = optimization.ModelPatchTorchSettings().patch(job.model, True)
    (model,) = optimization.ModelMemoryUsageFactorOverride().patch(model, 2.0)
    seen = []
    latent, _ = job.guide(model=model, on_iterate=lambda *_: seen.append(FP16.allow_fp16_accumulation))
    assert seen and all(seen)
    assert torch.equal(latent, expected)
    assert FP16.allow_fp16_accumulation is before


@needs_a_compiler
def test_the_gradient_passes_through_compiled_blocks(job, optimization):
    settings = ("inductor", False, "default", "false", True, 64, False)
    same_as_plain(job, lambda model: optimization.TorchCompileModelAdvanced().patch(model, *settings)[0])
