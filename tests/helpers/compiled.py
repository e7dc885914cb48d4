"""What a compiled model is held to, whoever's node compiles it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang", "cl"))), reason="no C++ compiler for inductor"
)


def same_as_plain(job, compiled_of: Callable) -> None:
    """The sampler's picture and gradient on ``compiled_of(model)`` are those on the model itself."""
    plain, _ = job.guide(steps=2, iterations=1)
    residual = job.iterates[0].residual
    compiled = compiled_of(job.model)
    torch.compiler.reset()
    try:
        latent, _ = job.guide(model=compiled, steps=2, iterations=1)
        frames = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    finally:
        torch.compiler.reset()
    assert frames > 0  # it was compiled indeed
    assert torch.allclose(latent, plain, rtol=1e-3, atol=1e-4)
    assert torch.allclose(job.iterates[0].residual, residual, rtol=1e-3)
