"""Trains a segmenter of the world, a SegFormer, for guidance by what is where.

    python demo/train_segmenter.py --minutes 5

It sees the same pictures as the flow (demo/data.py draws them) with labels that the renderer gives, small adversarial
changes among them, as the recognisers do.  demo/weights/segmenter is a folder as of any segmenter of transformers, its
parameters rounded to half precision.  Minutes are those of one processor.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from data import CACHE, EVALUATION, FIRST_SEED, SIZE, TRAINED, training_scene
from labels import LABELS, draw_labels
from portrait import Identity, Scene, draw
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from train_recognisers import adversary
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

SEGMENTER = TRAINED / "segmenter"
PICTURES, BATCH, RATE = 6_000, 16, 2e-3
ADVERSARY = 3.0  # L2 radius of the adversarial change of a 3 x 128 x 128 picture in [-1, 1]


def untrained() -> SegformerForSemanticSegmentation:
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[16, 24, 32, 48],
            num_attention_heads=[1, 1, 2, 2],
            mlp_ratios=[2, 2, 2, 2],
            decoder_hidden_size=32,
            id2label=dict(enumerate(LABELS)),
            label2id={label: number for number, label in enumerate(LABELS)},
        )
    )


def look(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of each pixel."""
    return F.interpolate(model(pixel_values=x).logits.float(), x.shape[-2:], mode="bilinear")


def soften(x: Tensor) -> Tensor:
    """Blur, contrast and noise: how a generated picture differs from a drawn one."""
    b = x.shape[0]
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    x = x + torch.rand(b, 1, 1, 1) * (blurred - x)
    x = x * (1 + 0.1 * torch.randn(b, 1, 1, 1)) + 0.05 * torch.randn(b, 3, 1, 1)
    return (x + 0.08 * torch.rand(b, 1, 1, 1) * torch.randn_like(x)).clamp(-1, 1)


def drawn(seed: int) -> tuple[Identity, Scene]:
    """Who and what `data` draws from that seed."""
    rng = np.random.default_rng(seed)
    return Identity.sample(rng), training_scene(rng)


def train(minutes: float) -> nn.Module:
    torch.manual_seed(44)
    model, rng = untrained(), np.random.default_rng(44)
    pictures = np.load(CACHE / "scenes.npy", mmap_mode="r")[:PICTURES]
    labels = np.stack([draw_labels([drawn(FIRST_SEED["scenes"] + number)]) for number in range(PICTURES)])
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    step, start = 0, time.process_time()
    while (share := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 50) * max(0.02, 1 - share)
        at = np.sort(rng.integers(0, PICTURES, BATCH))
        x = soften(torch.from_numpy(pictures[at]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        target = torch.from_numpy(labels[at]).long()
        if rng.random() < 0.5:  # mirrored
            x, target = x.flip(-1), target.flip(-1)
        if share > 0.4 and step % 2:
            x = adversary(lambda start, target=target: F.cross_entropy(look(model, start), target), x, ADVERSARY)
        loss = F.cross_entropy(look(model, x), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"{step} {share:.0%} loss {loss.item():.3f}", flush=True)
    return model.eval()


@torch.no_grad()
def overlaps(model: nn.Module, people: int = 100) -> dict[str, float]:
    """For each label the intersection over union on pictures of new people."""
    new = [drawn(EVALUATION + number) for number in range(people)]
    x = torch.from_numpy(np.stack([np.asarray(draw(*each, SIZE)) for each in new]))
    seen = look(model, x.permute(0, 3, 1, 2).float() / 127.5 - 1).argmax(dim=1)
    truth = torch.from_numpy(np.stack([draw_labels([each]) for each in new]))
    pairs = {label: (seen == number, truth == number) for number, label in enumerate(LABELS)}
    return {label: ((a & b).sum() / (a | b).sum()).item() for label, (a, b) in pairs.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    model = train(parser.parse_args().minutes)
    print(overlaps(model))
    model.config.save_pretrained(SEGMENTER)
    buffers = dict(model.named_buffers())
    half = {name: x if name in buffers else x.half() for name, x in model.state_dict().items()}
    save_file(half, SEGMENTER / "model.safetensors", metadata={"format": "pt"})
    SegformerImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(SEGMENTER)


if __name__ == "__main__":
    main()
