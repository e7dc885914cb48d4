"""Scale and iterations over a grid, as in the paper's figure 25: identity and prompt, with their standard errors.

    COMFYUI_PATH=... python benchmarks/sweep.py            # resumes row by row
    COMFYUI_PATH=... python benchmarks/sweep.py --quick    # to output/benchmarks

Of the default rule and of the published one, at the guidance scales of the sampler; the pictures are the best so far.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from identity import DEFAULTS, run, yardstick
from measure import QUICK, RESULTS, rows_of, save
from world import Triples, World, machine

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
RULES = ("anchored", "accumulated")


def plot(results: dict, path: Path) -> None:
    """Over the iterations, a line with a band for each scale; and after the last one, over the scale."""
    from matplotlib.figure import Figure

    figure = Figure((15, 7.5), layout="constrained")
    panels = figure.subplots(2, 3)
    colors = dict(zip(SCALES, ("tab:cyan", "tab:blue", "tab:green", "tab:orange", "tab:red"), strict=True))
    for line, (key, title) in zip(
        panels, {"judge": "judge's similarity", "prompt": "prompt accuracy"}.items(), strict=True
    ):
        for panel, rule in zip(line, RULES, strict=False):
            rows = [row for row in results["rows"] if row["rule"] == rule]
            for row in rows:
                band(
                    panel,
                    row["iterations"],
                    row[key],
                    row[f"{key}_sem"],
                    colors[row["scale"]],
                    f"scale {row['scale']:g}",
                )
            panel.set(title=f"{title}, {rule}", xlabel="iteration")
            panel.legend(fontsize=7)
            ends = [[row[name][-1] for row in rows] for name in (key, f"{key}_sem")]
            color = ("tab:blue", "tab:orange")[RULES.index(rule)]
            band(line[2], [row["scale"] for row in rows], *ends, color, rule)
        line[2].set(title=f"{title} after the last iteration", xlabel="guidance scale", xscale="log")
        line[2].set_xticks(SCALES, [f"{scale:g}" for scale in SCALES])
        line[2].minorticks_off()
        line[2].legend(fontsize=7)
    for panel in panels.ravel():
        panel.grid(alpha=0.3)
    figure.suptitle(f"{results['n']} new identities, bands: standard error; {results['machine']}", fontsize=9)
    figure.savefig(path, dpi=110)


def band(panel, x, mean, error, color: str, label: str) -> None:
    mean, error = np.array(mean), np.array(error)
    panel.plot(x, mean, "o-", color=color, label=label, markersize=3)
    panel.fill_between(x, mean - error, mean + error, color=color, alpha=0.15, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="measure rows again that are in the results already")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    world, folder = World(), QUICK if arguments.quick else RESULTS
    path, triples = folder / "sweep.json", Triples.draw(4 if arguments.quick else arguments.n, "evaluation")
    rows = rows_of(path, arguments.fresh or arguments.quick)
    results = {"machine": machine(), "n": len(triples), "ceiling": yardstick(world, triples), "rows": rows}
    for rule in RULES:
        for scale in SCALES:
            settings = {**DEFAULTS, "rule": rule, "scale": scale}
            if not any(settings == {name: row[name] for name in DEFAULTS} for row in rows):
                rows.append(run(world, triples, settings, 7 if arguments.quick else arguments.iterations)["row"])
                save(results, path)
                print(
                    rule, scale, f"judge {rows[-1]['judge'][-1]:.3f}, prompt {rows[-1]['prompt'][-1]:.3f}", flush=True
                )
    plot(results, folder / "sweep.png")


if __name__ == "__main__":
    main()
