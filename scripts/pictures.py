"""Makes the pictures of README, templates and help pages again, from the real editor and a real server.

Run as `.venv/bin/python -m scripts.pictures`, after `run.py` has set everything up.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .cards import card
from .comfy_server import ComfyServer, serving
from .demo import WORKFLOW, judge, lay_out, pictures_of, quickstart_prompt
from .editor import editing, find_chromium
from .environment import BASE, ROOT, link_pack
from .node_pictures import draw_nodes
from .workflow import model_files, other_packs, to_prompt

WORKFLOWS = WORKFLOW.parent
CUSTOM_SAMPLING = WORKFLOWS / "12 Custom sampling.json"
SAVE_AND_REUSE = WORKFLOWS / "11 Remember a person.json"
TEMPLATES = sorted(WORKFLOWS.glob("*.json"))
# What is too large for the machine that this is run on gets a card; what runs on the embedded model shows its pictures.
EMBEDDED = [path for path in TEMPLATES if "LoadDemoModel" in path.read_text(encoding="utf-8")]
CARDS = [path for path in TEMPLATES if path not in EMBEDDED]
DEMONSTRATIONS = [path for path in EMBEDDED if path not in (WORKFLOW, CUSTOM_SAMPLING, SAVE_AND_REUSE)]

SHOWN = [  # of these, on the README's page, row by row
    {"04 Two people in one picture": "Two people, each under a mask"},
    {"05 Inpaint a face": "Only the face drawn anew", "07 A prompt for each half": "A prompt for each half"},
    {"06 Image to image": "From a picture, which keeps its composition"},
]


def thumbnail(guided: Image.Image, references: list[Image.Image]) -> Image.Image:
    """The guided picture, and beside it the references."""
    width, side, gap = 512 * guided.width // guided.height, 164, 10
    page = Image.new("RGB", (side + gap + width, 512), "#20232a")
    for row, reference in enumerate(references[:3]):
        page.paste(reference.resize((side, side), Image.Resampling.LANCZOS), (0, (side + gap) * row))
    page.paste(guided.resize((width, 512), Image.Resampling.LANCZOS), (side + gap, 0))
    return page


def save_and_reuse(server: ComfyServer) -> tuple[Image.Image, list[Image.Image]]:
    """Both halves of that workflow, the first before the second: the picture, and the references."""
    graph = json.loads(SAVE_AND_REUSE.read_text(encoding="utf-8"))
    server.run(to_prompt(graph, server.object_info()))
    for node in graph["nodes"]:
        node["mode"] = 0
    prompt = to_prompt(graph, server.object_info())
    drawn = [node for node, entry in prompt.items() if entry["class_type"] == "DrawDemoPortrait"]
    for node in drawn:  # to see them
        prompt[f"{node} shown"] = {"class_type": "PreviewImage", "inputs": {"images": [node, 0]}}
    (sampler,) = (node for node, entry in prompt.items() if entry["class_type"] == "AnchoredRectifiedSampler")
    prompt["picture"] = {"class_type": "PreviewImage", "inputs": {"images": [sampler, 1]}}
    outputs = server.run(prompt)

    def shown(node: str) -> Image.Image:
        return Image.open(io.BytesIO(server.image(outputs[node]["images"][0]))).convert("RGB")

    return shown("picture"), [shown(f"{node} shown") for node in drawn]


def demonstrate(server: ComfyServer, workflow: Path) -> dict[str, list[Image.Image]]:
    """What a workflow on the embedded model draws, by the names under which it saves it."""
    outputs = server.run(to_prompt(json.loads(workflow.read_text(encoding="utf-8")), server.object_info()))
    drawn: dict[str, list[Image.Image]] = {}
    for output in outputs.values():
        for entry in output.get("images", []):
            if entry["type"] == "output":
                picture = Image.open(io.BytesIO(server.image(entry))).convert("RGB")
                drawn.setdefault(entry["filename"].split("_")[0], []).append(picture)
    return drawn


def demonstration(drawn: dict[str, list[Image.Image]]) -> Image.Image:
    """The guided pictures, and beside them the pictures that went in; of a row of people, the one before above it."""
    guided = drawn["guided"]
    if guided[0].width > 2 * guided[0].height:
        both = [*drawn["before"], *guided]
        page = Image.new("RGB", (guided[0].width, sum(picture.height for picture in both)))
        for row, picture in enumerate(both):
            page.paste(picture, (0, row * picture.height))
        return thumbnail(page, drawn["reference"])
    columns = math.isqrt(len(guided))
    height = 512 // columns
    width = height * guided[0].width // guided[0].height
    page = Image.new("RGB", (columns * width, columns * height))
    for i, picture in enumerate(guided[: columns**2]):
        row, column = divmod(i, columns)
        page.paste(picture.resize((width, height), Image.Resampling.LANCZOS), (column * width, row * height))
    return thumbnail(page, drawn["reference"] + drawn.get("before", []))


def composition_grid(drawn: dict[str, dict[str, list[Image.Image]]]) -> Image.Image:
    """For each of the workflows in `SHOWN`, row by row: what went in, the unguided picture, and the guided one."""
    side, head, gap = 224, 64, 12
    page = Image.new("RGB", (7 * (side + gap) + 4 * gap, len(SHOWN) * (side + head)), "white")
    pen, large, small = ImageDraw.Draw(page), ImageFont.load_default(24), ImageFont.load_default(17)
    for row, titles in enumerate(SHOWN):
        left, top = gap, row * (side + head)
        for name, title in titles.items():
            pen.text((left, top + 4), title, fill="black", font=large)
            for kind in ("reference", "before", "unguided", "guided"):
                for picture in drawn[name].get(kind, []):
                    width = side * picture.width // picture.height
                    pen.text((left, top + 38), kind, fill="gray", font=small)
                    page.paste(picture.resize((width, side), Image.Resampling.LANCZOS), (left, top + head))
                    left += width + gap
            left += 2 * gap
    return page


def main() -> int:
    """Make every picture anew."""
    if (chromium := find_chromium()) is None:
        print("This needs a Chromium; install one, or name it by CHROMIUM_PATH.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        link_pack(base / "custom_nodes" / "rectifid")
        for workflow in TEMPLATES:
            for directory, file in model_files(json.loads(workflow.read_text(encoding="utf-8"))):
                (base / "models" / directory).mkdir(parents=True, exist_ok=True)
                (base / "models" / directory / file).touch()  # or the editor would offer to download it
        (base / "input").mkdir()
        shutil.copy(Path(os.environ.get("COMFYUI_PATH", BASE)) / "input" / "example.png", base / "input")
        with serving(base, base / "output") as server:
            with editing(chromium) as editor:
                editor.open(server)
                editor.load(WORKFLOW)
                editor.run(seconds=600)
                editor.screenshot(ROOT / "docs" / "quickstart_editor.png")
                opened = [path for path in TEMPLATES if not other_packs(json.loads(path.read_text(encoding="utf-8")))]
                draw_nodes(editor, WORKFLOW, opened)
            pictures = pictures_of(server, server.run(quickstart_prompt(server)))  # out of the server's cache
            graph = json.loads(CUSTOM_SAMPLING.read_text(encoding="utf-8"))
            custom = pictures_of(server, server.run(to_prompt(graph, server.object_info())))
            thumbnail(*save_and_reuse(server)).save(SAVE_AND_REUSE.with_suffix(".jpg"), quality=90)
            demonstrated = {workflow.stem: demonstrate(server, workflow) for workflow in DEMONSTRATIONS}
    for workflow in DEMONSTRATIONS:
        demonstration(demonstrated[workflow.stem]).save(workflow.with_suffix(".jpg"), quality=90)
    composition_grid(demonstrated).save(ROOT / "docs" / "compositions.png")
    lay_out(pictures, judge(pictures)).save(ROOT / "docs" / "quickstart.png")
    for workflow, drawn in ((WORKFLOW, pictures), (CUSTOM_SAMPLING, custom)):
        thumbnail(drawn["guided"], [drawn["reference"]]).save(workflow.with_suffix(".jpg"), quality=90)
    for workflow in CARDS:
        graph = json.loads(workflow.read_text(encoding="utf-8"))
        card(graph, int(workflow.stem[:2])).save(workflow.with_suffix(".jpg"), quality=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
