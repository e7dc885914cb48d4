"""Which update rule and which gradient give the most likeness in the same time?

    COMFYUI_PATH=... python benchmarks/rules.py             # resumes row by row
    COMFYUI_PATH=... python benchmarks/rules.py --fresh     # with other weights, or on another machine

Every contestant works on the same new identities, prompts and noises for the same time, and is judged by a recogniser
that did not guide.  Time is that of one core which does nothing else, counted as the process's own; judging is not in
it.  `single_pass` is no iteration that one may stop at any time, so that it runs once for each number of updates.

The second part follows the fixed point: how far its residual falls, by the damped iteration and by the descent.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from identity import Each, start_of, yardstick
from measure import RESULTS, save
from tables import costs
from torch import Tensor
from world import Triples, World, guidance_by, machine, similarity

from rectifid_core.solver.best import Best
from rectifid_core.solver.iterate import Iterate
from rectifid_core.solver.solve import solve

VIEWS = 4
LONGEST = costs.SECONDS[-1]
SINGLE_PASS = (4, 8, 12, 20)  # updates
MOST = 1000  # iterations; the time is over before
CONTESTANTS = [
    {"rule": "accumulated", "gradient": "windowed", "scale": 1.0},
    {"rule": "accumulated", "gradient": "full", "scale": 2.0},
    {"rule": "single_pass", "scale": 2.0},
    {"rule": "anchored", "gradient": "straight", "scale": 7.5},  # guidance scale 1
    {"rule": "anchored", "gradient": "full", "scale": 7.5},
    {"rule": "anchored", "gradient": "straight", "scale": 7.5, "noises": 8},
    {"rule": "fixed_point", "gradient": "full", "scale": 1.0},
    {"rule": "accumulated", "gradient": "straight", "scale": 2.0},
    {"rule": "single_pass", "scale": 2.0, "noises": 8},
    {"rule": "accumulated", "gradient": "full", "scale": 2.0, "noises": 8},
    {"rule": "accumulated", "gradient": "full", "scale": 1.0},
    {"rule": "noise", "gradient": "full", "scale": 2.0},
    {"rule": "fully_anchored", "gradient": "full", "scale": 2.0},
    {"rule": "unanchored", "gradient": "full", "scale": 0.5},
]
CONVERGENCE = [{"rule": rule, "scale": scale} for scale in (0.3, 1.0) for rule in ("fixed_point", "anchored")]
CONVERGENCE_ITERATIONS = 50


class Clock:
    """The process's own time, without what happens between `stop` and `go`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.go()

    def go(self) -> None:
        self._since = time.process_time()

    def stop(self) -> float:
        self.seconds += time.process_time() - self._since
        return self.seconds


class Race:
    """The contestants' common course: the triples, and what is asked of a picture."""

    def __init__(self, world: World, triples: Triples) -> None:
        self.world, self.triples = world, triples
        self.flow = world.flow(triples.prompts)
        self._guidance = [guidance_by(world.guide, x) for x in triples.references]

    def energy(self) -> Each:
        return Each([guidance.energy(VIEWS, 0) for guidance in self._guidance])

    def iterates(self, settings: dict, iterations: int) -> Iterator[Iterate]:
        settings = dict(settings)
        noise = start_of(self.flow, self.world, self.energy, self.triples.noise, settings.pop("noises", 1))
        yield from solve(self.flow, self.world.decode, self.energy(), noise, iterations=iterations, **settings)

    def _best(self, best: Best) -> dict[str, float]:
        return {**self.judged(best.image), "guide": best.similarity.mean().item()}

    def judged(self, images: Tensor) -> dict[str, float]:
        triples = self.triples
        judge = similarity(self.world.judge, images, triples.references)
        prompt = self.world.prompt_accuracy(images, triples.scenes, triples.named)
        return {
            "judge": judge.mean().item(),
            "judge_sem": (judge.std() / len(judge) ** 0.5).item(),
            "prompt": prompt.mean().item(),
        }

    def run(self, settings: dict, seconds: float) -> dict:
        """One row: the best picture so far after each iteration, until the time per picture is over."""
        points = []
        if settings["rule"] == "single_pass":
            for updates in SINGLE_PASS:
                clock, best = Clock(), Best()
                for iterate in self.iterates(settings, updates):
                    best.update(iterate)
                points.append({"iterations": updates, "seconds": clock.stop(), **self._best(best)})
        else:
            clock, best = Clock(), Best()
            for iterate in self.iterates(settings, MOST):
                best.update(iterate)
                now = clock.stop()
                points.append({"iterations": iterate.number, "seconds": now, **self._best(best)})
                if now > seconds * len(self.triples):
                    break
                clock.go()
        for point in points:
            point["seconds"] /= len(self.triples)
        return {**settings, "points": points}

    def convergence(self, settings: dict) -> dict:
        """The residual of each iterate, in units of the latent's norm: the median of the samples."""
        residuals = []
        for iterate in self.iterates({**settings, "gradient": "full"}, CONVERGENCE_ITERATIONS + 1):
            residuals.append(iterate.residual / iterate.latent.flatten(1).norm(dim=1))
        return {**settings, "residual": torch.stack(residuals[:-1]).median(dim=1).values.tolist()}


def name(row: dict) -> str:
    parts = [row["rule"], row.get("gradient", ""), f"scale {row['scale']:g}"]
    parts.append(f"best of {row['noises']} noises" if "noises" in row else "")
    return ", ".join(part for part in parts if part)


def plot(results: dict) -> None:
    """The judge's similarity over the time, and over the prompt at the end of it; the residuals."""
    from matplotlib.figure import Figure

    figure = Figure((15, 5.5), layout="constrained")
    likeness, prompt, residual = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    for i, row in enumerate(results["rows"]):
        style = {"color": f"C{i % 10}", "linestyle": ("-", "--")[i // 10]}
        seconds, judge = np.array([(point["seconds"], point["judge"]) for point in row["points"]]).T
        marker = "o" if row["rule"] == "single_pass" else None
        likeness.plot(seconds, judge, label=name(row), marker=marker, **style)
        last = costs.point_at(row, LONGEST)
        prompt.plot(100 * last["prompt"], last["judge"], "o", color=style["color"])
        prompt.annotate(str(i + 1), (100 * last["prompt"], last["judge"]), xytext=(4, 2), textcoords="offset points")
    likeness.axhline(results["ceiling"]["judge"], color="gray", linestyle=":", label="another scene, drawn")
    likeness.set(xlabel="seconds per picture, one core", ylabel="judge's similarity", xlim=(0, 1.1 * LONGEST))
    likeness.legend(fontsize=7, loc="lower right")
    prompt.set(xlabel="prompt accuracy, %", ylabel=f"judge's similarity after {LONGEST:g} s")
    for row in results["convergence"]:
        residual.semilogy(row["residual"], label=f"{row['rule']}, scale {row['scale']:g}")
    residual.set(xlabel="iteration", ylabel="residual / latent's norm (median)")
    residual.legend(fontsize=7)
    for panel in (likeness, prompt, residual):
        panel.grid(alpha=0.3)
    figure.suptitle(f"{results['n']} new identities, 4 steps, {VIEWS} views; {results['machine']}", fontsize=9)
    figure.savefig(RESULTS / "rules.png", dpi=110)


def resume(rows: list[dict], contestants: list[dict], run: Callable[[dict], dict], keep: Callable[[], None]) -> None:
    for settings in contestants:
        if not any(settings == {key: row[key] for key in row if key not in ("points", "residual")} for row in rows):
            rows.append(run(settings))
            keep()
            print(name(rows[-1]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--convergence-n", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=LONGEST, help="per picture and contestant")
    parser.add_argument("--fresh", action="store_true", help="measure rows again that are in the results already")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    world, path = World(), RESULTS / "rules.json"
    known = json.loads(path.read_text()) if path.exists() and not arguments.fresh else {"rows": [], "convergence": []}
    triples = Triples.draw(arguments.n, "evaluation")
    results = {"machine": machine(), "n": arguments.n, "ceiling": yardstick(world, triples), **known}
    race, few = Race(world, triples), Race(world, triples.part(slice(arguments.convergence_n)))
    resume(results["convergence"], CONVERGENCE, few.convergence, lambda: save(results, path))
    resume(results["rows"], CONTESTANTS, lambda x: race.run(x, arguments.seconds), lambda: save(results, path))
    plot(results)
    print(costs.rules(results), costs.residuals(results), sep="\n\n")


if __name__ == "__main__":
    main()
