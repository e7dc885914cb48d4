"""Behind the host's TorchCompileModel the sampler's picture and gradient are those of the plain model."""

from __future__ import annotations

import shutil

import pytest
import torch
from comfy_extras.nodes_torch_compile import TorchCompileModel


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang", "cl"))), reason="no C++ compiler for inductor")
def test_the_gradient_passes_through_a_compiled_model(job):
    plain, _ = job.guide(steps=2, iterations=1)
    residual = job.iterates[0].residual
    compiled = TorchCompileModel.execute(job.model, "inductor")[0]
    torch.compiler.reset()
    try:
        latent, _ = job.guide(model=compiled, steps=2, iterations=1)
        frames = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    finally:
        torch.compiler.reset()
    assert frames > 0  # it was compiled indeed
    assert torch.allclose(latent, plain, rtol=1e-3, atol=1e-4)
    assert torch.allclose(job.iterates[0].residual, residual, rtol=1e-3)
