"""`run.py demo`: the quickstart workflow through a real ComfyUI, judged, and laid out in one picture."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
import webbrowser
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageFont

from .comfy_server import ComfyServer, Event, ServerError, serving
from .environment import BASE, OUTPUT, ROOT
from .workflow import to_prompt

WORKFLOW = ROOT / "workflows" / "01 Quickstart.json"
JUDGE = ROOT / "demo" / "weights" / "recogniser_judge.onnx"
PICTURE = OUTPUT / "quickstart.png"
TILE, MARGIN, CAPTION = 384, 12, 34  # pixels of the one picture


def quickstart_prompt(server: ComfyServer) -> dict[str, dict]:
    """The workflow as it lies on disk, the one that a user opens in the editor."""
    return to_prompt(json.loads(WORKFLOW.read_text(encoding="utf-8")), server.object_info())


def print_text(event: Event) -> None:
    """Prints the lines that nodes say while they run."""
    if event.text:
        print("    " + event.text.replace("\n", "\n    "), flush=True)


def pictures_of(server: ComfyServer, outputs: dict[str, dict]) -> dict[str, Image.Image]:
    """The saved pictures of a run, by name: "rectifid/guided_00001_.png" is "guided"."""
    entries = [entry for output in outputs.values() for entry in output.get("images", [])]
    saved = (entry for entry in entries if entry["type"] == "output")
    return {
        entry["filename"].split("_")[0]: Image.open(io.BytesIO(server.image(entry))).convert("RGB") for entry in saved
    }


class Judge:
    """The recogniser that took no part in the guidance: how alike two portraits are, as a cosine in [-1, 1]."""

    def __init__(self):
        self.session = onnxruntime.InferenceSession(JUDGE, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]

    def embed(self, picture: Image.Image) -> np.ndarray:
        size = self.input.shape[-1]
        pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
        (embedding,) = self.session.run(None, {self.input.name: pixels.transpose(2, 0, 1)[None]})[0]
        return embedding / np.linalg.norm(embedding)

    def similarity(self, first: Image.Image, second: Image.Image) -> float:
        return float(self.embed(first) @ self.embed(second))


def judge(pictures: dict[str, Image.Image]) -> dict[str, float]:
    """How like the reference the pictures without and with guidance are."""
    similarity = Judge().similarity
    return {name: similarity(pictures["reference"], pictures[name]) for name in ("unguided", "guided")}


def lay_out(pictures: dict[str, Image.Image], similarity: dict[str, float]) -> Image.Image:
    """The whole story in one row: the pictures at the same height, under their names and similarities."""
    tiles = []
    for name in ("reference", "unguided", "guided", "convergence"):
        width, height = pictures[name].size
        tile = Image.new("RGB", (TILE * width // height + MARGIN, TILE + CAPTION + MARGIN), "white")
        caption = f"{name}: {similarity[name]:.2f}" if name in similarity else name
        draw = ImageDraw.Draw(tile)
        draw.text((tile.width / 2, CAPTION / 2), caption, fill="black", font=ImageFont.load_default(20), anchor="mm")
        picture = pictures[name].resize((tile.width - MARGIN, TILE), Image.Resampling.LANCZOS)
        tile.paste(picture, (MARGIN // 2, CAPTION))
        tiles.append(tile)
    row = Image.new("RGB", (sum(tile.width for tile in tiles), tiles[0].height))
    left = 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width
    return row


def main() -> int:
    """Draw the quickstart's picture and say how good it is; with ``--serve`` leave the server up."""
    parser = argparse.ArgumentParser(prog="run.py demo")
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if not JUDGE.is_file():
        print(f"The embedded model is missing ({JUDGE.parent}); get a complete clone of the repository.")
        return 1

    print("Starting ComfyUI ...", flush=True)
    with serving(BASE, OUTPUT) as server:
        print(f"Running {WORKFLOW.relative_to(ROOT)} ...", flush=True)
        started = time.monotonic()
        pictures = pictures_of(server, server.run(quickstart_prompt(server), print_text))
        print(f"    done in {time.monotonic() - started:.0f} s")

        similarity = judge(pictures)
        print("Similarity to the reference, by a recogniser that took no part in the guidance:")
        print(f"    {similarity['unguided']:.2f} unguided, {similarity['guided']:.2f} guided")
        lay_out(pictures, similarity).save(PICTURE)
        print(f"The picture: {PICTURE}")
        show(PICTURE)
        print("With a photograph of your own: README.md, 'Your own photograph, step by step'.", flush=True)
        if arguments.serve:
            print(f"\nComfyUI is at {server.address}: open Templates there, then rectifid, then 01 Quickstart.")
            print("Ctrl-C ends it.", flush=True)
            wait_for_ctrl_c()
    return 0


def show(picture: Path) -> None:
    """Opens the picture, where there is a desktop to open it on."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    webbrowser.open(picture.as_uri())


def wait_for_ctrl_c() -> None:
    """Sleep until Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("\nStopping ComfyUI ...")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerError as error:
        sys.exit(f"\nThe demo failed: {error}")
