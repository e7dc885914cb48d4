"""How much of a new identity the guided picture gains, judged by a recogniser that did not guide.

    COMFYUI_PATH=... python benchmarks/identity.py                # everything; resumes row by row
    COMFYUI_PATH=... python benchmarks/identity.py --only main    # the headline rows: about half an hour on one core

With u, the judge's similarity of the unguided picture to the reference, g of the guided one and c of another drawn
scene of the same identity, gain = (g - u) / (c - u).  The headline row has the sampler's default settings on 64 triples
of an identity, a prompt and a seed, and as there a run ends where it is at rest; another one has 8 candidates.  The
ablation covers the paper's update rules, with and without views, and three scales, on fewer triples.  Views, rule,
scale and colour were chosen on other identities.

tail: the share of pictures whose similarity is below 0.7 after 20 iterations, by the judge; last_minus_best: of the
guide's mean similarity, in the worst iteration from the 5th on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import RESULTS, save
from sheet import sheet
from tables import cells
from trait_table import report as trait_report
from world import WEIGHTS, Triples, World, guidance_by, machine, similarity

from rectifid_core.interfaces import Observation
from rectifid_core.solver.batched import expand_like
from rectifid_core.solver.best import Best
from rectifid_core.solver.candidates import draw, foresee, nearest, shuffled
from rectifid_core.solver.convergence import TOLERANCE
from rectifid_core.solver.rules import RULES as ALL_RULES
from rectifid_core.solver.solve import solve

RULES = ("accumulated", "fixed_point", "fully_anchored", "noise", "unanchored")  # the paper's; see rules.py for ours
AT = (0, 1, 2, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100)
DEFAULTS = {"rule": "anchored", "views": 4, "scale": 1.0, "last_offset": True, "damping": 0.5, "candidates": 1}
POOR = 0.7  # of the judge's similarity


class Each:
    """A batch in which each sample has an identity, hence an energy, of its own."""

    def __init__(self, energies):
        self.energies = energies

    def __call__(self, image, iteration):
        return stack([energy(x[None], iteration) for energy, x in zip(self.energies, image, strict=True)])


def stack(seen: list[Observation]) -> Observation:
    """What was seen of each sample, as of one batch."""
    together = {name: torch.cat([getattr(one, name) for one in seen]) for name in ("energy", "similarity", "found")}
    return Observation(**together, terms={name: stack([one.terms[name] for one in seen]) for name in seen[0].terms})


def run(world: World, triples: Triples, settings: dict, iterations: int, batch: int = 16) -> dict:
    """One row, and the pictures: means over the triples at each recorded iteration, of the best iterate so far."""
    parts, images, seconds = [], {}, 0.0
    for start in range(0, len(triples), batch):
        part = triples.part(slice(start, start + batch))
        flow = world.flow(part.prompts)
        guidances = [guidance_by(world.guide, x) for x in part.references]

        def energy(guidances=guidances):
            return Each([each.energy(settings["views"], 0) for each in guidances])

        best, seen, begin = Best(), [], time.perf_counter()
        noise = start_of(flow, world, energy, part.noise, settings["candidates"])
        rule = ALL_RULES[settings["rule"]]
        arguments = {key: settings[key] for key in ("rule", "last_offset", "damping")}
        # of exact gradients the full graph: the same, in less time for this small model
        gradient = "full" if rule.gradient == "windowed" else rule.gradient
        arguments |= {"scale": rule.scale_for(settings["scale"], noise), "gradient": gradient}
        changes = max((change for each in guidances for change in each.changes), default=0)
        rested, kept = torch.zeros(len(part), dtype=torch.bool), None
        for iterate in solve(flow, world.decode, energy(), noise, iterations=iterations, **arguments):
            best.update(iterate)
            now = (
                best.image,
                torch.stack([best.similarity, iterate.similarity]),
                torch.full((len(part),), iterate.number),
            )
            if kept is not None:  # at rest, a sample stays what it is
                now = tuple(map(partial(held, rested), kept, now))
            kept, (image, shown, ran) = now, now
            rested = rested | ((iterate.slope <= TOLERANCE) & (iterate.number >= changes))
            if iterate.number in AT:
                judge = similarity(world.judge, image, part.references)
                prompt = world.prompt_accuracy(image, part.scenes, part.named)
                seen.append(torch.stack([judge, *shown, prompt, ran]))
                images.setdefault(iterate.number, []).append(image)
        seconds += time.perf_counter() - begin
        parts.append(torch.stack(seen))
    measured = torch.cat(parts, dim=2)
    judge, guide, last, prompt, ran = measured.mean(dim=2).T.tolist()
    row = {
        **settings,
        "n": len(triples),
        "iterations": [i for i in AT if i <= iterations],
        "judge": judge,
        "guide": guide,
        "last": last,
        "prompt": prompt,
        "tail": (measured[:, 0] < POOR).float().mean(dim=1).tolist(),
        "tenth": measured[:, 0].quantile(0.1, dim=1).tolist(),
        "ran": ran,
        "judge_sem": (measured[:, 0].std(dim=1) / len(triples) ** 0.5).tolist(),
        "prompt_sem": (measured[:, 3].std(dim=1) / len(triples) ** 0.5).tolist(),
        "seconds_per_iteration": seconds / len(triples) / max(iterations, 1),
    }
    return {"row": row, "images": {number: torch.cat(pictures) for number, pictures in images.items()}}


def held(rested: torch.Tensor, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The old where a sample, the last dimension's or that of a batch of images, rests."""
    return torch.where(expand_like(rested, new) if new.ndim == 4 else rested, old, new)


def start_of(flow, world: World, energy: Callable[[], Each], noise: torch.Tensor, candidates: int) -> torch.Tensor:
    """The noise of each sample, of so many candidates, as the sampler chooses it."""
    if candidates == 1:
        return noise

    def look(number: int, to_end: bool):
        return (draw if to_end else foresee)(flow, world.decode, energy(), shuffled(noise, 0, number))

    chosen = nearest(look, candidates).tolist()
    return torch.stack([shuffled(noise, 0, number)[sample] for sample, number in enumerate(chosen)])


def yardstick(world: World, triples: Triples) -> dict[str, float]:
    return {
        name: similarity(getattr(world, name), triples.others, triples.references).mean().item()
        for name in ("judge", "guide")
    }


PROMPT_DROPS = {20: "prompt_drop", 100: "prompt_drop_at_100"}  # after so many iterations


def gain(row: dict, ceiling: float, iteration: int) -> float:
    unguided, guided = row["judge"][0], row["judge"][row["iterations"].index(iteration)]
    return cells.gain(guided, unguided, ceiling)


def prompt_drop(row: dict, iteration: int) -> float:
    return 100 * (row["prompt"][0] - row["prompt"][row["iterations"].index(iteration)])


def prompt_drop_sem(world: World, triples: Triples, images: dict[int, torch.Tensor], iteration: int) -> float:
    """The standard error of the drop, of which each picture is its own pair."""
    before, after = (world.prompt_accuracy(images[i], triples.scenes, triples.named) for i in (0, iteration))
    return 100 * (before - after).std().item() / len(triples) ** 0.5


def ablation() -> list[dict]:
    rows = []
    for scale in (1.0, 0.5, 2.0):
        for rule in RULES:
            for views in (4, 0):
                rows.append({**DEFAULTS, "rule": rule, "views": views, "scale": scale})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("main", "ablation"))
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--ablation-n", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--fresh", action="store_true", help="measure rows again that are in the results already")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    world, path = World(), RESULTS / "identity.json"
    results = json.loads(path.read_text()) if path.exists() and not arguments.fresh else {"rows": []}
    results["machine"] = machine()

    if arguments.only != "ablation" and "gain_at_20" not in results:
        triples = Triples.draw(arguments.n, "evaluation")
        ceiling = yardstick(world, triples)
        done = run(world, triples, DEFAULTS, arguments.iterations)
        row = done["row"]
        results |= {
            **{f"gain_at_{n}": gain(row, ceiling["judge"], n) for n in (7, 20, 100) if n in row["iterations"]},
            **{name: prompt_drop(row, n) for n, name in PROMPT_DROPS.items() if n in row["iterations"]},
            **{
                f"{name}_sem": prompt_drop_sem(world, triples, done["images"], n)
                for n, name in PROMPT_DROPS.items()
                if n in done["images"]
            },
            "last_minus_best": min(
                last - best
                for n, last, best in zip(row["iterations"], row["last"], row["guide"], strict=True)
                if n >= 5
            ),
            "tail": row["tail"][row["iterations"].index(20)],
            "n": arguments.n,
            "ceiling": ceiling,
            "main": row,
        }
        if (WEIGHTS / "reader.onnx").exists():
            results |= trait_report(world, triples, done["images"])
        save(results, path)
        eight = run(world, triples, {**DEFAULTS, "candidates": 8}, 20)
        results |= {"tail_of_8_candidates": eight["row"]["tail"][-1], "candidates": eight["row"]}
        if (WEIGHTS / "reader.onnx").exists():
            results["gain_by_skin_of_8_candidates"] = trait_report(world, triples, eight["images"])["gain_by_skin"]
        save(results, path)
        grid(triples, done["images"], RESULTS / "identity_grid.png")
    if arguments.only != "main":
        triples = Triples.draw(arguments.ablation_n, "evaluation")
        results["ablation_ceiling"] = yardstick(world, triples)
        known = [{name: row[name] for name in DEFAULTS} for row in results["rows"]]
        for settings in ablation():
            if settings not in known:
                results["rows"].append(run(world, triples, settings, arguments.iterations)["row"])
                save(results, path)
                last = results["rows"][-1]
                print(
                    {name: last[name] for name in ("rule", "views", "scale")},
                    f"judge {last['judge'][-1]:.3f}",
                    flush=True,
                )
    plot(results, RESULTS / "identity.png")
    print(json.dumps({name: value for name, value in results.items() if name not in ("rows", "main")}, indent=1))


# --- pictures -------------------------------------------------------------------------------------------------------


def grid(triples: Triples, images: dict[int, torch.Tensor], path: Path, people: int = 6) -> None:
    """A row for each person: the reference, the unguided picture, and the guided one after 5, 20 and 100 iterations."""
    columns = {"reference": triples.references, "unguided": images[0]}
    columns |= {f"{i} iterations": images[i] for i in (5, 20, 100) if i in images}
    sheet(columns, triples.prompts, 160, people).save(path)


def plot(results: dict, path: Path) -> None:
    """The judge's similarity over the iterations: each rule with and without views at scale 1, then the scales of
    each rule."""
    from matplotlib.figure import Figure

    if not results["rows"]:
        return
    figure = Figure((15, 8), layout="constrained")
    *panels, spare = figure.subplots(2, 4).ravel()
    spare.remove()
    ceiling = results["ablation_ceiling"]["judge"]
    colors = dict(zip(RULES, ("tab:blue", "tab:green", "tab:purple", "tab:orange", "tab:red"), strict=True))
    for row in results["rows"]:
        style = "-" if row["views"] else "--"
        name = f"{row['rule']}, {row['views'] or 'no'} views"
        if row["scale"] == 1.0:
            panels[0].plot(row["iterations"], row["judge"], style, color=colors[row["rule"]], label=name)
            panels[1].plot(row["iterations"], np.array(row["guide"]) - row["judge"], style, color=colors[row["rule"]])
        panel = panels[2 + RULES.index(row["rule"])]
        shade = {0.5: 0.4, 1.0: 0.7, 2.0: 1.0}[row["scale"]]
        panel.plot(
            row["iterations"],
            row["judge"],
            style,
            color=colors[row["rule"]],
            alpha=shade,
            label=f"scale {row['scale']}, {row['views'] or 'no'} views",
        )
    panels[0].set_title("judge's similarity, scale 1")
    panels[1].set_title("guide's similarity less the judge's (self-deception)")
    for rule in RULES:
        panels[2 + RULES.index(rule)].set_title(f"{rule}: judge, by scale")
    for panel in (panels[0], *panels[2:]):
        panel.axhline(ceiling, color="gray", linestyle=":", label="another scene, drawn")
        panel.legend(fontsize=6)
    for panel in panels:
        panel.set_xlabel("iteration")
        panel.grid(alpha=0.3)
    figure.suptitle(f"{results['rows'][0]['n']} new identities, 4 steps; {results['machine']}", fontsize=9)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
