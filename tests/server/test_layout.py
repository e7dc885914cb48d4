"""Templates can be read: nothing covers anything, nothing lies outside its group; as drawn by `scripts.layout`."""

from __future__ import annotations

import copy
import json

import pytest

from scripts.environment import ROOT
from scripts.layout import NOTE, PACK, boxes_of, lay_out, name_packs, overlaps
from scripts.workflow import pack_of

GRAPHS = sorted((ROOT / "workflows").glob("*.json"))


@pytest.fixture(params=GRAPHS, ids=lambda path: path.stem)
def graph(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_it_is_as_the_script_draws_it(graph):
    again = copy.deepcopy(graph)
    lay_out(again)
    name_packs(again)
    assert again == graph, "run `python -m scripts.layout`"


def test_nothing_covers_anything(graph):
    assert overlaps(boxes_of(graph)) == []
    groups = {group["title"]: group["bounding"] for group in graph["groups"]}
    assert overlaps({title: (x, y, x + width, y + height) for title, (x, y, width, height) in groups.items()}) == []


def test_every_node_but_the_note_lies_in_a_group(graph):
    groups = [(x, y, x + width, y + height) for x, y, width, height in (each["bounding"] for each in graph["groups"])]
    boxes = boxes_of(graph)
    for node in graph["nodes"]:
        left, top, right, bottom = boxes[str(node["id"])]
        inside = [g for g in groups if g[0] <= left and g[1] <= top and right <= g[2] and bottom <= g[3]]
        assert len(inside) == (node["type"] != NOTE), node["type"]


def test_the_manager_can_tell_where_each_node_comes_from(graph, object_info):
    for node in graph["nodes"]:
        info = object_info.get(node["type"], {"python_module": "nodes"})  # notes are the editor's own
        ours = info["python_module"] == "custom_nodes.rectifid"
        assert (pack_of(node) == PACK) == ours and node["properties"]["ver"]


def test_a_box_over_another_is_seen():
    boxes = {"a": (0, 0, 10, 10), "b": (9, 9, 20, 20), "c": (10, 0, 20, 9)}
    assert overlaps(boxes) == [("a", "b")]
