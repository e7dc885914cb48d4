"""A small decoder of the embedded model's latents: what a TAESD is to the large models.

    COMFYUI_PATH=... python benchmarks/small_decoder.py --minutes 10     # goes on from where it was

It has a fourteenth of the embedded decoder's weights and operations, and learns to draw what that draws, of the latents
of drawn portraits with a little noise.  A TAESD itself would be larger than the decoder that it is to stand for.  The
weights stay under demo/cache, since only `approximations.py` has a use for them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from world import Autoencoder, Identity, Scene, World, draw

PATH = Path(__file__).parent.parent / "demo" / "cache" / "small_decoder.safetensors"
TRAINING, VALIDATION = 6_000_000, 7_000_000  # first seeds, of people that nothing else draws
PICTURES, BATCH, SIDE = 2048, 16, 8  # SIDE: of a crop of the latent
NOISE = 0.2  # the most, in units of the latent's deviation


def network() -> nn.Module:
    """Model latents ``(B, 16, h, w)`` -> pictures ``(B, 3, 8 h, 8 w)`` in about [0, 1]."""
    return nn.Sequential(
        nn.Conv2d(16, 48, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 48, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 96, 3, padding=1),
        nn.PixelShuffle(2),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, padding=1),
        nn.PixelShuffle(4),
    )


def trained() -> nn.Module:
    """FileNotFoundError, which says what to do, before it is trained."""
    if not PATH.exists():
        raise FileNotFoundError("there is no small decoder yet: run benchmarks/small_decoder.py, 10 minutes")
    decoder = network()
    decoder.load_state_dict(load_file(PATH))
    return decoder.eval().requires_grad_(False)


@torch.no_grad()
def latents(world: World, first_seed: int, count: int) -> Tensor:
    """Of so many drawn portraits, as the flow makes them."""
    seen = []
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        picture = torch.from_numpy(np.array(draw(Identity.sample(rng), Scene.sample(rng)))).movedim(-1, 0)
        seen.append(world.autoencoder.encode(picture[None] / 127.5 - 1))
    return (torch.cat(seen) - Autoencoder.HOST_SHIFT) * Autoencoder.HOST_SCALE


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.diff(dim=-1), x.diff(dim=-2)


def loss_of(drawn: Tensor, wanted: Tensor) -> Tensor:
    return sum(F.l1_loss(a, b) for a, b in zip((drawn, *edges(drawn)), (wanted, *edges(wanted)), strict=True))


def train(world: World, decoder: nn.Module, minutes: float) -> None:
    optimizer = torch.optim.AdamW(decoder.parameters(), 2e-3, weight_decay=0)
    z, rng, start, step = latents(world, TRAINING, PICTURES), np.random.default_rng(0), time.time(), 0
    while (share := (time.time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, step / 50) * max(0.01, 1 - share)
        corners = rng.integers(0, z.shape[-1] - SIDE + 1, (BATCH, 2))
        chosen = zip(rng.integers(0, len(z), BATCH), corners, strict=True)
        part = torch.stack([z[i, :, y : y + SIDE, x : x + SIDE] for i, (y, x) in chosen])
        part = part + NOISE * torch.rand(BATCH, 1, 1, 1) * torch.randn_like(part)
        with torch.no_grad():
            wanted = world.decode(part)
        with torch.enable_grad():
            loss = loss_of(decoder(part), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 500 == 0:
            print(f"{step} {share:.0%} loss {loss.item():.4f}", flush=True)
            keep(decoder)
    keep(decoder)


def keep(decoder: nn.Module) -> None:
    PATH.parent.mkdir(exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in decoder.state_dict().items()}, PATH)


@torch.no_grad()
def psnr(world: World, decoder: nn.Module, z: Tensor) -> float:
    """Of its pictures against the embedded VAE's, in decibels."""
    error = (decoder(z).clamp(0, 1) - world.decode(z)).square().mean()
    return -10 * error.log10().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    world, decoder = World(), network()
    if PATH.exists():
        decoder.load_state_dict(load_file(PATH))
    train(world, decoder, arguments.minutes)
    print(f"psnr {psnr(world, decoder, latents(world, VALIDATION, 64)):.2f}")


if __name__ == "__main__":
    main()
