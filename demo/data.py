"""The training pictures, drawn once and kept in a cache that is not committed: RECTIFID_DEMO_CACHE, or demo/cache.

    python demo/data.py        # twenty minutes on one core, 8 GB

`scenes`: one picture each of SCENES different people, for the autoencoder and the flow.  `couples`: COUPLES pictures,
twice as wide, of two people each, for the flow.  `twins`: TWO_TWINS people and somebody who differs from them in
exactly one trait, in the same scene, for the autoencoder.  `guide`, `judge`: FAMILIES people each with TWINS such
twins, all of a family in the same MOMENTS scenes, at the recognisers' 64 pixels.  No person is in two of the sets: each
set draws its people from its own range of seeds, and the seeds from `TUNING` up are never trained on.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from portrait import ATTRIBUTES, Identity, Scene, draw, draw_together, write_couple_prompt, write_prompt

WEIGHTS = Path(__file__).parent / "weights"
CACHE = Path(os.environ.get("RECTIFID_DEMO_CACHE", Path(__file__).parent / "cache"))
TRAINED = CACHE / "weights"  # what the stages write and read of each other, until all of it goes to WEIGHTS
SIZE, RECOGNISER_SIZE = 128, 64
SCENES, COUPLES = 64_000, 24_000
TWO_TWINS, FAMILIES, TWINS, MOMENTS = 10_000, 4_000, 3, 6
FIRST_SEED = {
    "scenes": 1_000_000,
    "couples": 1_500_000,
    "twins": 1_800_000,
    "guide": 2_000_000,
    "judge": 3_000_000,
}
TUNING, EVALUATION = 4_000_000, 5_000_000
CHUNK = 1_000
MENTIONS = (1.0, 0.8, 0.6, 0.3)  # how much of a scene each of its four prompts names
HATS_KEPT = 0.4  # of the hats that a scene would have by itself: a hat hides the hair
TRAITS = tuple(field.name for field in fields(Identity))


def training_scene(rng: np.random.Generator, scene: Scene | None = None) -> Scene:
    """A random scene, or the given one, with a hat in one of five."""
    scene = scene or Scene.sample(rng)
    return scene if rng.random() < HATS_KEPT else replace(scene, hat="none")


def twin(identity: Identity, trait: str, rng: np.random.Generator) -> Identity:
    """Somebody who differs in that trait alone, visibly: a continuous one by 0.3 to 0.7, around the ends."""
    mine = getattr(identity, trait)
    if isinstance(mine, bool):
        return replace(identity, **{trait: not mine})
    if isinstance(mine, float):
        return replace(identity, **{trait: (mine + rng.uniform(0.3, 0.7)) % 1})
    while (other := getattr(Identity.sample(rng), trait)) == mine:
        pass
    return replace(identity, **{trait: other})


def family(name: str, number: int) -> tuple[list[Identity], list[str]]:
    """A person of the set and their twins, and the trait in which each twin differs."""
    rng = np.random.default_rng([FIRST_SEED[name] + number, 4])
    person = Identity.sample(np.random.default_rng(FIRST_SEED[name] + number))
    traits = [TRAITS[i] for i in rng.permutation(len(TRAITS))[:TWINS]]
    return [person, *(twin(person, trait, rng) for trait in traits)], traits


def _draw_scenes(start: int):
    pictures, prompts, labels = [], [], []
    for seed in range(FIRST_SEED["scenes"] + start, FIRST_SEED["scenes"] + start + CHUNK):
        rng = np.random.default_rng(seed)
        identity, scene = Identity.sample(rng), training_scene(rng)
        pictures.append(np.asarray(draw(identity, scene, SIZE)))
        prompts.append([write_prompt(scene, rng, mention)[0] for mention in MENTIONS])
        labels.append([choices.index(getattr(scene, name)) for name, choices in ATTRIBUTES.items()])
    return np.stack(pictures), prompts, labels


def draw_couple(seed: int, size: int = SIZE):
    """Two people side by side, drawn from ``seed``: the picture, who they are, and their scenes."""
    people, scenes = _couple(np.random.default_rng(seed))
    return draw_together(list(zip(people, scenes, strict=True)), size), people, scenes


def _couple(rng: np.random.Generator) -> tuple[tuple[Identity, Identity], tuple[Scene, Scene]]:
    people = Identity.sample(rng), Identity.sample(rng)
    left = replace(Scene.sample(rng), position="center")
    return people, (left, left.beside(rng))


def _draw_couples(start: int):
    pictures, prompts = [], []
    for seed in range(FIRST_SEED["couples"] + start, FIRST_SEED["couples"] + start + CHUNK):
        people, scenes = _couple(np.random.default_rng(seed))
        rng = np.random.default_rng([seed, 1])
        scenes = [training_scene(rng, scene) for scene in scenes]
        pictures.append(np.asarray(draw_together(list(zip(people, scenes, strict=True)), SIZE)))
        prompts.append([write_couple_prompt(*scenes, rng, mention)[0] for mention in MENTIONS])
    return np.stack(pictures), prompts


def _draw_twins(start: int) -> tuple[np.ndarray]:
    pictures = []
    for number in range(start, start + CHUNK):
        scene = training_scene(np.random.default_rng([FIRST_SEED["twins"] + number, 1]))
        pictures.append([np.asarray(draw(person, scene, SIZE)) for person in family("twins", number)[0][:2]])
    return (np.array(pictures),)


def _draw_families(job: tuple[str, int]) -> np.ndarray:
    name, start = job
    pictures = []
    for number in range(start, start + CHUNK // 10):
        rng = np.random.default_rng([FIRST_SEED[name] + number, 1])
        scenes = [training_scene(rng) for _ in range(MOMENTS)]
        pictures.append(
            [
                [np.asarray(draw(person, scene, SIZE).reduce(SIZE // RECOGNISER_SIZE)) for scene in scenes]
                for person in family(name, number)[0]
            ]
        )
    return np.array(pictures)


def build() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        kinds = {
            "scenes": (_draw_scenes, SCENES),
            "couples": (_draw_couples, COUPLES),
            "twins": (_draw_twins, TWO_TWINS),
        }
        for kind, (draw_kind, count) in kinds.items():
            if not (CACHE / f"{kind}.npy").exists():
                pictures, *prompts = zip(*pool.map(draw_kind, range(0, count, CHUNK)), strict=True)
                if prompts:
                    (CACHE / f"{kind}.json").write_text(json.dumps([four for part in prompts[0] for four in part]))
                if kind == "scenes":
                    np.save(CACHE / "labels.npy", np.concatenate(prompts[1]))
                np.save(CACHE / f"{kind}.npy", np.concatenate(pictures))
        for name in ("guide", "judge"):
            if not (CACHE / f"{name}.npy").exists():
                jobs = [(name, start) for start in range(0, FAMILIES, CHUNK // 10)]
                np.save(CACHE / f"{name}.npy", np.concatenate(list(pool.map(_draw_families, jobs))))


if __name__ == "__main__":
    build()
