"""The embedded world without a server: the flow, the decoder, the recognisers, and the questions that a benchmark
asks of them.

Needs COMFYUI_PATH (the flow is the host's own MMDiT) and demo/weights.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]

from autoencoder import Autoencoder  # noqa: E402
from data import EVALUATION, TUNING, draw_couple  # noqa: E402
from portrait import ATTRIBUTES, Identity, Scene, draw, write_couple_prompt, write_prompt  # noqa: E402
from text_encoder import TextEncoder  # noqa: E402
from train_recognisers import by_attribute  # noqa: E402
from train_text import Tokens  # noqa: E402
from velocity import WINDOWS, Velocity, shift  # noqa: E402

from rectifid_core.discriminators.base import Discriminator  # noqa: E402
from rectifid_core.discriminators.panels import PanelDiscriminator  # noqa: E402
from rectifid_core.guidance.identity import IdentityGuidance  # noqa: E402
from rectifid_core.identity.encoding import encode_identity  # noqa: E402
from rectifid_core.images.regions import whole  # noqa: E402
from rectifid_core.networks.onnx import input_size, load_onnx  # noqa: E402

WEIGHTS = ROOT / "demo" / "weights"
SEEDS = {"evaluation": EVALUATION, "tuning": TUNING}


class Drawing:
    """The flow of given prompts, and the decoder of its latents: of the weights in a folder."""

    def __init__(self, weights: Path):
        text = TextEncoder.from_state_dict(load_file(weights / "text_encoder.safetensors"))
        self.model = Velocity(text, autocast=False)
        self.model.flow.load_state_dict(load_file(weights / "flow.safetensors"))
        self.model.eval().requires_grad_(False)
        self.autoencoder = Autoencoder()
        self.autoencoder.load_state_dict(load_file(weights / "autoencoder.safetensors"))
        self.autoencoder.eval().requires_grad_(False)
        self.tokenize = Tokens()

    def decode(self, z: Tensor) -> Tensor:
        """Model latents -> pictures in [0, 1]; the clamp keeps its gradient."""
        x = self.autoencoder.decode(z / Autoencoder.HOST_SCALE + Autoencoder.HOST_SHIFT) / 2 + 0.5
        return x + (x.clamp(0, 1) - x).detach()

    def flow(self, prompts: list[str], windows: int = WINDOWS) -> PromptedFlow:
        return PromptedFlow(self, self.tokens(prompts), windows)

    def tokens(self, prompts: list[str]) -> Tensor:
        return torch.tensor([self.tokenize(prompt) for prompt in prompts])


class World(Drawing):
    """The portraits' flow, and the three networks that look at pictures."""

    def __init__(self):
        super().__init__(WEIGHTS)
        self.guide, self.judge = (self.recogniser(name) for name in ("guide", "judge"))
        self.reader = load_onnx(WEIGHTS / "attributes.onnx")

    @staticmethod
    def recogniser(name: str) -> PanelDiscriminator:
        file = WEIGHTS / f"recogniser_{name}.onnx"
        return PanelDiscriminator(load_onnx(file), name=name, digest="", input_size=input_size(file))

    @torch.no_grad()
    def prompt_accuracy(self, images: Tensor, scenes: list[Scene], named: list[dict[str, str]]) -> Tensor:
        """Share of each image's named attributes that the reader finds, (B,)."""
        pairs = zip(named, self.attributes(images), strict=True)
        return torch.tensor([sum(found[name] == value for name, value in n.items()) / len(n) for n, found in pairs])

    @torch.no_grad()
    def attributes(self, images: Tensor) -> list[dict[str, str]]:
        """What the reader finds in each image (B, 3, H, W) of all that a prompt can name."""
        crops = torch.nn.functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
        groups = by_attribute(self.reader(crops * 2 - 1))
        choices = zip(*(group.argmax(1).tolist() for group in groups.values()), strict=True)
        return [{name: ATTRIBUTES[name][i] for name, i in zip(groups, each, strict=True)} for each in choices]


def guidance_by(recogniser: Discriminator, picture: Tensor, **options) -> IdentityGuidance:
    """Guidance by the identity that a picture, ``(3, H, W)``, shows to the recogniser."""
    return IdentityGuidance(encode_identity(recogniser, [picture]), recogniser, **options)


class PromptedFlow:
    """The embedded flow, one prompt per sample; it was made for four windows."""

    def __init__(self, world: Drawing, tokens: Tensor, windows: int = WINDOWS):
        self.flow, self.tokens = world.model.flow, tokens
        self.sigmas = shift(torch.linspace(1, 0, windows + 1))
        with torch.no_grad():
            self.context, self.pooled = world.model.text(tokens)

    def __len__(self) -> int:
        return len(self.sigmas) - 1

    def velocity(self, z: Tensor, sigma: Tensor) -> Tensor:
        return self.flow(z, 1000 * sigma.expand(len(z)), y=self.pooled, context=self.context)

    def step(self, k: int, z: Tensor) -> Tensor:
        return z + (self.sigmas[k + 1] - self.sigmas[k]) * self.velocity(z, self.sigmas[k])

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        velocity = self.velocity(z, self.sigmas[k])
        return tuple(z + (end - self.sigmas[k]) * velocity for end in (self.sigmas[k + 1], self.sigmas[-1]))

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        return (self.sigmas[k + 1] - self.sigmas[k]) * self.velocity(z, self.sigmas[k + 1])

    def weight(self, k: int) -> float:
        return 1.0


@dataclass
class Triples:
    """n questions: a new identity's reference picture, a prompt for another scene, a noise; and the answer's
    yardstick."""

    references: Tensor
    others: Tensor  # another scene of the same identity, drawn: the best that a guided picture can be expected to score
    prompts: list[str]
    scenes: list[Scene]
    named: list[dict[str, str]]
    noise: Tensor

    @classmethod
    def draw(cls, n: int, people: str) -> Triples:
        references, others, prompts, scenes, named, noise = [], [], [], [], [], []
        for seed in range(SEEDS[people] + 10_000, SEEDS[people] + 10_000 + n):
            identity, rng = Identity.sample(np.random.default_rng(seed)), np.random.default_rng([seed, 3])
            references.append(np.asarray(draw(identity, Scene.sample(rng))))
            scene = Scene.sample(rng)
            others.append(np.asarray(draw(identity, scene)))
            prompt, mentioned = write_prompt(scene)
            prompts.append(prompt)
            scenes.append(scene)
            named.append(mentioned)
            noise.append(torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(seed)))
        pictures = (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2).float() / 255 for x in (references, others))
        return cls(*pictures, prompts, scenes, named, torch.stack(noise))

    def part(self, rows: slice) -> Triples:
        return Triples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass
class Couples:
    """n questions about two people: a reference picture of each new identity, a prompt for a picture of both, a noise;
    and drawn pictures of both, as the yardstick."""

    references: Tensor  # (2, n, 3, 128, 128)
    others: Tensor  # (n, 3, 128, 256), the first of the two on the left
    prompts: list[str]
    named: list[tuple[dict[str, str], ...]]  # of each of the two
    noise: Tensor

    @classmethod
    def draw(cls, n: int, people: str) -> Couples:
        references, others, prompts, named, noise = [], [], [], [], []
        for seed in range(SEEDS[people] + 20_000, SEEDS[people] + 20_000 + n):
            picture, identities, scenes = draw_couple(seed)
            rng = np.random.default_rng([seed, 3])
            references.append([np.asarray(draw(identity, Scene.sample(rng))) for identity in identities])
            others.append(np.asarray(picture))
            prompt, mentioned = write_couple_prompt(*scenes)
            prompts.append(prompt)
            named.append(mentioned)
            noise.append(torch.randn(16, 16, 32, generator=torch.Generator().manual_seed(seed)))
        first, second, others = (
            torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2).float() / 255
            for x in (*zip(*references, strict=True), others)
        )
        return cls(torch.stack([first, second]), others, prompts, named, torch.stack(noise))

    def part(self, rows: slice) -> Couples:
        picked = (each[rows] for each in (self.others, self.prompts, self.named, self.noise))
        return Couples(self.references[:, rows], *picked)

    def __len__(self) -> int:
        return len(self.prompts)


@torch.no_grad()
def similarity(discriminator, images: Tensor, references: Tensor) -> Tensor:
    """Cosine of each image to its own reference, (B,)."""
    embed = [discriminator.embed(discriminator.crop(x, [whole(x)] * len(x))) for x in (images, references)]
    return (embed[0] * embed[1]).sum(1)


@torch.no_grad()
def panel_similarity(discriminator: PanelDiscriminator, images: Tensor, references: Tensor) -> Tensor:
    """Cosine of each panel of (B, 3, H, 2 H) to each of two references, (2, B, 3, H, H): (B, 2 people, 2 panels)."""
    people = torch.stack([discriminator.embed(discriminator.crop(x, [whole(x)] * len(x))) for x in references], dim=1)
    panels = [
        discriminator.embed(discriminator.crop(images, list(place)))
        for place in zip(*discriminator.locate(images), strict=True)
    ]
    return people @ torch.stack(panels, dim=2)


def machine() -> str:
    """What this was measured on, in words."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, torch {torch.__version__}"
