"""Small networks of the host's classes, without weights."""

from __future__ import annotations

from typing import Any

LEVEL = {  # one of 320 channels, that reads a context of width 768
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "num_heads": 8,
    "use_spatial_transformer": True,
    "transformer_depth": [1],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "legacy": False,
}


def unet(in_channels: int = 4):
    """A UNet that the host takes for that of SD 1.5; with 9 channels, for its inpainting one."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    level = {**LEVEL, "in_channels": in_channels}
    return UNetModel(out_channels=4, transformer_depth_output=[1, 1], **level, **_layers())


def control_net():
    """The ControlNet of the small UNet."""
    from comfy.cldm.cldm import ControlNet

    return ControlNet(hint_channels=3, **LEVEL, **_layers())


def _layers() -> dict[str, Any]:
    import comfy.ops
    import torch

    return {"dtype": torch.float32, "operations": comfy.ops.disable_weight_init}
