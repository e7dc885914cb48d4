"""Lays the graphs of workflows/ out anew: columns in groups, room for every picture, and nothing over anything else.

Run as `python -m scripts.layout` after moving, adding or taking away nodes. Which column and which group a node is in
is read from where it lies; the order in a column, too. Nodes also get the names by which ComfyUI-Manager finds packs.
"""

from __future__ import annotations

import json
import re
import sys

from .environment import HOST_VERSION, ROOT

WORKFLOWS = ROOT / "workflows"
OURS = {page.stem for page in (ROOT / "web" / "docs").glob("*.md")}
PACK = "rectifid"
NOTE, NOTE_WIDTH = "MarkdownNote", 460
TITLE, BELOW = 30, 26  # of a node: above its position, and to the next one's title
SIDE, TOP, BOTTOM, BETWEEN = 20, 75, 24, 30  # of a group around its nodes, and between groups
TALLEST, TALL = 1050, 1600  # of a column, and of groups over one another
SOCKET, WIDGET, TEXT = 21, 29, 60  # heights, in the larger of both renderers
FRAME, BADGE = 18, 28  # around them, and the name of the pack below
SHOWN = {  # what a node shows beyond its widgets, once it has run
    "SaveImage": 200,
    "PreviewImage": 200,
    "LoadImage": 340,
    "AnchoredRectifiedSampler": 335,
    "SamplerCustomAdvanced": 335,
    "EncodeReferenceIdentity": 225,
    "LoadIdentity": 180,
    "SaveIdentity": 60,
    "MeasureIdentity": 70,
    "FindSeed": 120,
    "PreviewAny": 110,
}


def height(node: dict) -> int:
    """Of the node with all that it shows, without its title."""
    if node["type"] == NOTE:
        lines = node["widgets_values"][0].splitlines()
        return 60 + sum(24 * (1 + len(re.sub(r"\(http\S+\)", "", line)) // 58) for line in lines)
    sockets = sum("widget" not in socket for socket in node["inputs"])
    widgets = [socket for socket in node["inputs"] if "widget" in socket]
    texts = sum(widget["type"] == "STRING" and widget["name"] in ("text", "prompt", "prompts") for widget in widgets)
    if node["type"] == "EncodeReferenceIdentity":
        texts = 0  # its text is a line
    extra = 1 if any(widget["name"] in ("seed", "noise_seed") for widget in widgets) else 0
    rows = max(sockets, len(node["outputs"]))
    frame = FRAME + (BADGE if node["type"] in OURS else 0)
    return frame + SOCKET * rows + WIDGET * (len(widgets) + extra) + TEXT * texts + SHOWN.get(node["type"], 0)


def clusters(spans: list[tuple[float, float, dict]]) -> list[list[dict]]:
    """What lies over one another in one direction, in its order; spans: (from, to, what)."""
    found: list[list[dict]] = []
    end = float("-inf")
    for low, high, what in sorted(spans, key=lambda span: span[:2]):
        if low >= end:
            found.append([])
        found[-1].append(what)
        end = max(end, high)
    return found


def columns(nodes: list[dict]) -> list[list[dict]]:
    """Nodes by columns from the left, each from the top."""
    spans = [(node["pos"][0], node["pos"][0] + node["size"][0], node) for node in nodes]
    whole = [sorted(column, key=lambda node: (node["pos"][1], node["pos"][0])) for column in clusters(spans)]
    return [part for column in whole for part in halves(column)]


def halves(column: list[dict]) -> list[list[dict]]:
    """The column, or two or more of about the same height where it is too tall."""
    heights = [height(node) + TITLE + BELOW for node in column]
    parts = min(len(column), -(-sum(heights) // TALLEST))
    found: list[list[dict]] = [[] for _ in range(parts)]
    above = 0
    for node, own in zip(column, heights, strict=True):
        found[min(parts - 1, int((above + own / 2) * parts / sum(heights)))].append(node)
        above += own
    return [part for part in found if part]


def place(nodes: list[dict], left: float, top: float) -> tuple[float, float]:
    """Lays the nodes of a group out from this corner of the group, and returns the group's size."""
    bottom, x = top, left + SIDE
    for column in columns(nodes):
        width = max(max(node["size"][0] for node in column), 260)
        y = top + TOP
        for node in column:
            node["pos"], node["size"] = [x, y], [width, height(node)]
            y += node["size"][1] + TITLE + BELOW
        bottom = max(bottom, y - TITLE - BELOW)
        x += width + 2 * SIDE
    return x - SIDE - left, bottom + BOTTOM - top


def lay_out(graph: dict) -> None:
    """Moves the graph's nodes and groups, and resizes them."""
    notes = [node for node in graph["nodes"] if node["type"] == NOTE]
    y = 0
    for note in notes:
        note["pos"], note["size"] = [0, y], [NOTE_WIDTH, height(note)]
        y += note["size"][1] + TITLE + BELOW
    left: float = NOTE_WIDTH + 40
    spans = [(group["bounding"][0], sum(group["bounding"][::2]), group) for group in graph["groups"]]
    members = {id(group): _members(graph, group) for group in graph["groups"]}
    for column in clusters(spans):
        top, widest = float(-TOP), 0.0
        column.sort(key=lambda group: group["bounding"][1])
        stacked: list[dict] = []
        for group in column:
            size = place(members[id(group)], left, top)
            if stacked and top + size[1] > TALL:  # beside the others instead
                left += widest + BETWEEN
                top, widest, stacked = float(-TOP), 0.0, []
                size = place(members[id(group)], left, top)
            stacked.append(group)
            widest = max(widest, size[0])
            group["bounding"] = [left, top, *size]
            for each in stacked:
                each["bounding"][2] = widest
            top += size[1] + BETWEEN
        left += widest + BETWEEN


def _members(graph: dict, group: dict) -> list[dict]:
    left, top, width, tall = group["bounding"]
    return [
        node
        for node in graph["nodes"]
        if node["type"] != NOTE
        and left <= node["pos"][0] + node["size"][0] / 2 <= left + width
        and top <= node["pos"][1] <= top + tall
    ]


def name_packs(graph: dict) -> None:
    """Writes into each node which pack has it, and since which version."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    for node in graph["nodes"]:
        ours = node["type"] in OURS
        own = {"cnr_id": PACK, "ver": version[1]} if ours else {"cnr_id": "comfy-core", "ver": HOST_VERSION}
        node["properties"] = {**own, **{k: v for k, v in node["properties"].items() if k not in own}}


def overlaps(boxes: dict[str, tuple[float, float, float, float]]) -> list[tuple[str, str]]:
    """Which of the boxes, (left, top, right, bottom) by name, cover a part of another."""
    names = list(boxes)
    return [
        (one, other)
        for i, one in enumerate(names)
        for other in names[i + 1 :]
        if all(boxes[one][k] < boxes[other][k + 2] and boxes[other][k] < boxes[one][k + 2] for k in (0, 1))
    ]


def boxes_of(graph: dict) -> dict[str, tuple[float, float, float, float]]:
    """Each node with its title, by its id."""
    return {
        str(node["id"]): (
            node["pos"][0],
            node["pos"][1] - TITLE,
            node["pos"][0] + node["size"][0],
            node["pos"][1] + node["size"][1],
        )
        for node in graph["nodes"]
    }


def main() -> int:
    """Lay out every workflow."""
    for path in sorted(WORKFLOWS.glob("*.json")):
        graph = json.loads(path.read_text(encoding="utf-8"))
        lay_out(graph)
        name_packs(graph)
        path.write_text(json.dumps(graph, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
