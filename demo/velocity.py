"""The embedded flow's network and its time: the host's MMDiT, imported from COMFYUI_PATH, and the host's sigmas."""

from __future__ import annotations

import os
import sys

import torch
from text_encoder import QUERIES, WIDTH, TextEncoder
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

DEPTH, TOKENS_ACROSS = 3, 16
SHIFT, WINDOWS = 3.0, 4


def host():
    """The host's modules, imported for the CPU from COMFYUI_PATH."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    arguments, sys.argv = sys.argv, [sys.argv[0], "--cpu", "--use-pytorch-cross-attention"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit
    import comfy.sd1_clip as clip

    sys.argv = arguments
    return mmdit, clip


def shift(t: Tensor) -> Tensor:
    return SHIFT * t / (1 + (SHIFT - 1) * t)


BOUNDARIES = shift(torch.linspace(1, 0, WINDOWS + 1))


def sincos(across: int, width: int) -> Tensor:
    """The usual fixed position table, (1, across^2, width), centered so that 8 x 8 tokens are its middle."""
    place = torch.arange(across, dtype=torch.float64) - across / 2 + 0.5
    rate = 1 / 100 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    wave = torch.cat([torch.sin(place[:, None] * rate), torch.cos(place[:, None] * rate)], 1)
    rows, columns = wave[:, None].expand(across, across, -1), wave[None].expand(across, across, -1)
    return torch.cat([rows, columns], -1).reshape(1, across * across, width).float()


class Velocity(nn.Module):
    """v(z, sigma, prompt): the host's MMDiT and our text encoder, trained together."""

    def __init__(self, text: TextEncoder, autocast: bool = True):
        super().__init__()
        mmdit, _ = host()
        self.autocast = autocast
        self.text = text
        self.flow = mmdit.MMDiT(
            input_size=None,
            patch_size=2,
            in_channels=16,
            depth=DEPTH,
            adm_in_channels=WIDTH,
            context_embedder_config={
                "target": "torch.nn.Linear",
                "params": {"in_features": WIDTH, "out_features": 64 * DEPTH},
            },
            pos_embed_max_size=TOKENS_ACROSS,
            num_patches=TOKENS_ACROSS**2,
            qk_norm="rms",
            operations=nn,
            dtype=torch.float32,
        )
        self.flow.pos_embed.copy_(sincos(TOKENS_ACROSS, 64 * DEPTH))
        for name, parameter in self.flow.named_parameters():
            if "adaLN_modulation" in name or "final_layer.linear" in name:
                nn.init.zeros_(parameter)
            elif ".ln_" in name:
                nn.init.ones_(parameter)
            elif parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def forward(self, z: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
            context, pooled = self.text(tokens)
            return self.flow(z, 1000 * sigma, y=pooled, context=context).float()

    def read(self, z: Tensor, sigma: Tensor, read: Tensor) -> Tensor:
        """The same for what the text encoder has read, (B, 9, 192): the eight context vectors and the pooled one."""
        # plain products: on a CPU the backward of fused attention takes a quarter of a training step
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast), sdpa_kernel(SDPBackend.MATH):
            return self.flow(z, 1000 * sigma, y=read[:, QUERIES], context=read[:, :QUERIES]).float()
