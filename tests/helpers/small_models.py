"""Writes a small Stable Diffusion with random weights as three files, in the classes of the host: run as a program.

    python -m helpers.small_models <ComfyUI> <models folder>

The text encoder has its real size, since ComfyUI knows no other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from .host import load_host
from .small_networks import unet

NAME = "small.safetensors"  # in models/diffusion_models, models/text_encoders and models/vae


def random_state(network: torch.nn.Module, scale: float) -> dict[str, torch.Tensor]:
    """In float16, of one block of random numbers again and again; norms stay norms."""
    block = scale * torch.randn(2**16 + 1, generator=torch.Generator().manual_seed(4))
    norms = {name for name, module in network.named_modules() if type(module).__name__ in ("GroupNorm", "LayerNorm")}
    state = {}
    for name, weight in network.state_dict().items():
        numbers = block.repeat(weight.numel() // len(block) + 1)[: weight.numel()].view(weight.shape)
        state[name] = (numbers + (name.removesuffix(".weight") in norms)).half()
    return state


def main(host: str, models: Path) -> None:
    load_host(host)
    from comfy.taesd.taesd import TAESD

    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    with torch.device("meta"):
        clip = CLIPTextModel(text)
    states = {
        "diffusion_models": random_state(unet(), 0.03),
        "text_encoders": {
            "text_model." + name.removeprefix("text_model."): weight
            for name, weight in random_state(clip, 0.02).items()
            if "position_ids" not in name
        },
        "vae": random_state(TAESD(latent_channels=4), 0.04),
    }
    for folder, state in states.items():
        (models / folder).mkdir(parents=True, exist_ok=True)
        save_file({name: weight.contiguous() for name, weight in state.items()}, models / folder / NAME)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
