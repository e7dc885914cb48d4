"""Networks in their real size, by the host's classes; without weights, on whatever device they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Model:
    """build: its network, on the device it is given, by the host's layers.

    side: of the picture, in pixels; context: (tokens, width) of the prompt; pooled: the width of its summary.
    target: GiB of the whole peak, at this size, in the setting with the smallest memory.
    """

    build: Callable[..., nn.Module]
    side: int
    steps: int
    cfg: float
    channels: int
    context: tuple[int, int]
    pooled: int | None = None
    target: float | None = None


def unet(**sizes: Any) -> Callable[..., nn.Module]:
    def build(**where: Any) -> nn.Module:
        from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

        return UNetModel(
            image_size=32,
            in_channels=4,
            out_channels=4,
            model_channels=320,
            use_spatial_transformer=True,
            legacy=False,
            **sizes,
            **where,
        )

    return build


def mmdit(depth: int, context: int, pooled: int, places: int) -> Callable[..., nn.Module]:
    def build(**where: Any) -> nn.Module:
        from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT

        return MMDiT(
            input_size=None,
            in_channels=16,
            depth=depth,
            adm_in_channels=pooled,
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": context, "out_features": 64 * depth},
            },
            num_patches=places**2,
            pos_embed_max_size=places,
            pos_embed_scaling_factor=None,
            **where,
        )

    return build


def z_image(**where: Any) -> nn.Module:
    from comfy.ldm.lumina.model import NextDiT

    return NextDiT(
        patch_size=2,
        in_channels=16,
        dim=3840,
        n_layers=30,
        n_heads=30,
        n_kv_heads=30,
        ffn_dim_multiplier=8 / 3,
        qk_norm=True,
        cap_feat_dim=2560,
        axes_dims=[32, 48, 48],
        axes_lens=[1536, 512, 512],
        z_image_modulation=True,
        pad_tokens_multiple=32,
        **where,
    )


def flux_schnell(**where: Any) -> nn.Module:
    from comfy.ldm.flux.model import Flux

    return Flux(
        in_channels=16,
        out_channels=16,
        patch_size=2,
        vec_in_dim=768,
        context_in_dim=4096,
        hidden_size=3072,
        mlp_ratio=4.0,
        num_heads=24,
        depth=19,
        depth_single_blocks=38,
        axes_dim=[16, 56, 56],
        theta=10_000,
        qkv_bias=True,
        guidance_embed=False,
        **where,
    )


SD15 = unet(
    num_res_blocks=[2] * 4,
    channel_mult=[1, 2, 4, 4],
    num_heads=8,
    transformer_depth=[1] * 6 + [0] * 2,
    transformer_depth_output=[1] * 9 + [0] * 3,
    transformer_depth_middle=1,
    context_dim=768,
)
SDXL = unet(
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
MODELS = {
    "sd15": Model(SD15, 512, 4, 2.0, 4, (77, 768), target=6),
    "sdxl": Model(SDXL, 1024, 4, 2.0, 4, (77, 2048), 1280, target=16),
    "sd3_medium": Model(mmdit(24, 4096, 2048, 192), 1024, 4, 2.0, 16, (154, 4096), 2048),
    "z_image": Model(z_image, 1024, 8, 1.0, 16, (128, 2560), target=24),
    "flux_schnell": Model(flux_schnell, 1024, 4, 1.0, 16, (256, 4096), 768),
}


def taesd(channels: int, device: str) -> nn.Module:
    from comfy.taesd.taesd import TAESD

    with torch.device(device):
        return TAESD(latent_channels=channels)


def kl(channels: int, device: str) -> nn.Module:
    """The autoencoder of SD (4 channels), or of SD3 and FLUX (16)."""
    from comfy.ldm.models.autoencoder import AutoencoderKL

    sizes = {"double_z": True, "z_channels": channels, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128}
    sizes |= {"ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    with torch.device(device):
        return AutoencoderKL(ddconfig=sizes, embed_dim=channels)


VAES = {"KL": kl, "TAESD": taesd}
