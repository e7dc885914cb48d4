"""The world of things and pets: what draws, guides and judges, and the questions that are asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from world import Drawing

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator

from .pictures import EVALUATION, TUNING
from .recognisers import SIDE, Judge
from .render import KINDS, Place, Subject, draw, draw_together, named_of, write_pair_prompt, write_prompt
from .traits import agreement, read_places, read_traits

SEEDS = {"evaluation": EVALUATION, "tuning": TUNING}


class Embedding(nn.Module):
    """The first of what the judge says."""

    def __init__(self, judge: Judge):
        super().__init__()
        self.judge = judge

    def forward(self, pixels: Tensor) -> Tensor:
        return self.judge(pixels)[0]


class SubjectWorld(Drawing):
    """The flow; ``guide``, the pack's subject discriminator with its detector, from folders; and ``judge``, which looks
    at all of a square picture."""

    def __init__(self, weights: Path):
        super().__init__(weights)
        self.guide = load_subject_discriminator(weights / "dino", weights / "owl")
        judge = Judge().eval().requires_grad_(False)
        judge.load_state_dict(load_file(weights / "judge.safetensors"))
        self.judge = EmbeddingDiscriminator(Embedding(judge), name="judge", digest="", input_size=SIDE)

    @torch.no_grad()
    def read(self, panels: Tensor) -> list[dict]:
        """What the judge sees in each of (B, 3, 128, 128): traits, and what a prompt can name."""
        _, traits, places = self.judge.network.judge(nn.functional.avg_pool2d(panels * 2 - 1, panels.shape[-1] // SIDE))
        return [{**one, **other} for one, other in zip(read_traits(traits), read_places(places), strict=True)]


@dataclass
class Questions:
    """n questions about k subjects each: a reference picture of each, a prompt for a picture of all in another place, a
    noise; and such a picture, drawn, as the yardstick."""

    subjects: list[tuple[Subject, ...]]
    references: Tensor  # (k, n, 3, 128, 128)
    others: Tensor  # (n, 3, 128, 128 k), the first subject on the left
    prompts: list[str]
    named: list[tuple[dict, ...]]  # of each subject
    noise: Tensor

    @classmethod
    def draw(cls, n: int, seeds: str, k: int = 1, kinds: Sequence[str] = KINDS) -> Questions:
        subjects, references, others, prompts, named, noise = [], [], [], [], [], []
        for seed in range(SEEDS[seeds], SEEDS[seeds] + n):
            rng = np.random.default_rng([seed, k])
            some = tuple(Subject.sample(rng, kinds) for _ in range(k))
            first = Place.sample(rng)
            places = [first, *(first.beside(rng) for _ in some[1:])]
            both = list(zip(some, places, strict=True))
            subjects.append(some)
            references.append([np.asarray(draw(subject, Place.sample(rng))) for subject in some])
            others.append(np.asarray(draw_together(both)[0]))
            named.append(tuple(named_of(*each) for each in both))
            prompts.append(write_prompt(*named[-1]) if k == 1 else write_pair_prompt(*named[-1]))
            noise.append(torch.randn(16, 16, 16 * k, generator=torch.Generator().manual_seed(seed)))
        pictures = torch.from_numpy(np.stack(references)).permute(1, 0, 4, 2, 3).float() / 255
        drawn = torch.from_numpy(np.stack(others)).permute(0, 3, 1, 2).float() / 255
        return cls(subjects, pictures, drawn, prompts, named, torch.stack(noise))

    def part(self, rows: slice) -> Questions:
        picked = (each[rows] for each in (self.others, self.prompts, self.named, self.noise))
        return Questions(self.subjects[rows], self.references[:, rows], *picked)

    def __len__(self) -> int:
        return len(self.prompts)


def panels(images: Tensor) -> Tensor:
    """(B, 3, H, k H) -> (B, k, 3, H, H)."""
    side = images.shape[-2]
    return torch.stack(images.split(side, dim=-1), dim=1)


@torch.no_grad()
def alike(world: SubjectWorld, images: Tensor, references: Tensor) -> Tensor:
    """The judge's cosine of each reference and each panel, (B, k references, k panels)."""

    def embed(pictures: Tensor) -> Tensor:
        return world.judge.embed(world.judge.crop(pictures, [spot[0] for spot in world.judge.locate(pictures)]))

    seen = torch.stack([embed(part) for part in panels(images).unbind(1)], dim=1)
    return torch.stack([embed(each) for each in references], dim=1) @ seen.transpose(1, 2)


def seats(each: Tensor, placed: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Where k subjects are, one or two: of the judge's (B, k subjects, k panels), the similarity of each subject where
    it is, (B, k), the panel, (B, k), and whether the first is on the left, (B,).

    placed: they are meant to be in their order; else they are where they are more alike together.
    """
    straight = torch.arange(each.shape[1]).expand(len(each), -1)
    turned = straight.flip(1)
    own, other = (each.gather(2, way[:, :, None])[:, :, 0] for way in (straight, turned))
    in_order = own.sum(1) >= other.sum(1)
    stay = in_order[:, None] | placed
    return torch.where(stay, own, other), torch.where(stay, straight, turned), in_order


def read_scores(world: SubjectWorld, images: Tensor, questions: Questions, places: Tensor) -> dict[str, Tensor]:
    """traits: the share of each subject's traits that the judge reads where it is, in panel ``places`` (B, k); prompt:
    the share of what the prompt names there.  (B,) each."""
    read = [world.read(part) for part in panels(images).unbind(1)]
    traits, prompt = [], []
    for i, (subjects, named) in enumerate(zip(questions.subjects, questions.named, strict=True)):
        found = [read[panel][i] for panel in places[i].tolist()]
        same = [
            value for one, other in zip(found, subjects, strict=True) for value in agreement(one, vars(other)).values()
        ]
        wanted = [one[name] == value for one, names in zip(found, named, strict=True) for name, value in names.items()]
        traits.append(sum(same) / len(same))
        prompt.append(sum(wanted) / len(wanted))
    return {"traits": torch.tensor(traits), "prompt": torch.tensor(prompt)}
