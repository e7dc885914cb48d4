"""What is trained for things and pets, stage by stage, in a folder of its own in the cache.

Most stages are those of `demo/`, which find other pictures, prompts and weights in that folder; the flow and the
autoencoder go on from the embedded ones.  A stage whose result is there is left out, and one that was ended goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from world import ROOT

MINUTES = {  # of one processor
    "autoencoder": 4,
    "text": 2,
    "teacher": 30,
    "reflow": 4,
    "guide": 3,
    "detector": 7.5,
    "judge": 2.8,
}
PAIRS, FAMILIES, COUPLES = 1_600, 1_000, 5_000
QUICK = 1 / 200  # of the minutes and of the pictures, to see that everything runs


def stages(share: float) -> Iterator[tuple[str, list[str]]]:
    """Each stage's result in the folder, and its command."""
    few = min(1.0, 10 * share)
    shares = {"detector": max(share, few)}  # one that has learned for seconds finds nothing at all
    minutes = {name: ["--minutes", str(shares.get(name, share) * minutes)] for name, minutes in MINUTES.items()}
    flow, own = [str(ROOT / "demo" / "train_flow.py")], ["-m", "subjects"]
    counts = ["--families", str(max(20, int(few * FAMILIES))), "--couples", str(max(540, int(few * COUPLES)))]
    yield "twins.npy", [*own, "pictures", *counts]
    yield "weights/autoencoder.safetensors", [str(ROOT / "demo" / "train_autoencoder.py"), *minutes["autoencoder"]]
    yield "weights/text_encoder.safetensors", [*own, "text", *minutes["text"]]
    yield "couples_read.npy", [str(ROOT / "demo" / "train_text.py"), "read"]
    yield "couples_latents.npy", [*flow, "encode"]
    yield "weights/flow.safetensors", [*flow, "teacher", *minutes["teacher"]]
    yield "couples_pairs.npy", [*flow, "pairs", "--count", str(max(200, int(few * PAIRS)))]
    yield "weights/flow.safetensors", [*flow, "reflow", *minutes["reflow"]]
    yield "weights/flow.safetensors", [*flow, "export"]
    yield "weights/dino/model.safetensors", [*own, "guide", *minutes["guide"]]
    yield "weights/owl/model.safetensors", [*own, "detector", *minutes["detector"]]
    yield "weights/judge.safetensors", [*own, "judge", *minutes["judge"]]


def train(folder: Path, share: float = 1.0) -> None:
    """Every stage; ``share``: of MINUTES."""
    path = os.pathsep.join([str(ROOT / "demo"), str(ROOT / "benchmarks")])
    settings = {**os.environ, "RECTIFID_DEMO_CACHE": str(folder), "PYTHONPATH": path}
    for result, command in stages(share):
        if not (folder / result).exists():
            print(" ".join(command), flush=True)
            subprocess.run([sys.executable, *command], env=settings, check=True)
