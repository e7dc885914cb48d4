"""From the editor's graph to the server's prompt."""

from __future__ import annotations

import json

import pytest

from scripts.environment import ROOT
from scripts.workflow import WorkflowError, to_prompt

OBJECT_INFO = {
    "Source": {"input": {"required": {"seed": ["INT", {"control_after_generate": True}], "kind": [["a", "b"], {}]}}},
    "Sink": {
        "input": {
            "required": {"images": ["IMAGE", {}], "rule": ["COMBO", {"options": ["x"]}]},
            "optional": {"strength": ["FLOAT", {"forceInput": True}], "text": ["STRING"]},
        }
    },
}


def graph(*nodes, links=()):
    return {"nodes": list(nodes), "links": list(links)}


SOURCE = {"id": 1, "type": "Source", "widgets_values": [5, "randomize", "b"]}
SINK = {"id": 2, "type": "Sink", "inputs": [{"name": "images", "link": 9}], "widgets_values": ["x", "words"]}


def test_widgets_get_their_names_and_links_their_sources():
    prompt = to_prompt(graph(SOURCE, SINK, links=[[9, 1, 0, 2, 0, "IMAGE"]]), OBJECT_INFO)
    assert prompt == {
        "1": {"class_type": "Source", "inputs": {"seed": 5, "kind": "b"}},
        "2": {"class_type": "Sink", "inputs": {"images": ["1", 0], "rule": "x", "text": "words"}},
    }


def test_notes_are_skipped_and_reroutes_looked_through():
    note = {"id": 3, "type": "MarkdownNote", "widgets_values": ["# Hello"]}
    reroute = {"id": 4, "type": "Reroute", "inputs": [{"name": "", "link": 8}]}
    links = [[8, 1, 0, 4, 0, "IMAGE"], [9, 4, 0, 2, 0, "IMAGE"]]
    prompt = to_prompt(graph(SOURCE, SINK, note, reroute, links=links), OBJECT_INFO)
    assert set(prompt) == {"1", "2"}
    assert prompt["2"]["inputs"]["images"] == ["1", 0]


def test_a_muted_node_and_the_links_from_it_are_left_out():
    prompt = to_prompt(graph(SOURCE | {"mode": 2}, SINK, links=[[9, 1, 0, 2, 0, "IMAGE"]]), OBJECT_INFO)
    assert prompt == {"2": {"class_type": "Sink", "inputs": {"rule": "x", "text": "words"}}}


def test_a_link_to_a_widget_replaces_its_value():
    linked = SINK | {"inputs": [{"name": "text", "widget": {"name": "text"}, "link": 9}]}
    prompt = to_prompt(graph(SOURCE, linked, links=[[9, 1, 0, 2, 0, "STRING"]]), OBJECT_INFO)
    assert prompt["2"]["inputs"] == {"rule": "x", "text": ["1", 0]}


def test_an_unknown_node_is_named():
    with pytest.raises(WorkflowError, match="Elsewhere"):
        to_prompt(graph({"id": 1, "type": "Elsewhere"}), OBJECT_INFO)


def test_a_missing_value_is_named():
    with pytest.raises(WorkflowError, match="Source.*kind"):
        to_prompt(graph(SOURCE | {"widgets_values": [5, "fixed"]}), OBJECT_INFO)


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_the_links_of_each_saved_graph_are_consistent(path):
    saved = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in saved["nodes"]}
    assert any(node["type"] == "MarkdownNote" for node in nodes.values()), "a note tells a newcomer what this is"
    for link, start, output, end, input_, _ in saved["links"]:
        assert link in nodes[start]["outputs"][output]["links"]
        assert nodes[end]["inputs"][input_]["link"] == link
