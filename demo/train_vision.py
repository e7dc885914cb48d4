"""Trains a small CLIP vision model of the world, for guidance by style.

    python demo/train_vision.py --minutes 5

As CLIP does, it learns to tell which caption belongs to which of the pictures in a batch; a caption is the list of what
a prompt would name.  Small adversarial changes of the pictures are among them, as for the recognisers.  The weights, in
half precision, and the configuration that the host's CLIPVision reads go to demo/weights.  Minutes are those of one
processor.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from data import CACHE, RECOGNISER_SIZE, SIZE, TRAINED
from portrait import ATTRIBUTES
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from train_recognisers import ADVERSARY, adversary
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

CONFIG = {
    "model_type": "clip_vision_model",
    "hidden_act": "quick_gelu",
    "hidden_size": 64,
    "image_size": RECOGNISER_SIZE,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_channels": 3,
    "num_hidden_layers": 3,
    "patch_size": 8,
    "projection_dim": 32,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
BATCH, RATE, TEMPERATURE, HELD_BACK = 128, 2e-3, 0.07, 500


class Captions(nn.Module):
    """Lists of attributes, ``(B, 6)`` numbers of choices, as vectors."""

    def __init__(self, features: int):
        super().__init__()
        self.words = nn.ModuleList(nn.Embedding(len(choices), features) for choices in ATTRIBUTES.values())

    def forward(self, labels: Tensor) -> Tensor:
        return sum(words(labels[:, number]) for number, words in enumerate(self.words))


def batch(pictures: np.ndarray, at: np.ndarray) -> Tensor:
    """In [-1, 1], a little noisy."""
    x = torch.from_numpy(pictures[at]).permute(0, 3, 1, 2).float()
    x = F.avg_pool2d(x, SIZE // RECOGNISER_SIZE) / 127.5 - 1
    return x + 0.06 * torch.rand(len(x), 1, 1, 1) * torch.randn_like(x)


def likeness(vision: nn.Module, captions: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """The cosine of each picture and each caption."""
    seen = F.normalize(vision(pixel_values=x).image_embeds, dim=1)
    return seen @ F.normalize(captions(labels), dim=1).T


def contrast(cosine: Tensor) -> Tensor:
    itself = torch.arange(len(cosine))
    return sum(F.cross_entropy(each / TEMPERATURE, itself) for each in (cosine, cosine.T)) / 2


def train(minutes: float) -> nn.Module:
    torch.manual_seed(55)
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**CONFIG))
    captions, rng = Captions(CONFIG["projection_dim"]), np.random.default_rng(55)
    pictures, labels = np.load(CACHE / "scenes.npy", mmap_mode="r"), torch.from_numpy(np.load(CACHE / "labels.npy"))
    parameters = [*vision.parameters(), *captions.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.01)
    step, start = 0, time.process_time()
    while (share := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 100) * max(0.02, 1 - share)
        at = np.sort(rng.integers(HELD_BACK, len(pictures), BATCH))
        x, named = batch(pictures, at), labels[at]
        if share > 0.3:
            x = adversary(lambda start, named=named: contrast(likeness(vision, captions, start, named)), x, ADVERSARY)
        loss = contrast(likeness(vision, captions, x, named))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            print(f"{step} {share:.0%} loss {loss.item():.3f}", flush=True)
    with torch.no_grad():
        cosine = likeness(vision, captions, batch(pictures, np.arange(HELD_BACK)), labels[:HELD_BACK])
    right = (cosine.argmax(dim=1) == torch.arange(HELD_BACK)).float().mean()
    print(f"the right one of {HELD_BACK} captions: {right:.1%}")
    return vision.eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    vision = train(parser.parse_args().minutes)
    state = {name: x.half().contiguous() for name, x in vision.state_dict().items() if x.is_floating_point()}
    save_file(state, TRAINED / "clip_vision.safetensors")
    (TRAINED / "clip_vision.json").write_text(json.dumps(CONFIG, indent=1) + "\n")


if __name__ == "__main__":
    main()
