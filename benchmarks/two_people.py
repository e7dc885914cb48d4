"""Two identities in one picture: how alike each becomes, whether each keeps its place, and whether they can change it.

    COMFYUI_PATH=... python benchmarks/two_people.py             # everything

Each of n questions has two new identities with a reference picture each, a prompt for a picture of both, and a seed;
the sampler has the quickstart's settings.  In `free` the guidance decides who stands where; in `placed` a mask puts the
first on the left and the second on the right, and in `swapped` the other way round.

gain, as in identity.py, of each of the two people at the place that guided for it.  assignment: the share of questions
in which the judge, too, says that the two stand where the guidance saw them.  panels: the share of places that the
judge finds more like the person whom the guidance wanted there than like the other.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from identity import Each
from measure import RESULTS, save
from sheet import sheet
from tables import cells
from torch import Tensor
from world import Couples, World, guidance_by, machine, panel_similarity

from rectifid_core.guidance.combination import CombinedGuidance, combine
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.solver.best import Best
from rectifid_core.solver.solve import solve

AT = (0, 5, 10, 20, 40, 100)
NAMES = ("first", "second")
VIEWS = 4
ROWS = {"free": 100, "placed": 20, "swapped": 20}
SHOWN = 6  # questions, as they come, after 20 iterations
LEFT = torch.cat([torch.ones(128, 128), torch.zeros(128, 128)], dim=1)


def guidance(world: World, references: Tensor, row: str):
    """Both people of one question, (2, 3, 128, 128)."""
    masks = {"free": (None, None), "placed": (LEFT, 1 - LEFT), "swapped": (1 - LEFT, LEFT)}[row]
    each = [guidance_by(world.guide, x, mask=mask) for x, mask in zip(references, masks, strict=True)]
    return combine({name: (one, Schedule()) for name, one in zip(NAMES, each, strict=True)})


def places(world: World, image: Tensor, guidances: list[CombinedGuidance], terms) -> Tensor:
    """Where the guidance looked for each of the two, (B, 2): 0 for the left panel, 1 for the right.

    That is where the similarity is the one that it reports.
    """
    panels = [world.guide.crop(image, list(place)) for place in zip(*world.guide.locate(image), strict=True)]
    embeddings = torch.stack([world.guide.embed(panel) for panel in panels], dim=1)  # (B, 2 panels, D)
    identities = [[guidance.terms[name][0].identity for name in NAMES] for guidance in guidances]
    alike = torch.stack(
        [
            torch.stack([identity.similarity(each) for identity in both])
            for both, each in zip(identities, embeddings, strict=True)
        ]
    )  # (B, 2 people, 2 panels)
    reported = torch.stack([terms[name].similarity for name in NAMES], dim=1)
    return (alike - reported[:, :, None]).abs().argmin(dim=2)


def run(world: World, couples: Couples, row: str, iterations: int, batch: int = 8) -> dict:
    """One row, and the pictures; at each recorded iteration of the best iterate so far."""
    own, swapped, strangers, images, seconds = [], [], [], {}, 0.0
    for start in range(0, len(couples), batch):
        part = couples.part(slice(start, start + batch))
        guidances = [guidance(world, part.references[:, i], row) for i in range(len(part))]
        energies = [each.energy(VIEWS, 0) for each in guidances]
        best, seen, begin = Best(), [], time.perf_counter()
        place = torch.zeros(len(part), 2, dtype=torch.long)
        for iterate in solve(
            world.flow(part.prompts),
            world.decode,
            Each(energies),
            part.noise,
            iterations=iterations,
        ):
            best.update(iterate)
            now = places(world, iterate.image, guidances, iterate.terms)
            place = now.where((best.number == iterate.number)[:, None], place)
            if iterate.number in AT:
                alike = panel_similarity(world.judge, best.image, part.references)  # (B, 2 people, 2 panels)
                seen.append(alike.gather(2, place[:, :, None])[:, :, 0])
                images.setdefault(iterate.number, []).append(best.image)
        seconds += time.perf_counter() - begin
        own.append(torch.stack(seen))
        swapped.append(alike.gather(2, 1 - place[:, :, None])[:, :, 0])
        strangers.append(alike.flip(1).gather(2, place[:, :, None])[:, :, 0])
    own, swapped, strangers = torch.cat(own, dim=1), torch.cat(swapped), torch.cat(strangers)
    result = {
        "n": len(couples),
        "iterations": [i for i in AT if i <= iterations],
        "judge": own.mean(dim=1).tolist(),  # of each person, by iteration
        "judge_sem": (own.std(dim=1) / len(couples) ** 0.5).tolist(),
        "assignment": (own[-1].sum(dim=1) > swapped.sum(dim=1)).float().mean().item(),
        "panels": (own[-1] > strangers).float().mean().item(),
        "seconds_per_iteration": seconds / len(couples) / iterations,
    }
    return {"row": result, "images": {number: torch.cat(pictures) for number, pictures in images.items()}}


def gains(row: dict, ceiling: list[float], iteration: int) -> list[float]:
    """Of each of the two people."""
    at = row["iterations"].index(iteration)
    return list(map(cells.gain, row["judge"][at], row["judge"][0], ceiling))


def grid(couples: Couples, images: dict[str, Tensor], path: Path) -> None:
    """A row for each question: the two references, the unguided picture, and the guided ones."""
    titles = {"free": "guided", "placed": "first left, second right", "swapped": "first right, second left"}
    columns = {"first": couples.references[0], "second": couples.references[1], "unguided": images["unguided"]}
    columns |= {title: images[name] for name, title in titles.items()}
    sheet(columns, couples.prompts, 120, len(couples)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--only", choices=[*ROWS, "pictures"])
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    world, path = World(), RESULTS / "two_people.json"
    couples = Couples.draw(arguments.n, "evaluation")
    if arguments.only != "pictures":
        drawn = panel_similarity(world.judge, couples.others, couples.references)
        ceiling = [drawn[:, 0, 0].mean().item(), drawn[:, 1, 1].mean().item()]
        results = json.loads(path.read_text()) if path.exists() else {"rows": {}}
        results |= {"machine": machine(), "ceiling": ceiling}
        for name, iterations in ROWS.items():
            if arguments.only in (None, name):
                row = run(world, couples, name, iterations)["row"]
                row |= {f"gain_at_{i}": gains(row, ceiling, i) for i in (20, 100) if i in row["iterations"]}
                results["rows"][name] = row
                print(name, json.dumps({key: row[key] for key in row if key != "judge_sem"}), flush=True)
                save(results, path)
    if arguments.only in (None, "pictures"):
        few = couples.part(slice(SHOWN))
        images = {name: run(world, few, name, 20)["images"] for name in ROWS}
        shown = {"unguided": images["free"][0]} | {name: each[20] for name, each in images.items()}
        grid(few, shown, RESULTS / "two_people.png")


if __name__ == "__main__":
    main()
