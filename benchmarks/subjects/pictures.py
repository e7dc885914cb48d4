"""The training pictures of things and pets, in the form in which the stages of `demo/` read portraits.

`scenes`: families of a subject and two twins, who differ in one trait, all of a family in the same MOMENTS places; the
first half of the families are the guide's, the second the judge's, and the flow learns from all.  `couples`: two
subjects side by side, one of them a person in two pictures of five.  `twins`: pairs out of the families, for the
autoencoder.  Beside them lie the boxes, the prompts and what each prompt names.  Seeds from `TUNING` up are never
trained on.
"""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from data import MENTIONS

from .render import NAMED, Person, Place, Subject, draw_together, named_of, write_pair_prompt, write_prompt

MEMBERS, MOMENTS = 3, 4
FIRST_SEED = {"guide": 6_000_000, "judge": 7_000_000, "couples": 8_000_000}
TUNING, EVALUATION = 9_000_000, 9_500_000
SLOTS = ((0, "kind"), (0, "pose"), (1, "kind"), (1, "pose"), (0, "place"), (0, "position"))  # what a prompt can name
PEOPLE = 0.4  # of the couples: one of the two is a person
CHUNK = 50


def family(name: str, number: int) -> tuple[list[Subject], list[Place]]:
    """The subject with that number of the set and its twins, and the places in which all of them are drawn."""
    rng = np.random.default_rng(FIRST_SEED[name] + number)
    first = Subject.sample(rng)
    members = [first, *(first.twin(rng)[0] for _ in range(MEMBERS - 1))]
    return members, [Place.sample(rng) for _ in range(MOMENTS)]


def families(name: str, count: int) -> list[Subject]:
    """All members of the set's first families, in the order of their pictures."""
    return [member for number in range(count) for member in family(name, number)[0]]


def couple(seed: int) -> tuple[tuple[Subject | Person, Place], tuple[Subject | Person, Place]]:
    """Two subjects, the left one first, in one place."""
    rng = np.random.default_rng(seed)
    left = Place.sample(rng)
    both: list[Subject | Person] = [Subject.sample(rng), Subject.sample(rng)]
    if rng.random() < PEOPLE:
        both[rng.integers(2)] = Person.sample(rng)
    return (both[0], left), (both[1], left.beside(rng))


def slots(*named: dict) -> list[int]:
    """What a prompt names of one or two subjects, in the order of SLOTS: 0 for nothing, or a choice's number from 1."""
    found = []
    for which, name in SLOTS:
        value = named[which].get(name) if which < len(named) else None
        found.append(0 if value is None else 1 + NAMED[name].index(value))
    return found


def _draw_families(job: tuple[str, int, int]) -> tuple[list, ...]:
    name, start, end = job
    pictures, boxes, prompts, names = [], [], [], []
    for number in range(start, end):
        members, places = family(name, number)
        rng = np.random.default_rng([FIRST_SEED[name] + number, 1])
        for subject in members:
            for place in places:
                picture, box = draw_together([(subject, place)])
                named = [named_of(subject, place, rng, mention) for mention in MENTIONS]
                pictures.append(np.asarray(picture))
                boxes.append(box)
                prompts.append([write_prompt(each) for each in named])
                names.append([slots(each) for each in named])
    return pictures, boxes, prompts, names


def _draw_couples(job: tuple[str, int, int]) -> tuple[list, ...]:
    name, start, end = job
    pictures, boxes, prompts, names = [], [], [], []
    for seed in range(FIRST_SEED[name] + start, FIRST_SEED[name] + end):
        both = couple(seed)
        rng = np.random.default_rng([seed, 1])
        picture, box = draw_together(both)
        named = [[named_of(*each, rng, mention) for each in both] for mention in MENTIONS]
        pictures.append(np.asarray(picture))
        boxes.append(box)
        prompts.append([write_pair_prompt(*each) for each in named])
        names.append([slots(*each) for each in named])
    return pictures, boxes, prompts, names


def build(folder: Path, family_count: int = 1_000, couple_count: int = 5_000) -> None:
    """Draws what the folder lacks: ``family_count`` families for each recogniser."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        "scenes": (_draw_families, [("guide", family_count), ("judge", family_count)]),
        "couples": (_draw_couples, [("couples", couple_count)]),
    }
    with ProcessPoolExecutor() as pool:
        for kind, (paint, sets) in wanted.items():
            if (folder / f"{kind}.npy").exists():
                continue
            jobs = [(name, at, min(at + CHUNK, n)) for name, n in sets for at in range(0, n, CHUNK)]
            drawn = zip(*pool.map(paint, jobs), strict=True)
            pictures, boxes, prompts, names = (list(itertools.chain(*parts)) for parts in drawn)
            (folder / f"{kind}.json").write_text(json.dumps(prompts))
            np.save(folder / f"{kind}_boxes.npy", np.array(boxes, dtype=np.float32))
            np.save(folder / f"{kind}_named.npy", np.array(names, dtype=np.uint8))
            np.save(folder / f"{kind}.npy", np.stack(pictures))
    if not (folder / "twins.npy").exists():
        scenes = np.load(folder / "scenes.npy", mmap_mode="r")
        together = scenes.reshape(-1, MEMBERS, MOMENTS, *scenes.shape[1:])
        np.save(folder / "twins.npy", together[:, :2, 0])
