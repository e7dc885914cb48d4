"""Makes the pictures of the README and of the template browser again, from the real editor and a real server.

Run as `.venv/bin/python -m scripts.pictures`, after `run.py` has set everything up.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageOps

from .comfy_server import ComfyServer, serving
from .demo import WORKFLOW, judge, lay_out, pictures_of, quickstart_prompt
from .editor import Editor, editing, find_chromium
from .environment import BASE, ROOT, link_pack
from .workflow import to_prompt

WORKFLOWS = WORKFLOW.parent
SAVE_AND_REUSE = WORKFLOWS / "save_and_reuse_identity.json"
# Of these no picture can be shown that their models made: those are too large for the machine that this is run on.
DRAWN = [WORKFLOWS / "face_identity.json", WORKFLOWS / "subject_identity.json"]
CHECKPOINT = "flux1-schnell-fp8.safetensors"


def thumbnail(guided: Image.Image, references: list[Image.Image]) -> Image.Image:
    """The guided picture, with the references along its left edge."""
    guided = guided.resize((512, 512), Image.Resampling.LANCZOS)
    side = 160 if len(references) == 1 else 96
    for row, reference in enumerate(references):
        reference = reference.resize((side, side), Image.Resampling.LANCZOS)
        guided.paste(ImageOps.expand(reference, 4, "white"), (8, 8 + (side + 16) * row))
    return guided


def graph_thumbnail(editor: Editor, workflow: Path) -> Image.Image:
    """The graph itself, without the note and the editor around it."""
    editor.load(workflow)
    screen = Image.open(io.BytesIO(editor.page.screenshot())).convert("RGB")
    return ImageOps.contain(screen.crop(editor.place_of_groups()), (768, 768), Image.Resampling.LANCZOS)


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


def main() -> int:
    if (chromium := find_chromium()) is None:
        print("This needs a Chromium; install one, or name it by CHROMIUM_PATH.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        link_pack(base / "custom_nodes" / "rectifid")
        (base / "models" / "checkpoints").mkdir(parents=True)
        (base / "models" / "checkpoints" / CHECKPOINT).touch()  # or the editor would offer to download it
        (base / "input").mkdir()
        shutil.copy(Path(os.environ.get("COMFYUI_PATH", BASE)) / "input" / "example.png", base / "input")
        with serving(base, base / "output") as server:
            with editing(chromium) as editor:
                editor.open(server)
                for workflow in DRAWN:
                    graph_thumbnail(editor, workflow).save(workflow.with_suffix(".jpg"), quality=90)
                editor.load(WORKFLOW)
                editor.run(seconds=600)
                editor.screenshot(ROOT / "docs" / "quickstart_editor.png")
            pictures = pictures_of(server, server.run(quickstart_prompt(server)))  # out of the server's cache
            thumbnail(*save_and_reuse(server)).save(SAVE_AND_REUSE.with_suffix(".jpg"), quality=90)
    lay_out(pictures, judge(pictures)).save(ROOT / "docs" / "quickstart.png")
    thumbnail(pictures["guided"], [pictures["reference"]]).save(WORKFLOW.with_suffix(".jpg"), quality=90)
    return 0


if __name__ == "__main__":
    sys.exit(main())
