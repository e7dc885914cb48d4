"""Networks of the host's classes that several tests need, small, without weights."""

from __future__ import annotations


def control_net():
    """The ControlNet of the small UNet: one level of 320 channels, a context of width 768."""
    import comfy.ops
    import torch
    from comfy.cldm.cldm import ControlNet

    return ControlNet(
        image_size=32,
        in_channels=4,
        hint_channels=3,
        model_channels=320,
        num_res_blocks=[1],
        channel_mult=[1],
        num_heads=8,
        use_spatial_transformer=True,
        transformer_depth=[1],
        transformer_depth_middle=1,
        context_dim=768,
        legacy=False,
        dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )
