"""What the eye checks: who the pictures of `identity.py` show, trait by trait, as a third network reads them that is
never differentiated; and the gain by the color of the skin."""

from __future__ import annotations

import torch
import world as world  # it says where the modules of demo/ are found
from tables import cells
from torch import Tensor
from traits import AMOUNTS, CHOICES, agree, read_traits
from world import WEIGHTS, Triples, World, similarity

from rectifid_core.networks.onnx import load_onnx

GUIDED = (20, 100)  # iterations
TRAITS = (*AMOUNTS, *CHOICES)
SKINS = {"light": lambda skin: skin < 0.5, "dark": lambda skin: skin >= 0.5}


@torch.no_grad()
def report(world: World, triples: Triples, images: dict[int, Tensor]) -> dict:
    """``images``: pictures, (N, 3, 128, 128) in [0, 1], by iteration, 0 for the unguided ones.

    traits: for each trait, the share of pictures in which the reader reads the same as in the reference.
    unguided_prompt: the share of the named attributes that the unguided pictures have.
    gain_by_skin: the judge's gain for each color of the reference's skin and of the unguided picture's, as read.
    """
    reader = load_onnx(WEIGHTS / "reader.onnx")

    def read(pictures: Tensor) -> list[dict]:
        return read_traits(torch.cat([reader(part * 2 - 1) for part in pictures.split(64)]))

    references, unguided = read(triples.references), read(images[0])
    compared = {"unguided": unguided, **{f"guided_{i}": read(images[i]) for i in GUIDED if i in images}}
    compared["drawn"] = read(triples.others)
    by_name = {name: agreement(people, references) for name, people in compared.items()}
    traits = {trait: {name: shares[trait] for name, shares in by_name.items()} for trait in TRAITS}
    prompt = world.prompt_accuracy(images[0], triples.scenes, triples.named).mean().item()
    return {
        "traits": traits,
        "unguided_prompt": prompt,
        "gain_by_skin": gain_by_skin(world, triples, images, references, unguided),
    }


def agreement(people: list[dict], references: list[dict]) -> dict[str, float]:
    """For each trait, the share of pictures in which the same is read as in the reference."""
    pairs = list(zip(people, references, strict=True))
    return {trait: sum(agree(trait, one[trait], other[trait]) for one, other in pairs) / len(pairs) for trait in TRAITS}


def gain_by_skin(
    world: World, triples: Triples, images: dict[int, Tensor], references: list[dict], unguided: list[dict]
) -> list[dict]:
    """A row for each color of the reference's skin and of the unguided picture's: how many they are, and their gains
    after the iterations of `GUIDED`, of the judge's mean similarities."""
    similar = {i: similarity(world.judge, images[i], triples.references) for i in (0, *GUIDED) if i in images}
    drawn = similarity(world.judge, triples.others, triples.references)
    rows = []
    for reference, of_reference in SKINS.items():
        for before, of_unguided in SKINS.items():
            among = torch.tensor(
                [
                    of_reference(one["skin"]) and of_unguided(other["skin"])
                    for one, other in zip(references, unguided, strict=True)
                ]
            )
            row = {"reference": reference, "unguided": before, "n": int(among.sum())}
            if row["n"]:
                mean = {i: values[among].mean().item() for i, values in similar.items()}
                ceiling = drawn[among].mean().item()
                row |= {f"gain_at_{i}": cells.gain(mean[i], mean[0], ceiling) for i in mean if i}
            rows.append(row)
    return rows
