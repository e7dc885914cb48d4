"""Lays the graphs of workflows/ out anew: columns in groups, room for every picture, and nothing over anything else.

Run as `python -m scripts.layout` after moving, adding or taking away nodes. Which column and which group a node is in
is read from where it lies; the order in a column, too. Nodes also get the names by which ComfyUI-Manager finds packs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable

from .environment import HOST_VERSION, ROOT
from .workflow import CORE, PACK, is_of_another_pack

WORKFLOWS = ROOT / "workflows"
OURS = {page.stem for page in (ROOT / "web" / "docs").glob("*.md")}
NOTE, NOTE_WIDTHS = "MarkdownNote", (360, 460, 560)
VIEW = 1440, 820  # what the editor fits a graph into, in a window of 1920 x 1080
AFTER_NOTES = 40  # to the first group
TITLE, BELOW = 30, 18  # of a node: above its position, and to the next one's title
WIDTH, BETWEEN_COLUMNS = 300, 30
SIDE, HEAD, BOTTOM, BETWEEN = 16, 40, 16, 22  # of a group around its nodes and their titles, and between groups
SOCKET, WIDGET, TEXT = 21, 29, 60  # heights, in the larger of both renderers
FRAME, BADGE = 18, 28  # around them, and the name of the pack below
SHOWN = {  # what a node shows beyond its widgets, once it has run
    "SaveImage": 225,
    "PreviewImage": 225,
    "LoadImage": 340,
    "AnchoredRectifiedSampler": 335,
    "SamplerCustomAdvanced": 335,
    "EncodeReferenceIdentity": 225,
    "CropAroundSubject": 225,
    "LoadIdentity": 180,
    "SaveIdentity": 60,
    "MeasureIdentity": 70,
    "FindSeed": 120,
    "PreviewAny": 110,
    "ImageBatch": 110,  # newer hosts' has a socket for each of any number of images
}


TITLES = {  # where the editor would widen a node for its own
    "EncodeReferenceIdentity": "Encode Reference Identity",
    "CropAroundSubject": "Crop Around Subject",
}

Shape = list[list[dict]]  # a group's nodes, column by column


def height(node: dict) -> int:
    """Of the node with all that it shows, without its title."""
    if node["type"] == NOTE:
        lines = [re.sub(r"\(http\S+\)", "", line) for line in node["widgets_values"][0].splitlines()]
        letters = node["size"][0] // 7  # in a line
        return 60 + sum(22 * (1 + len(line) // letters) if line else 14 for line in lines)
    sockets = sum("widget" not in socket for socket in node["inputs"])
    widgets = [socket for socket in node["inputs"] if "widget" in socket]
    texts = sum(widget["type"] == "STRING" and widget["name"] in ("text", "prompt", "prompts") for widget in widgets)
    if node["type"] in ("EncodeReferenceIdentity", "CropAroundSubject"):
        texts = 0  # its text is a line
    extra = 1 if any(widget["name"] in ("seed", "noise_seed") for widget in widgets) else 0
    rows = max(sockets, len(node["outputs"]))
    frame = FRAME + (BADGE if node["type"] in OURS or is_of_another_pack(node) else 0)
    return frame + SOCKET * rows + WIDGET * (len(widgets) + extra) + TEXT * texts + SHOWN.get(node["type"], 0)


def clusters(spans: Iterable[tuple[float, float, dict]]) -> list[list[dict]]:
    """What lies over one another in one direction, in its order; spans: (from, to, what)."""
    found: list[list[dict]] = []
    end = float("-inf")
    for low, high, what in sorted(spans, key=lambda span: span[:2]):
        if low >= end:
            found.append([])
        found[-1].append(what)
        end = max(end, high)
    return found


def in_order(nodes: list[dict]) -> list[dict]:
    """Nodes column by column from the left, each from the top."""
    spans = [(node["pos"][0], node["pos"][0] + node["size"][0], node) for node in nodes]
    return [node for column in clusters(spans) for node in sorted(column, key=lambda node: node["pos"][1])]


def room(column: list[dict]) -> float:
    """The height of nodes over one another."""
    return sum(height(node) + TITLE for node in column) + BELOW * (len(column) - 1)


def shapes(nodes: list[dict]) -> list[Shape]:
    """The nodes, in their order, in one column, in two and so on, each time as low as can be."""
    count = len(nodes)
    lowest: dict[int, Shape] = {}
    for limit in sorted({room(nodes[i:j]) for i in range(count) for j in range(i + 1, count + 1)}):
        filled = fill(nodes, limit)
        if max(map(room, filled)) <= limit:
            lowest.setdefault(len(filled), filled)
    return [lowest[columns] for columns in sorted(lowest)]


def fill(nodes: list[dict], limit: float) -> Shape:
    """Column after column until each is full."""
    found: Shape = [[]]
    for node in nodes:
        if found[-1] and room([*found[-1], node]) > limit:
            found.append([])
        found[-1].append(node)
    return found


def size_of(group: Shape) -> tuple[float, float]:
    """Width and height of a group with these columns."""
    width = len(group) * (WIDTH + BETWEEN_COLUMNS) - BETWEEN_COLUMNS + 2 * SIDE
    return width, HEAD + max(map(room, group)) + BOTTOM


def stack(groups: list[list[Shape]], tallest: float) -> list[Shape] | None:
    """Of the shapes of each group those that make a stack of them no taller than this and as narrow as can be."""
    for columns in range(1, max(len(shape) for shapes in groups for shape in shapes) + 1):
        if all(len(shapes[0]) <= columns for shapes in groups):
            lowest = [[shape for shape in shapes if len(shape) <= columns][-1] for shapes in groups]
            if sum(size_of(shape)[1] + BETWEEN for shape in lowest) - BETWEEN <= tallest:
                return lowest
    return None


def arrange(groups: list[list[Shape]], tallest: float) -> list[list[Shape]] | None:
    """Stacks of groups, in their order from the left, as narrow as can be where none is taller than this."""
    best: list[list[list[Shape]] | None] = [[]]
    for end in range(1, len(groups) + 1):
        ways = []
        for start in range(end):
            before, last = best[start], stack(groups[start:end], tallest)
            if before is not None and last is not None:
                ways.append([*before, last])
        best.append(min(ways, key=width_of, default=None))
    return best[-1]


def width_of(stacks: list[list[Shape]]) -> float:
    """Of stacks beside one another."""
    return sum(max(size_of(group)[0] for group in each) + BETWEEN for each in stacks)


def place_notes(graph: dict, width: int) -> float:
    """Puts the notes over one another at the left, this wide, and returns where they end."""
    bottom = 0
    for note in (node for node in graph["nodes"] if node["type"] == NOTE):
        note["size"] = [width, 0]
        note["pos"], note["size"] = [0, bottom], [width, height(note)]
        bottom += note["size"][1] + TITLE + BELOW
    return bottom


def lay_out(graph: dict) -> None:
    """Moves the graph's nodes and groups, and resizes them, so that the editor shows all of it as large as can be."""
    for node in graph["nodes"]:
        if node["type"] in TITLES:
            node.setdefault("title", TITLES[node["type"]])
    spans = [(group["bounding"][0], sum(group["bounding"][::2]), group) for group in graph["groups"]]
    order = [group for column in clusters(spans) for group in sorted(column, key=lambda group: group["bounding"][1])]
    groups = [shapes(in_order(_members(graph, group))) for group in order]

    best: tuple[float, int, list[list[Shape]]] | None = None
    for note_width in NOTE_WIDTHS:
        tall_note = place_notes(graph, note_width)
        for tallest in range(800, 2400, 20):
            if stacks := arrange(groups, tallest):
                width = note_width + AFTER_NOTES + width_of(stacks)
                smallness = max(width / VIEW[0], max(tallest, tall_note) / VIEW[1])
                if best is None or smallness < best[0]:
                    best = smallness, note_width, stacks
    assert best is not None
    _, note_width, stacks = best
    place_notes(graph, note_width)
    left, rest = note_width + AFTER_NOTES, iter(order)
    for each in stacks:
        top, width = -TITLE - HEAD, max(size_of(group)[0] for group in each)
        for group in each:
            next(rest)["bounding"] = [left, top, width, size_of(group)[1]]
            for i, column in enumerate(group):
                y = top + HEAD + TITLE
                for node in column:
                    node["pos"] = [left + SIDE + i * (WIDTH + BETWEEN_COLUMNS), y]
                    node["size"] = [WIDTH, height(node)]
                    y += height(node) + BELOW + TITLE
            top += size_of(group)[1] + BETWEEN
        left += width + BETWEEN
    graph["extra"].pop("ds", None)  # the view that the editor would restore; without it, it fits all into the window


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
    """Writes into each node which pack has it, and since which version; those of other packs say so already."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    for node in graph["nodes"]:
        if is_of_another_pack(node):
            continue
        ours = node["type"] in OURS
        own = {"cnr_id": PACK, "ver": version[1]} if ours else {"cnr_id": CORE, "ver": HOST_VERSION}
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
