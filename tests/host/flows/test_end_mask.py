"""The mask that confines guidance is the one that the host applies in the last window."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from comfy.model_base import BaseModel
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion


@pytest.fixture
def end_mask(job, pack):
    """`end_mask(model, mask)`: of a run of four steps."""

    def of(model, mask):
        sigmas = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
        inner: BaseModel = model.model
        guider = SimpleNamespace(inner_model=inner, model_patcher=model)
        options = {"model_options": model.model_options, "seed": 1}
        noise = torch.zeros(1, 16, 8, 8)
        return pack("nodes.host.flows.flow").Denoiser(guider, sigmas, options, noise, noise, mask).end_mask

    return of


def test_a_soft_mask_is_the_hosts_as_it_is(job, end_mask):
    mask = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    assert torch.equal(end_mask(job.model, mask), mask)
    assert end_mask(job.model, None) is None


def test_a_differential_one_is_hard_at_the_last_threshold(job, end_mask):
    """A quarter of the way is left in the last of four steps: what is below that is kept, the rest is free."""
    mask = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    model = DifferentialDiffusion.execute(job.model, 1.0).result[0]
    hard = end_mask(model, mask)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert hard[mask < 0.2].max() == 0 and hard[mask > 0.3].min() == 1
    half = end_mask(DifferentialDiffusion.execute(job.model, 0.5).result[0], mask)
    torch.testing.assert_close(half, 0.5 * hard + 0.5 * mask)
