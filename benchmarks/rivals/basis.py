"""What the rivals share: noise levels, training pictures of people, a caption of the reference, and how they answer."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from autoencoder import Autoencoder
from data import CACHE, FIRST_SEED, MENTIONS, training_scene
from portrait import Identity, Scene, draw, write_prompt
from text_encoder import QUERIES
from torch import Tensor, nn
from velocity import BOUNDARIES, WINDOWS
from world import WEIGHTS, PromptedFlow, Triples, World

FLOW = ("text_encoder.safetensors", "flow.safetensors", "autoencoder.safetensors")


def digest(*names: str) -> str:
    """Of files of demo/weights, in 8 letters."""
    return hashlib.sha256(b"".join((WEIGHTS / name).read_bytes() for name in names)).hexdigest()[:8]


def cache() -> Path:
    """The folder of what is learned of this flow once, for all people; it is not committed."""
    folder = CACHE / "rivals" / digest(*FLOW)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Answer:
    """Pictures to the questions, (n, 3, 128, 128) in [0, 1], the seconds of one core for a new identity and for a
    picture of it, and the peak of what that makes in memory, where it was counted."""

    images: Tensor
    seconds_identity: float
    seconds_picture: float
    memory_bytes: int = 0


class Rival(Protocol):
    """A method.  ``iterations``: its training steps for an identity, or its updates of a picture."""

    name: ClassVar[str]
    stands_for: ClassVar[tuple[str, ...]]
    sees: ClassVar[bool]  # whether it follows the guide
    iterations: int

    def learn(self, world: World) -> float:
        """What it learns once for all people, unless the cache has it: the seconds that it took, of one core."""
        ...

    def parameters(self, world: World) -> int:
        """How many numbers are trained, once or for each identity."""
        ...

    def answer(self, world: World, triples: Triples) -> Answer: ...


def levels(n: int) -> Tensor:
    """Noise levels in (0, 1], (n,): of each window the same share, half of it at the window's start, which is where a
    sampler of four steps looks."""
    window = torch.arange(n) % WINDOWS
    within = torch.rand(n) * (torch.rand(n) < 0.5)
    return BOUNDARIES[window] + within * (BOUNDARIES[window + 1] - BOUNDARIES[window])


def mix(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Clean latents with noise at those levels, and the velocity there, noise - x."""
    noise = torch.randn_like(x)
    level = sigma.view(-1, 1, 1, 1)
    return (1 - level) * x + level * noise, noise - x


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@torch.no_grad()
def encode(world: World, pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] -> the model's latents, (n, 16, 16, 16)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = [world.autoencoder.encode(part * 2 - 1).float() for part in pictures.split(64)]
    return (torch.cat(parts) - Autoencoder.HOST_SHIFT) * Autoencoder.HOST_SCALE


@torch.no_grad()
def read(world: World, prompts: list[str]) -> Tensor:
    """What the text encoder reads in prompts, (n, 9, 192): eight context vectors and the pooled one."""
    tokens = world.tokens(prompts)
    parts = [torch.cat([context, pooled[:, None]], 1) for context, pooled in map(world.model.text, tokens.split(500))]
    return torch.cat(parts)


def described(world: World, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """References as the methods learn them: their latents, and what is read in a caption of each."""
    return encode(world, pictures), read(world, captions(world, pictures))


@torch.no_grad()
def captions(world: World, pictures: Tensor) -> list[str]:
    """A prompt for each picture, by the network that reads what a prompt names, as one captions photographs for a
    training; so that what is learned of a person is not what they wear in the reference."""
    return [write_prompt(Scene(**found))[0] for found in world.attributes(pictures)]


def end(flow: PromptedFlow, z: Tensor) -> Tensor:
    """Of the flow from ``z`` on, with its gradient where autograd is on."""
    for k in range(len(flow)):
        z = flow.step(k, z)
    return z


@torch.no_grad()
def sample(flow: PromptedFlow, z: Tensor) -> Tensor:
    return end(flow, z)


class Clock:
    """Seconds of this process since it was made."""

    def __init__(self) -> None:
        self._since = time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self._since


@dataclass
class People:
    """Two pictures each of training people, in scenes of their own: latents (n, 2, 16, 16, 16), and what the text
    encoder read in a prompt of each, (n, 2, 9, 192); pictures (n, 2, 128, 128, 3), a map of a file."""

    latents: Tensor
    read: Tensor
    pictures: np.ndarray

    @classmethod
    def load(cls, world: World, people: int) -> People:
        """Of the cache, or drawn."""
        paths = [cache() / f"{name}_{people}.npy" for name in ("latents", "read", "pictures")]
        if not all(path.exists() for path in paths):
            cls._draw(world, people, paths)
        latents, words = (torch.from_numpy(np.load(path)) for path in paths[:2])
        return cls(latents.float(), words.float(), np.load(paths[2], mmap_mode="r"))

    @staticmethod
    def _draw(world: World, people: int, paths: list[Path]) -> None:
        pictures, prompts = [], []
        for seed in range(FIRST_SEED["scenes"], FIRST_SEED["scenes"] + people):
            identity = Identity.sample(np.random.default_rng(seed))
            for moment in range(2):
                rng = np.random.default_rng([seed, 30 + moment])
                scene = training_scene(rng)
                pictures.append(np.asarray(draw(identity, scene)))
                prompts.append(write_prompt(scene, rng, MENTIONS[rng.integers(len(MENTIONS))])[0])
        drawn = np.stack(pictures)
        parts = [
            torch.from_numpy(drawn[i : i + 500]).permute(0, 3, 1, 2).float() / 255 for i in range(0, len(drawn), 500)
        ]
        latents = torch.cat([encode(world, part) for part in parts]).half()
        np.save(paths[2], drawn.reshape(people, 2, *drawn.shape[1:]))
        np.save(paths[1], read(world, prompts).half().unflatten(0, (people, 2)).numpy())
        np.save(paths[0], latents.unflatten(0, (people, 2)).numpy())


def split(words: Tensor) -> tuple[Tensor, Tensor]:
    """Context (n, 8, 192) and pooled (n, 192) of what was read."""
    return words[:, :QUERIES], words[:, QUERIES]
