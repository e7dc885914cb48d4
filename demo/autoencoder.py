"""The embedded model's autoencoder: a picture to a latent of an eighth of its size with 16 channels, and back.

Convolutions run at a quarter and an eighth of the picture's size only (space-to-depth does the rest), so that a
decode and its gradient cost little.  It is trained with noise on the latent, which keeps neighbouring latents
neighbouring pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LATENT_CHANNELS = 16


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Autoencoder(nn.Module):
    """``encode``: (B, 3, H, W) in [-1, 1] -> (B, 16, H/8, W/8) with the mean and deviation in ``latent_mean`` and
    ``latent_std`` taken out, so that the host's SD3 latent format (scale 1.5305, shift 0.0609) turns it into zero
    mean and unit variance. ``decode`` is its inverse.  H and W are multiples of 8.
    """

    HOST_SCALE, HOST_SHIFT = 1.5305, 0.0609

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, 64, 3, padding=1),
            _Residual(64),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            _Residual(128),
            _Residual(128),
            nn.SiLU(),
            nn.Conv2d(128, LATENT_CHANNELS, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, 128, 3, padding=1),
            _Residual(128),
            _Residual(128),
            nn.Conv2d(128, 256, 3, padding=1),
            nn.PixelShuffle(2),
            _Residual(64),
            _Residual(64),
            nn.SiLU(),
            nn.Conv2d(64, 192, 3, padding=1),
            nn.PixelShuffle(4),
            nn.SiLU(),
            nn.Conv2d(12, 3, 3, padding=1),
        )
        self.register_buffer("latent_mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("latent_std", torch.ones(LATENT_CHANNELS))

    def encode(self, pixels: Tensor) -> Tensor:
        mean, std = self.latent_mean.view(-1, 1, 1), self.latent_std.view(-1, 1, 1)
        return (self.encoder(pixels) - mean) / std / self.HOST_SCALE + self.HOST_SHIFT

    def decode(self, latent: Tensor) -> Tensor:
        mean, std = self.latent_mean.view(-1, 1, 1), self.latent_std.view(-1, 1, 1)
        return self.decoder((latent - self.HOST_SHIFT) * self.HOST_SCALE * std + mean)
