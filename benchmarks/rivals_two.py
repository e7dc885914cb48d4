"""Two people in one picture: our guidance beside the methods that train, on the questions of two_people.py.

    COMFYUI_PATH=... python benchmarks/rivals_two.py            # resumes method by method
    COMFYUI_PATH=... python benchmarks/rivals_two.py --quick    # to output/benchmarks

The first person of each question goes to the left, the second to the right, in all methods: by masks of attention, of
words, and of our guidance.  judge: of both people, each in their own half; places: the share of halves that the judge
finds more like the person who was wanted there than like the other.  Seconds of a new identity are those of both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from measure import QUICK, RESULTS, save
from rivals.basis import Answer, Clock, sample
from rivals.cones2 import Cones2
from rivals.fastcomposer import FastComposer
from rivals.guided import Guided
from rivals.rectifid import guide
from rivals.scores import Scores, sem
from rivals.table import answered, row_of, shortened
from sheet import sheet
from torch import Tensor
from two_people import guidance
from world import Couples, World, machine, panel_similarity

SHOWN = 6


class Ours(Guided):
    """A fresh node's settings under masks."""

    name = "ours"

    def answer(self, world: World, couples: Couples) -> Answer:
        prepared, drawn, images = 0.0, 0.0, []
        for i in range(len(couples)):
            clock, one = Clock(), couples.part(slice(i, i + 1))
            both, flow = guidance(world, one.references[:, 0], "placed"), world.flow(one.prompts)
            prepared, clock = prepared + clock.seconds, Clock()
            images.append(guide(world, flow, both, one.noise, self.iterations))
            drawn += clock.seconds
        return Answer(torch.cat(images), prepared / len(couples), drawn / len(couples))


def panels(images: Tensor) -> Tensor:
    """Pictures of two (n, 3, H, 2 H) -> the halves, the left ones first, (2 n, 3, H, H)."""
    return torch.cat(images.chunk(2, dim=3))


@torch.no_grad()
def scored(scores: Scores, images: Tensor, couples: Couples) -> dict:
    judge = panel_similarity(scores.world.judge, images, couples.references)  # (n, 2 people, 2 panels)
    own = judge.diagonal(dim1=1, dim2=2)
    halves = panels(images)
    named = [each[person] for person in range(2) for each in couples.named]
    prompt = scores.world.prompt_accuracy(halves, [], named)
    return {
        "judge": own.mean().item(),
        "judge_sem": sem(own.mean(1)),
        "judge_each": own.mean(0).tolist(),
        "places": (own > judge.flip(1).diagonal(dim1=1, dim2=2)).float().mean().item(),
        "prompt": prompt.mean().item(),
        "prompt_sem": sem(prompt),
        "quality": scores.quality(halves),
        **scores.traits(halves, couples.references.flatten(0, 1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    world, folder = World(), QUICK if arguments.quick else RESULTS
    couples = Couples.draw(4 if arguments.quick else arguments.n, "evaluation")
    scores = Scores(world)
    images = {"unguided": world.decode(sample(world.flow(couples.prompts), couples.noise))}
    rows: list[dict] = []
    results = {"machine": machine(), "n": len(couples), "rows": rows}
    results |= {
        name: scored(scores, x, couples) for name, x in (("unguided", images["unguided"]), ("drawn", couples.others))
    }
    for kind in (FastComposer, Cones2, Ours):
        rival = shortened(kind()) if arguments.quick else kind()
        rival.learn(world)
        answer = answered(world, rival, couples, "two")
        images[rival.name] = answer.images
        rows.append(row_of(world, rival, answer, scored(scores, answer.images, couples)))
        print({key: value for key, value in rows[-1].items() if key not in ("each_trait", "settings")}, flush=True)
    save(results, folder / "rivals_two.json")
    grid(couples, images, folder / "rivals_two.png")


def grid(couples: Couples, images: dict[str, Tensor], path: Path) -> None:
    """A row for each of the first questions: the two references, and a picture of each method."""
    columns = {"first": couples.references[0], "second": couples.references[1], **images}
    sheet(columns, couples.prompts, 112, min(SHOWN, len(couples))).save(path)


if __name__ == "__main__":
    main()
