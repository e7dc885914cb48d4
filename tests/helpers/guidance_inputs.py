"""What guidance nodes are given: pictures and masks as the host has them, and configurations of CLIPVision."""

from __future__ import annotations

import torch

CLIP_VISION = {
    "hidden_act": "quick_gelu",
    "hidden_size": 32,
    "image_size": 28,
    "intermediate_size": 64,
    "model_type": "clip_vision_model",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 3,
    "patch_size": 7,
    "projection_dim": 16,
}
SIGLIP = {
    **{name: value for name, value in CLIP_VISION.items() if name != "projection_dim"},
    "model_type": "siglip_vision_model",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
DINO = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "image_size": 518,
    "layer_norm_eps": 1e-6,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "use_swiglu_ffn": False,
}


def pictures(batch=1, height=40, width=50, channels=3, seed=0):
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def squares(seed=0, batch=1, size=40):
    return pictures(batch, size, size, seed=seed)


def plain(*rgb, size=32):
    return torch.tensor(rgb).expand(1, size, size, 3)


def half(side, size=64):
    mask = torch.zeros(1, size, size)
    mask[..., slice(0, size // 2) if side == "left" else slice(size // 2, None)] = 1
    return mask


def terms_of(report):
    return report.terms
