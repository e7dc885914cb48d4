"""The evaluation's three stages; each goes on where it was stopped.

    python -m rectifid_eval draw FOLDER --faces celeba_hq --methods ours=ours.json pulid=pulid.json --start 2
    python -m rectifid_eval score FOLDER --face-pack buffalo_l --clip clip-vit-large-patch14
    python -m rectifid_eval report FOLDER

docs/evaluation.md says how to prepare workflows, and what faces may be used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import EvaluationError
from .protocol import OUR_PROMPTS, Protocol, faces_in, read_prompts, read_protocol
from .results import DRAWN, Store, only_writer
from .servers import Local
from .workflows import Method, read_method


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    whole = argparse.ArgumentParser(
        prog="python -m rectifid_eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = whole.add_subparsers(dest="stage", required=True)
    draw = stages.add_parser("draw", help="draw the pictures")
    draw.add_argument("folder", type=Path, help="for pictures and results; the same one goes on")
    draw.add_argument("--faces", type=Path, required=True, help="a folder with one picture of each person")
    draw.add_argument("--people", type=int, default=200, help="the first of them (default: 200, as in the paper)")
    draw.add_argument("--prompts", type=Path, default=OUR_PROMPTS, help="a file, one in a line (default: our 20)")
    draw.add_argument("--seeds", type=int, default=1, help="pictures of each person and prompt (default: 1)")
    draw.add_argument("--methods", nargs="+", required=True, metavar="NAME=WORKFLOW.json", help="in the API form")
    draw.add_argument("--servers", default="", metavar="URL,URL", help="ComfyUIs that run already")
    draw.add_argument("--start", type=int, default=0, metavar="N", help="start so many, each on a GPU of its own")
    draw.add_argument("--comfyui", type=Path, help="the ComfyUI to start (default: COMFYUI_PATH)")
    draw.add_argument("--base", type=Path, help="its folder with models and custom_nodes (default: its own)")
    draw.add_argument("--tries", type=int, default=3, help="for a picture that fails (default: 3)")
    draw.add_argument("--seconds", type=float, default=1800, help="the most for a picture (default: 1800)")
    draw.add_argument("--failed", action="store_true", help="try those again that an earlier run gave up")
    score = stages.add_parser("score", help="score the pictures")
    score.add_argument("folder", type=Path)
    faces = score.add_mutually_exclusive_group()
    faces.add_argument("--face-pack", type=Path, help="identity by a face pack that guided none of the methods")
    faces.add_argument("--recogniser", type=Path, help="identity by an ONNX file that embeds whole pictures")
    score.add_argument("--clip", type=Path, help="likeness to the prompt by a CLIP folder of Hugging Face")
    score.add_argument("--dino", type=Path, help="likeness of a thing or animal by a DINO folder of Hugging Face")
    score.add_argument("--workers", type=int, default=0, help="processes (default: one for each GPU, or one)")
    for stage in (draw, score):
        stage.add_argument("--address", help='of a Ray cluster, such as "auto" (default: this machine alone)')
    stages.add_parser("report", help="write report.html and results.parquet").add_argument("folder", type=Path)
    return whole


def methods_of(words: Sequence[str]) -> list[Method]:
    """NAME=WORKFLOW.json, each with a name of its own."""
    methods: dict[str, Method] = {}
    for word in words:
        name, sign, path = word.partition("=")
        if not sign or not name or name in methods:
            raise EvaluationError(f"{word!r} is no method: write NAME=WORKFLOW.json, each with a name of its own")
        methods[name] = read_method(name, Path(path))
    return list(methods.values())


def places_of(arguments: argparse.Namespace) -> list[str | Local]:
    """The servers that are named, and those to be started."""
    places: list[str | Local] = [url.strip().rstrip("/") for url in arguments.servers.split(",") if url.strip()]
    if arguments.start:
        comfyui = arguments.comfyui or os.environ.get("COMFYUI_PATH")
        if not comfyui or not (Path(comfyui) / "main.py").is_file():
            raise EvaluationError(f"there is no main.py of ComfyUI in {comfyui}; name its folder by --comfyui")
        code = Path(comfyui).resolve()
        places += [Local(str(code), str((arguments.base or code).resolve()))] * arguments.start
    if not places:
        raise EvaluationError(
            "no server: name some that run by --servers http://host:8188, or have some started by --start 1"
        )
    return places


def draw(arguments: argparse.Namespace) -> None:
    """The first stage; each imports for itself what takes long."""
    from . import engine

    methods = methods_of(arguments.methods)
    faces = faces_in(arguments.faces, arguments.people)
    prompts, places = read_prompts(arguments.prompts), places_of(arguments)
    baselines = tuple(method.name for method in methods if method.baseline)
    digests = {method.name: method.digest for method in methods}
    protocol = Protocol(digests, faces, prompts, arguments.seeds, baselines)
    with only_writer(arguments.folder):
        protocol.save(arguments.folder)
        store = Store(arguments.folder / "drawn", DRAWN)
        kept, planned = store.rows(), protocol.rows()
        rows = [row for row in planned if row.key not in kept or (arguments.failed and kept[row.key]["error"])]
        print(f"{len(planned)} pictures, {len(planned) - len(rows)} of them done already", flush=True)
        for name in baselines:
            print(f"{name} has no node with the title reference: a baseline without a person", flush=True)
        if not rows:
            return
        with engine.cluster(arguments.address), engine.opened(places) as pool:
            slots = pool.slots(methods)
            by_name = {method.name: method for method in methods}
            drawing = engine.Drawing(by_name, slots, arguments.folder, store, arguments.tries, arguments.seconds)
            engine.draw(rows, pool, drawing, len(planned) - len(rows))


def score(arguments: argparse.Namespace) -> None:
    """The second stage."""
    from . import engine, scores

    wanted = {
        "face pack": arguments.face_pack,
        "recogniser": arguments.recogniser,
        "clip": arguments.clip,
        "dino": arguments.dino,
    }
    kinds = {kind: path.resolve() for kind, path in wanted.items() if path}
    if not kinds:
        raise EvaluationError("nothing to score by: name a --face-pack or --recogniser, --clip or --dino")
    protocol = read_protocol(arguments.folder)
    with only_writer(arguments.folder), engine.cluster(arguments.address):
        for kind, path in kinds.items():
            scores.score(arguments.folder, protocol, kind, path, arguments.workers)


def report(arguments: argparse.Namespace) -> None:
    """The third stage."""
    from .report import write

    print(write(arguments.folder, read_protocol(arguments.folder)))


def main() -> int:
    """Run one stage; 1, with a message, where it cannot."""
    arguments = parser().parse_args()
    try:
        {"draw": draw, "score": score, "report": report}[arguments.stage](arguments)
    except EvaluationError as error:
        print(f"The evaluation stopped: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
