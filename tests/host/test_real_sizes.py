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
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

GIB = 2**30


def unet(**sizes):
    return UNetModel(
        image_size=32,
        in_channels=4,
        out_channels=4,
        model_channels=320,
        use_spatial_transformer=True,
        legacy=False,
        device="meta",
        operations=comfy.ops.disable_weight_init,
        **sizes,
    )


def sd15():
    return unet(
        num_res_blocks=[2] * 4,
        channel_mult=[1, 2, 4, 4],
        num_heads=8,
        transformer_depth=[1] * 6 + [0] * 2,
        transformer_depth_output=[1] * 9 + [0] * 3,
        transformer_depth_middle=1,
        context_dim=768,
    )


def sdxl():
    return unet(
        num_res_blocks=[2] * 3,
        channel_mult=[1, 2, 4],
        num_head_channels=64,
        transformer_depth=[0, 0, 2, 2, 10, 10],
        transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10],
        transformer_depth_middle=10,
        context_dim=2048,
        use_linear_in_transformer=True,
        num_classes="sequential",
        adm_in_channels=2816,
    )


def sd3_medium():
    return MMDiT(
        input_size=None,
        in_channels=16,
        depth=24,
        adm_in_channels=2048,
        context_embedder_config={
            "target": "torch.nn.Linear",
            "params": {"in_features": 4096, "out_features": 1536},
        },
        num_patches=192**2,
        pos_embed_max_size=192,
        pos_embed_scaling_factor=None,
        device="meta",
        operations=comfy.ops.disable_weight_init,
    )


def random_weights(network):
    """In bfloat16, quickly: one block of random numbers again and again, smaller the more inputs a weight has."""
    block = torch.randn(2**20 + 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    norms = {name for name, module in network.named_modules() if "Norm" in type(module).__name__}
    state = {}
    for name, weight in network.state_dict().items():
        spread = 0.5 / max(weight[0].numel(), 1) ** 0.5 if weight.ndim > 1 else 0.02
        state[name] = spread * block.repeat(weight.numel() // len(block) + 1)[: weight.numel()].view(weight.shape)
        if name.removesuffix(".weight") in norms:
            state[name] += 1
    return state


@pytest.mark.parametrize(
    ("build", "billions", "context", "pooled"),
    [(sd15, 0.86, 768, None), (sdxl, 2.57, 2048, 1280), (sd3_medium, 2.03, 4096, 2048)],
    ids=["sd15", "sdxl", "sd3_medium"],
)
def test_an_iteration_in_real_size(job, small_vae, build, billions, context, pooled):
    comfy.model_management.unload_all_models()  # the host keeps those of earlier tests
    gc.collect()
    needed = 3 * 2e9 * billions  # the weights, the state dict that they come from, and room to work
    # what this process has freed it holds on to, and uses again
    if psutil.virtual_memory().available + psutil.Process().memory_info().rss < needed + GIB:
        pytest.skip(f"needs {needed / GIB:.0f} GiB of free memory")
    state = random_weights(build())
    assert sum(weight.numel() for weight in state.values()) == pytest.approx(1e9 * billions, rel=0.08)
    job.model = comfy.sd.load_diffusion_model_state_dict(state, model_options={"dtype": torch.bfloat16})
    channels = job.model.get_model_object("latent_format").latent_channels
    job.vae = small_vae if channels == 4 else job.vae
    extra = {} if pooled is None else {"pooled_output": torch.zeros(1, pooled)}
    job.positive = job.negative = [[torch.randn(1, 77, context, generator=torch.manual_seed(1)), extra]]
    job.latent = {"samples": torch.zeros(1, channels, 8, 8)}
    latent, image = job.guide(steps=2, iterations=1, scale=50.0)
    assert latent.isfinite().all() and image.isfinite().all()
    moved = (job.iterates[1].latent - job.iterates[0].latent).norm()
    assert moved > 1e-3 and job.iterates[0].residual > 0
