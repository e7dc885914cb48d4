"""RectifID's rivals on the same 64 questions as identity.py, all on the embedded flow.

    COMFYUI_PATH=... python benchmarks/rivals.py             # an hour on one core; resumes method by method
    COMFYUI_PATH=... python benchmarks/rivals.py --quick     # a few minutes, to output/benchmarks

One file of `rivals/` each, with its source.  The seconds are those of one core: for a new identity (training, or
looking at the reference), for a picture of it, and in hours for what is learned once for all people.  Memory is the
peak of what a step of the most demanding part makes, without the weights.  The columns are those of `scores.py`.
Each method's rate and steps were chosen on the tuning people, see README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from measure import QUICK, RESULTS, save
from rivals.basis import Rival, sample
from rivals.celeb_basis import CelebBasis
from rivals.dno import DNO
from rivals.dreambooth import DreamBooth
from rivals.dreambooth_lora import DreamBoothLora
from rivals.flowchef import FlowChef
from rivals.fmrg import FMRG
from rivals.instantid import InstantID
from rivals.ip_adapter import IPAdapter
from rivals.rectifid import Ours, OursOnAdapter, Published
from rivals.reno import ReNO
from rivals.scores import Scores
from rivals.table import answered, answers_of, row_of, shortened
from rivals.textual_inversion import TextualInversion
from rivals.universal_guidance import UniversalGuidance
from tables import identities as tables
from torch import Tensor
from world import Triples, World, machine

RIVALS: tuple[type[Rival], ...] = (
    *(TextualInversion, DreamBooth, DreamBoothLora, CelebBasis, IPAdapter, InstantID),
    *(ReNO, DNO, FlowChef, FMRG, UniversalGuidance, Published, Ours, OursOnAdapter),
)
SHOWN = 6  # questions in the grid, as they come


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", help="methods")
    parser.add_argument("--answers", action="store_true", help="draw what is missing, and measure nothing")
    parser.add_argument("--kept", action="store_true", help="measure what is drawn already, and draw nothing")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    world, folder = World(), QUICK if arguments.quick else RESULTS
    triples = Triples.draw(4 if arguments.quick else arguments.n, "evaluation")
    images: dict[str, Tensor] = {}
    rows: list[dict] = []
    scores = None if arguments.answers else Scores(world)
    results = {"machine": machine(), "n": len(triples), "rows": rows}
    if scores:
        images["unguided"] = world.decode(sample(world.flow(triples.prompts), triples.noise))
        results |= {"unguided": scores(images["unguided"], triples), "drawn": scores(triples.others, triples)}
    for kind in RIVALS:
        rival = shortened(kind()) if arguments.quick else kind()
        if arguments.only and rival.name not in arguments.only:
            continue
        if arguments.kept and not answers_of(rival, triples, "one").exists():
            continue
        rival.learn(world)
        answer = answered(world, rival, triples, "one")
        print(rival.name, f"{answer.seconds_identity:.2f} s, {answer.seconds_picture:.2f} s", flush=True)
        if scores:
            images[rival.name] = answer.images
            rows.append(row_of(world, rival, answer, scores(answer.images, triples)))
            print(rival.name, f"judge {rows[-1]['judge']:.3f}", flush=True)
    if scores and not arguments.only:
        save(results, folder / "rivals.json")
        plot(results, folder / "rivals.png")
        grid(triples, images, folder / "rivals_grid.png")
        print(tables.rivals(results))


# --- pictures -------------------------------------------------------------------------------------------------------


def plot(results: dict, path: Path) -> None:
    """The judge's similarity over the prompt, with standard errors; and over the time of the first picture."""
    from matplotlib.figure import Figure

    figure = Figure((14, 6), layout="constrained")
    prompt, seconds = figure.subplots(1, 2)
    for i, row in enumerate(results["rows"]):
        style = {"color": f"C{i % 10}", "marker": "os"[i // 10], "label": row["method"]}
        x, y = 100 * row["prompt"], row["judge"]
        prompt.errorbar(x, y, row["judge_sem"], 100 * row["prompt_sem"], elinewidth=0.7, **style)
        first = row["seconds_identity"] + row["seconds_picture"]
        seconds.errorbar(first, y, row["judge_sem"], elinewidth=0.7, **style)
        seconds.annotate(row["method"], (first, y), xytext=(5, 3), textcoords="offset points", fontsize=7)
        prompt.annotate(row["method"], (x, y), xytext=(5, 3), textcoords="offset points", fontsize=7)
    unguided = results["unguided"]
    prompt.plot(100 * unguided["prompt"], unguided["judge"], "k+", label="unguided")
    prompt.set(xlabel="prompt accuracy, %", ylabel="judge's similarity")
    seconds.set(xlabel="seconds of one core to the first picture of a new identity", xscale="log")
    for panel in (prompt, seconds):
        panel.axhline(results["drawn"]["judge"], color="gray", linestyle=":", label="another scene, drawn")
        panel.grid(alpha=0.3)
    figure.suptitle(f"{results['n']} new identities; {results['machine']}", fontsize=9)
    figure.savefig(path, dpi=110)


def grid(triples: Triples, images: dict[str, Tensor], path: Path) -> None:
    """A row for each of the first questions, a column for each method."""
    from PIL import Image, ImageDraw

    columns = {"reference": triples.references, **images}
    side, head, foot, count = 112, 34, 16, min(SHOWN, len(triples))
    sheet = Image.new("RGB", (side * len(columns), head + count * (side + foot)), "white")
    pen = ImageDraw.Draw(sheet)
    for x, (title, pictures) in enumerate(columns.items()):
        pen.multiline_text((x * side + 4, 4), title.replace("_", "\n", 1), fill="black", font_size=12, spacing=2)
        for y in range(count):
            pixels = (pictures[y].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(
                (side - 4, side - 4), Image.Resampling.LANCZOS
            )
            sheet.paste(picture, (x * side + 2, head + y * (side + foot) + 2))
    for y in range(count):
        pen.text((6, head + y * (side + foot) + side - 1), triples.prompts[y], fill="black", font_size=11)
    sheet.save(path)


if __name__ == "__main__":
    main()
