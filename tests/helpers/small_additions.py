"""Writes what goes beside a small Stable Diffusion, with random weights, in the classes of the host: run as a program.

    python -m helpers.small_additions <ComfyUI> <models folder>

A ControlNet, a LoRA, a style model and the CLIPVision that it reads; the last two have their real size, since ComfyUI
knows no other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from .host import load_host
from .small_models import NAME, random_state
from .small_networks import control_net


def main(host: str, models: Path) -> None:
    load_host(host)
    import comfy.clip_vision
    from comfy.t2i_adapter.adapter import StyleAdapter

    control = control_net()
    style = StyleAdapter(width=1024, context_dim=768, num_head=8, n_layes=3, num_token=8)
    place = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_q"
    config = Path(comfy.clip_vision.__file__).with_name("clip_vision_config_vitl.json")
    states = {
        "controlnet": random_state(control, 0.03),
        "loras": {f"{place}.lora_up.weight": torch.ones(320, 2), f"{place}.lora_down.weight": torch.ones(2, 320)},
        "style_models": random_state(style, 0.03),
        "clip_vision": random_state(comfy.clip_vision.ClipVisionModel(config).model, 0.02),
    }
    for folder, state in states.items():
        (models / folder).mkdir(parents=True, exist_ok=True)
        save_file({name: weight.contiguous() for name, weight in state.items()}, models / folder / NAME)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
