"""Trains the autoencoder on crops: absolute error of pixels and of their differences, and squared error.

Half of the crops are of twins, where they differ: in what distinguishes a person from somebody with one other trait,
the error counts in parts of that difference, or else freckles, brows and lips are too small to be worth a channel.

    python demo/train_autoencoder.py --minutes 40      # goes on from the cache's autoencoder.pt, or from the weights

Two more things make its latents easier for a flow to learn.  Noise of a random level lies on the latent, so that
neighbouring latents are neighbouring pictures and small errors of the flow do not show.  And in every third step the
latent is averaged to half its size and has to decode to the picture at half its size (Kouzelis et al. 2025), which
keeps the latent as smooth as the picture.  Minutes are those of one processor.
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch
from autoencoder import Autoencoder
from data import CACHE, TRAINED, WEIGHTS
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

LATENT_NOISE = 0.3  # at most, in units of the latent's deviation, which the penalty keeps near 1
SQUARED, TWINS = 2.0, 0.3  # weights of the squared error, and of the twins' difference
FAINT = 2.0  # of a difference of two crops, summed over pixels in [-1, 1]
KEPT = 0.2  # weight of the squared distance to the latents of the weights that it goes on from
SIDE, RATE = 64, 2e-4  # of a crop; of learning


def crops(pictures: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    at = rng.integers(0, pictures.shape[0], batch)
    corners = rng.integers(0, (pictures.shape[1] - SIDE) // 8 + 1, (batch, 2)) * 8
    return np.stack([pictures[i, y : y + SIDE, x : x + SIDE] for i, (y, x) in zip(at, corners, strict=True)])


def twin_crops(twins: np.ndarray, rng: np.random.Generator, pairs: int) -> np.ndarray:
    """Crops of both of a pair around a pixel in which they differ, first all ones and then all others."""
    cut, last = [], (twins.shape[2] - SIDE) // 8
    while len(cut) < pairs:
        pair = twins[rng.integers(len(twins))]
        where = np.flatnonzero((pair[0] != pair[1]).any(-1))
        if len(where):  # a hat may hide the difference
            pixel = np.array(divmod(rng.choice(where), pair.shape[2]))
            y, x = np.clip((pixel - rng.integers(8, SIDE - 8, 2)) // 8, 0, last) * 8
            cut.append(pair[:, y : y + SIDE, x : x + SIDE])
    return np.stack(cut, 1).reshape(-1, SIDE, SIDE, 3)


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    error = (y - x).abs().mean() + sum((a - b).abs().mean() for a, b in zip(edges(y), edges(x), strict=True))
    return error + SQUARED * F.mse_loss(y, x)


def lost_difference(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Of two halves of a batch: how much of what distinguishes each two is wrong, in parts of it (squared); differences
    that are hardly there count less."""
    (y1, y2), (x1, x2) = y.chunk(2), x.chunk(2)
    wrong, whole = (each.square().sum((1, 2, 3)) for each in (y1 - y2 - (x1 - x2), x1 - x2))
    return (wrong / (whole + FAINT)).mean()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    pictures, twins = (np.load(CACHE / f"{kind}.npy", mmap_mode="r") for kind in ("scenes", "twins"))
    half = arguments.batch // 2
    model = Autoencoder()
    step, spent, checkpoint, earlier = 0, 0.0, CACHE / "autoencoder.pt", None
    if (WEIGHTS / "autoencoder.safetensors").exists():
        model.load_state_dict(load_file(WEIGHTS / "autoencoder.safetensors"))
        earlier = copy.deepcopy(model.encoder).requires_grad_(False).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    model = model.to(memory_format=torch.channels_last)
    rng, start = np.random.default_rng(step), time.process_time() - spent
    while (share := (time.process_time() - start) / (60 * arguments.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 200) * max(0.02, 1 - share)
        x = np.concatenate([twin_crops(twins, rng, half // 2), crops(pictures, rng, half)])
        x = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            latent = model.encoder(x).float()
            moved = 0.0 if earlier is None else (latent - earlier(x)).square().mean()
            halved = step % 3 == 2
            shown, target = (F.avg_pool2d(latent, 2), F.avg_pool2d(x, 2)) if halved else (latent, x)
            noise = LATENT_NOISE * torch.rand(len(x), 1, 1, 1) * torch.randn_like(shown)
            noise[half // 2 : half] = noise[: half // 2]  # the same for both of a pair
            y = model.decoder(shown + noise).float()
        lost = lost_difference(y[:half], target[:half])
        small = (latent.square().mean() - 1).clamp(min=0)
        loss = reconstruction(y, target) + TWINS * lost + KEPT * moved + 2e-3 * small
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 200 == 1:
            psnr = -10 * np.log10(F.mse_loss(y, target).item() / 4)
            print(
                f"{step} {share:.0%} loss {loss.item():.4f} lost {lost.item():.3f} psnr with noise {psnr:.2f}",
                flush=True,
            )
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
