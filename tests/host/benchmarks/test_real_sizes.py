"""One guided iteration of networks in their real size, with random weights in bfloat16, at the smallest latent.

What fits into 24 GiB: FLUX (12 B parameters) does not.  Measured on 2 cores: each takes under two minutes.
"""

from __future__ import annotations

import gc

import comfy.model_management
import comfy.ops
import comfy.sd
import psutil
import pytest
import torch

from tests.helpers.benchmarks import benchmark

MODELS = benchmark("networks").MODELS

GIB = 2**30


def random_weights(network):
    """In bfloat16, quickly: one block of random numbers again and again, smaller the more inputs a weight has."""
    block = torch.randn(2**20 + 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    norms = {name for name, module in network.named_modules() if "Norm" in type(module).__name__}
    state = {}
    for name, weight in network.state_dict().items():
        scale = 0.5 / max(weight[0].numel(), 1) ** 0.5 if weight.ndim > 1 else 0.02
        state[name] = scale * block.repeat(weight.numel() // len(block) + 1)[: weight.numel()].view(weight.shape)
        if name.removesuffix(".weight") in norms:
            state[name] += 1
    return state


@pytest.mark.parametrize(("name", "billions"), [("sd15", 0.86), ("sdxl", 2.57), ("sd3_medium", 2.03)])
def test_an_iteration_in_real_size(job, small_vae, name, billions):
    real = MODELS[name]
    comfy.model_management.unload_all_models()  # the host keeps those of earlier tests
    gc.collect()
    needed = 3 * 2e9 * billions  # the weights, the state dict that they come from, and room to work
    # what this process has freed it holds on to, and uses again
    if psutil.virtual_memory().available + psutil.Process().memory_info().rss < needed + GIB:
        pytest.skip(f"needs {needed / GIB:.0f} GiB of free memory")
    state = random_weights(real.build(device="meta", operations=comfy.ops.disable_weight_init))
    assert sum(weight.numel() for weight in state.values()) == pytest.approx(1e9 * billions, rel=0.08)
    job.model = comfy.sd.load_diffusion_model_state_dict(state, model_options={"dtype": torch.bfloat16})
    job.vae = small_vae if real.channels == 4 else job.vae
    extra = {} if real.pooled is None else {"pooled_output": torch.zeros(1, real.pooled)}
    job.positive = job.negative = [[torch.randn(1, *real.context, generator=torch.manual_seed(1)), extra]]
    job.latent = {"samples": torch.zeros(1, real.channels, 8, 8)}
    latent, image = job.guide(steps=2, iterations=1, scale=50.0)
    assert latent.isfinite().all() and image.isfinite().all()
    moved = (job.iterates[1].latent - job.iterates[0].latent).norm()
    assert moved > 1e-3 and job.iterates[0].residual > 0
