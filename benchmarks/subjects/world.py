"""The world of things and pets: what draws, guides and judges, and the questions that are asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from portrait import Scene
from portrait import draw as draw_portrait
from safetensors.torch import load_file
from torch import Tensor, nn
from world import Drawing, World

from rectifid_core.discriminators.base import Discriminator, EmbeddingDiscriminator
from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator

from .pictures import EVALUATION, TUNING
from .recognisers import SIDE, Judge
from .render import (
    KINDS,
    PERSON,
    Person,
    Place,
    Subject,
    draw,
    draw_together,
    named_of,
    write_pair_prompt,
    write_prompt,
)
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
    """The flow; ``guide``, the pack's subject discriminator with its detector, from folders; ``judge``, which looks at
    all of a square picture; and the portraits' guide and judge for people."""

    def __init__(self, weights: Path):
        super().__init__(weights)
        self.guide = load_subject_discriminator(weights / "dino", weights / "owl")
        judge = Judge().eval().requires_grad_(False)
        judge.load_state_dict(load_file(weights / "judge.safetensors"))
        self.judge = EmbeddingDiscriminator(Embedding(judge), name="judge", digest="", input_size=SIDE)
        self.people = {role: World.recogniser(role) for role in ("guide", "judge")}

    def guide_of(self, subject: Subject | Person) -> Discriminator:
        return self.people["guide"] if isinstance(subject, Person) else self.guide

    def judge_of(self, subject: Subject | Person) -> Discriminator:
        return self.people["judge"] if isinstance(subject, Person) else self.judge

    @torch.no_grad()
    def read(self, panels: Tensor) -> list[dict]:
        """What the judge sees in each of (B, 3, 128, 128): traits, and what a prompt can name."""
        _, traits, places = self.judge.network.judge(nn.functional.avg_pool2d(panels * 2 - 1, panels.shape[-1] // SIDE))
        return [{**one, **other} for one, other in zip(read_traits(traits), read_places(places), strict=True)]


@dataclass
class Questions:
    """n questions about k subjects each: a reference picture of each, a prompt for a picture of all in another place, a
    noise; and such a picture, drawn, as the yardstick."""

    subjects: list[tuple[Subject | Person, ...]]
    references: Tensor  # (k, n, 3, 128, 128)
    others: Tensor  # (n, 3, 128, 128 k), the first subject on the left
    prompts: list[str]
    named: list[tuple[dict, ...]]  # of each subject
    noise: Tensor

    @classmethod
    def draw(cls, n: int, seeds: str, kinds: Sequence[Sequence[str]] = (KINDS,)) -> Questions:
        """``kinds``: what each of the k subjects may be."""
        k = len(kinds)
        subjects, references, others, prompts, named, noise = [], [], [], [], [], []
        for seed in range(SEEDS[seeds], SEEDS[seeds] + n):
            rng = np.random.default_rng([seed, k])
            some = tuple(Person.sample(rng) if one == (PERSON,) else Subject.sample(rng, one) for one in kinds)
            first = Place.sample(rng)
            places = [first, *(first.beside(rng) for _ in some[1:])]
            both = list(zip(some, places, strict=True))
            subjects.append(some)
            references.append([np.asarray(_reference(subject, rng)) for subject in some])
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


def _reference(subject: Subject | Person, rng: np.random.Generator) -> Image.Image:
    """A picture of the subject alone; of a person a portrait."""
    if isinstance(subject, Person):
        return draw_portrait(subject.identity, Scene.sample(rng))
    return draw(subject, Place.sample(rng))


def panels(images: Tensor) -> Tensor:
    """(B, 3, H, k H) -> (B, k, 3, H, H)."""
    side = images.shape[-2]
    return torch.stack(images.split(side, dim=-1), dim=1)


@torch.no_grad()
def alike(world: SubjectWorld, images: Tensor, questions: Questions) -> Tensor:
    """The cosine, by its judge, of each reference and each panel, (B, k references, k panels)."""
    judges = [world.judge_of(subject) for subject in questions.subjects[0]]
    parts = panels(images).unbind(1)
    seen = {judge: torch.stack([embed(judge, part) for part in parts], dim=1) for judge in dict.fromkeys(judges)}
    found = [
        (seen[judge] @ embed(judge, references)[:, :, None])[:, :, 0]
        for judge, references in zip(judges, questions.references, strict=True)
    ]
    return torch.stack(found, dim=1)


def embed(judge: Discriminator, pictures: Tensor) -> Tensor:
    """Unit vectors of what the judge looks at in square pictures, (B, D)."""
    return judge.embed(judge.crop(pictures, [spot[0] for spot in judge.locate(pictures)]))


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
    the share of what the prompt names there.  (B,) each.  Nothing is read of people: the judge knows none."""
    read = [world.read(part) for part in panels(images).unbind(1)]
    traits, prompt = [], []
    for i, (subjects, named) in enumerate(zip(questions.subjects, questions.named, strict=True)):
        same, wanted = [], []
        for panel, subject, names in zip(places[i].tolist(), subjects, named, strict=True):
            if isinstance(subject, Subject):
                seen = read[panel][i]
                same += agreement(seen, vars(subject)).values()
                wanted += [seen[name] == value for name, value in names.items()]
        traits.append(sum(same) / len(same))
        prompt.append(sum(wanted) / len(wanted))
    return {"traits": torch.tensor(traits), "prompt": torch.tensor(prompt)}
