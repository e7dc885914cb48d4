"""The training pictures, drawn once and kept under demo/cache (not committed).

    python demo/data.py        # six minutes on two cores, 4.2 GB

`scenes`: one picture each of SCENES different people, for the autoencoder and the flow.  `couples`: COUPLES pictures,
twice as wide, of two people each, for the flow.  `guide`, `judge`: PEOPLE
people each, in MOMENTS scenes, at the recognisers' 64 pixels; the first TWINS of them also have a twin, who differs
in one trait.  No person is in two of the sets: each set draws its people from its own range of seeds, and the seeds
from `TUNING` up are never trained on.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from portrait import ATTRIBUTES, Identity, Scene, draw, draw_together, write_couple_prompt, write_prompt

CACHE = Path(__file__).parent / "cache"
SIZE, RECOGNISER_SIZE = 128, 64
SCENES, COUPLES, PEOPLE, TWINS, MOMENTS = 40_000, 16_000, 2_500, 1_000, 12
FIRST_SEED = {"scenes": 1_000_000, "couples": 1_500_000, "guide": 2_000_000, "judge": 3_000_000}
TUNING, EVALUATION = 4_000_000, 5_000_000
CHUNK = 1_000
MENTIONS = (1.0, 0.8, 0.6, 0.3)  # how much of a scene each of its four prompts names


def _draw_scenes(start: int):
    pictures, prompts, labels = [], [], []
    for seed in range(FIRST_SEED["scenes"] + start, FIRST_SEED["scenes"] + start + CHUNK):
        rng = np.random.default_rng(seed)
        identity, scene = Identity.sample(rng), Scene.sample(rng)
        pictures.append(np.asarray(draw(identity, scene, SIZE)))
        prompts.append([write_prompt(scene, rng, mention)[0] for mention in MENTIONS])
        labels.append([choices.index(getattr(scene, name)) for name, choices in ATTRIBUTES.items()])
    return np.stack(pictures), prompts, labels


def draw_couple(seed: int, size: int = SIZE):
    """Two people side by side, drawn from ``seed``: the picture, who they are, and their scenes."""
    rng = np.random.default_rng(seed)
    people = Identity.sample(rng), Identity.sample(rng)
    left = replace(Scene.sample(rng), position="center")
    scenes = left, left.beside(rng)
    return draw_together(list(zip(people, scenes, strict=True)), size), people, scenes


def _draw_couples(start: int):
    pictures, prompts = [], []
    for seed in range(FIRST_SEED["couples"] + start, FIRST_SEED["couples"] + start + CHUNK):
        picture, _, scenes = draw_couple(seed)
        rng = np.random.default_rng([seed, 1])
        pictures.append(np.asarray(picture))
        prompts.append([write_couple_prompt(*scenes, rng, mention)[0] for mention in MENTIONS])
    return np.stack(pictures), prompts


def _draw_people(job: tuple[str, int, bool]) -> np.ndarray:
    name, start, twins = job
    pictures = []
    for seed in range(FIRST_SEED[name] + start, FIRST_SEED[name] + start + CHUNK // 10):
        identity, rng = Identity.sample(np.random.default_rng(seed)), np.random.default_rng([seed, 1])
        if twins:
            identity, rng = identity.twin(np.random.default_rng([seed, 4])), np.random.default_rng([seed, 5])
        moments = [draw(identity, Scene.sample(rng), SIZE).reduce(SIZE // RECOGNISER_SIZE) for _ in range(MOMENTS)]
        pictures.append(np.stack([np.asarray(moment) for moment in moments]))
    return np.stack(pictures)


def build() -> None:
    CACHE.mkdir(exist_ok=True)
    with ProcessPoolExecutor() as pool:
        if not (CACHE / "scenes.npy").exists():
            parts = list(pool.map(_draw_scenes, range(0, SCENES, CHUNK)))
            (CACHE / "scenes.json").write_text(json.dumps([prompt for part in parts for prompt in part[1]]))
            np.save(CACHE / "labels.npy", np.concatenate([part[2] for part in parts]))
            np.save(CACHE / "scenes.npy", np.concatenate([part[0] for part in parts]))
        if not (CACHE / "couples.npy").exists():
            parts = list(pool.map(_draw_couples, range(0, COUPLES, CHUNK)))
            (CACHE / "couples.json").write_text(json.dumps([prompt for part in parts for prompt in part[1]]))
            np.save(CACHE / "couples.npy", np.concatenate([part[0] for part in parts]))
        for name in ("guide", "judge"):
            for twins, file in ((False, CACHE / f"{name}.npy"), (True, CACHE / f"{name}_twins.npy")):
                if not file.exists():
                    jobs = [(name, start, twins) for start in range(0, TWINS if twins else PEOPLE, CHUNK // 10)]
                    np.save(file, np.concatenate(list(pool.map(_draw_people, jobs))))


if __name__ == "__main__":
    build()
