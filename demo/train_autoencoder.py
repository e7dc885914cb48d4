"""Trains the autoencoder on random crops: absolute error of pixels and of their differences, and squared error, in
which small things like freckles weigh more.

    python demo/train_autoencoder.py --minutes 12      # goes on from the cache's autoencoder.pt, or from the weights

Two things make its latents easier for a flow to learn.  Noise of a random level lies on the latent, so that
neighbouring latents are neighbouring pictures and small errors of the flow do not show.  And in every other step the
latent is averaged to half its size and has to decode to the picture at half its size (Kouzelis et al. 2025), which
keeps the latent as smooth as the picture.  Minutes are those of one processor.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from autoencoder import Autoencoder
from data import CACHE, TRAINED, WEIGHTS
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

LATENT_NOISE = 0.3  # at most, in units of the latent's deviation, which the penalty keeps near 1
SQUARED = 2.0  # weight of the squared error


def crops(pictures: np.ndarray, rng: np.random.Generator, batch: int, side: int = 64) -> torch.Tensor:
    at = rng.integers(0, pictures.shape[0], batch)
    corners = rng.integers(0, (pictures.shape[1] - side) // 8 + 1, (batch, 2)) * 8
    cut = np.stack([pictures[i, y : y + side, x : x + side] for i, (y, x) in zip(at, corners, strict=True)])
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    error = (y - x).abs().mean() + sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x), strict=True))
    return error + SQUARED * F.mse_loss(y, x)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    pictures = np.load(CACHE / "scenes.npy", mmap_mode="r")
    model = Autoencoder()
    step, spent, checkpoint = 0, 0.0, CACHE / "autoencoder.pt"
    if not checkpoint.exists() and (WEIGHTS / "autoencoder.safetensors").exists():
        model.load_state_dict(load_file(WEIGHTS / "autoencoder.safetensors"))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-4)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    model = model.to(memory_format=torch.channels_last)
    rng, start = np.random.default_rng(step), time.process_time() - spent
    while (share := (time.process_time() - start) / (60 * arguments.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 200) * max(0.02, 1 - share)
        x = crops(pictures, rng, arguments.batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latent = model.encoder(x).float()
            halved = step % 2 == 1
            shown, target = (F.avg_pool2d(latent, 2), F.avg_pool2d(x, 2)) if halved else (latent, x)
            level = LATENT_NOISE * torch.rand(len(x), 1, 1, 1)
            y = model.decoder(shown + level * torch.randn_like(shown)).float()
        loss = reconstruction(y, target) + 2e-3 * (latent.square().mean() - 1).clamp(min=0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 200 == 1:
            psnr = -10 * np.log10(F.mse_loss(y, x).item() / 4)
            print(f"{step} {share:.0%} loss {loss.item():.4f} psnr with noise {psnr:.2f}", flush=True)
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "spent": time.process_time() - start,
                },
                checkpoint,
            )
    finish(model, pictures[-512:])


@torch.no_grad()
def finish(model: Autoencoder, pictures: np.ndarray) -> None:
    """Measures the latents' statistics and writes the weights in float16."""
    x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    latent = model.encoder(x)
    model.latent_mean.copy_(latent.mean((0, 2, 3)))
    model.latent_std.copy_(latent.std((0, 2, 3)))
    y = model.decode(model.encode(x))
    print(f"whole pictures: psnr {-10 * np.log10(F.mse_loss(y, x).item() / 4):.2f}")
    TRAINED.mkdir(exist_ok=True)
    save_file(
        {name: value.half().contiguous() for name, value in model.state_dict().items()},
        TRAINED / "autoencoder.safetensors",
    )


if __name__ == "__main__":
    main()
