"""Folders as users have them, with the real classes of transformers at tiny sizes and random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

WORDS = ["a", "dog", "cat", "red", "ball"]
EMBEDDERS = ["dinov2", "dinov2_with_registers", "dinov3_vit"]
DETECTORS = ["owlvit", "owlv2"]
KNOWN = [kind for kind in EMBEDDERS if kind in transformers.CONFIG_MAPPING]  # DINOv3 is newer than some transformers


def write_embedder(folder: Path, kind: str = "dinov2", side: int = 28, **saving) -> nn.Module:
    """DINO of 2 layers, for crops of ``side`` pixels; returns the network that was saved."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 7, "image_size": 56}
    if kind == "dinov3_vit":
        config = transformers.DINOv3ViTConfig(**shape, intermediate_size=64, num_register_tokens=2)
        network = made(transformers.DINOv3ViTModel, config)
    elif kind == "dinov2_with_registers":
        network = made(transformers.Dinov2WithRegistersModel, transformers.Dinov2WithRegistersConfig(**shape))
    else:
        network = made(transformers.Dinov2Model, transformers.Dinov2Config(**shape))
    scatter(network, seed=1).save_pretrained(folder, **saving)
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": side + 4},
        crop_size={"height": side, "width": side},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    processor.save_pretrained(folder)
    return network


def write_detector(folder: Path, kind: str = "owlvit", side: int = 64, **saving) -> nn.Module:
    """OWL of 2 layers and 64 patches, with a tokenizer for `WORDS`; returns the network that was saved."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vocabulary = _write_tokenizer(folder)
    text = {**shape, "vocab_size": len(vocabulary), "max_position_embeddings": 16}
    text |= {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": 0}
    vision = {**shape, "image_size": side, "patch_size": side // 8}
    if kind == "owlv2":
        config = transformers.Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)
        network = made(transformers.Owlv2ForObjectDetection, config)
    else:
        config = transformers.OwlViTConfig(text_config=text, vision_config=vision, projection_dim=32)
        network = made(transformers.OwlViTForObjectDetection, config)
    scatter(network, seed=2).save_pretrained(folder, **saving)
    image_processor(kind, side).save_pretrained(folder)
    return network


def write_clip(folder: Path, side: int = 32) -> nn.Module:
    """CLIP of 2 layers, with a tokenizer for `WORDS`; returns the network that was saved."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vocabulary = _write_tokenizer(folder)
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": 0}
    config = transformers.CLIPConfig(
        text_config={**shape, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 16},
        vision_config={**shape, "image_size": side, "patch_size": side // 4},
        projection_dim=32,
    )
    network = made(transformers.CLIPModel, config)
    scatter(network, seed=3).save_pretrained(folder)
    size = {"height": side, "width": side}
    transformers.CLIPImageProcessor(size={"shortest_edge": side}, crop_size=size).save_pretrained(folder)
    return network


def image_processor(kind: str, side: int = 64):
    size = {"height": side, "width": side}
    if kind == "owlv2":
        return transformers.Owlv2ImageProcessor(size=size)
    return transformers.OwlViTImageProcessor(size=size, crop_size=size)


def made(kind: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """A network whose first weights, of which `scatter` leaves a part, do not depend on what was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config)


def scatter(network: nn.Module, seed: int) -> nn.Module:
    """Weights large enough that different pictures give different answers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * 1.5 / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.1 * noise)
    return network.eval()


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """CLIP's kind of byte pair encoding, as vocab.json and merges.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    merges, merged = [], []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
            merged.append(parts[0])
    tokens = [*letters, *(letter + "</w>" for letter in letters), *dict.fromkeys(merged)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    lines = ["#version: 0.2", *dict.fromkeys(f"{left} {right}" for left, right in merges)]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 16,
        "pad_token": "!",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return vocabulary


def picture(height, width, seed=0):
    """``(3, H, W)``, smooth, of whole 8-bit values."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]
    return (smooth * 255).round() / 255


def bytes_of(image):
    return (image * 255).round().byte().movedim(0, -1).numpy()
