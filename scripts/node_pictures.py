"""Pictures of the nodes for their help pages, as the editor draws them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from .editor import Editor
from .environment import ROOT

HELP = ROOT / "web" / "docs"
WIDTH = 270  # pixels, at least, of a node that stands alone: its title is to be read whole
ALONE = """([type, width]) => {
    const node = LiteGraph.createNode(type)
    app.graph.clear()
    app.graph.add(node)
    node.setSize([Math.max(node.size[0], width), node.size[1]])
}"""
AIM = """type => {
    const node = app.graph.nodes.find(node => node.type === type), {ds} = app.canvas
    ds.scale = 1
    ds.offset = [300 - node.pos[0], 200 - node.pos[1]]
    app.canvas.setDirty(true, true)
    const {x, y} = app.canvasEl.getBoundingClientRect(), [left, top, width, height] = node.getBounding(), margin = 20
    return {
        x: left + ds.offset[0] + x - margin, y: top + ds.offset[1] + y - margin,
        width: width + 2 * margin, height: height + 2 * margin,
    }
}"""


def draw_nodes(editor: Editor, ran: Path, templates: Iterable[Path]) -> None:
    """Writes `<node>.jpg` beside each help page.

    Out of the graph in the window, which is that of `ran` after its run; out of the first template that has the node;
    or alone.
    """
    missing = {page.stem for page in HELP.glob("*.md")}
    for template in [ran, *templates]:
        if template != ran:
            editor.load(template)
        graph = json.loads(template.read_text(encoding="utf-8"))
        for node in sorted(missing & {node["type"] for node in graph["nodes"]}):
            draw_node(editor, node)
            missing.remove(node)
    for node in sorted(missing):
        editor.page.evaluate(ALONE, [node, WIDTH])
        editor.settle()
        draw_node(editor, node)


def draw_node(editor: Editor, node: str) -> None:
    """Writes the picture of the graph's first node of this type."""
    box = editor.page.evaluate(AIM, node)
    editor.settle()
    picture = Image.open(io.BytesIO(editor.page.screenshot(clip=box))).convert("RGB")
    picture.save(HELP / f"{node}.jpg", quality=88)
