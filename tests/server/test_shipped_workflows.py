"""Every graph in workflows/ against what the server says of its nodes."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from scripts.environment import ROOT
from scripts.workflow import NEVER, NOTES, SEEDS, WIDGETS, is_of_another_pack, name_widgets, other_packs

GRAPHS = sorted((ROOT / "workflows").glob("*.json"))


@pytest.fixture(params=GRAPHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def graph(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def nodes(graph):
    """The graph's nodes but for the notes and those of other packs, which are in none of this server's folders."""
    return [node for node in graph["nodes"] if node["type"] not in NOTES and not is_of_another_pack(node)]


def specifications(info: dict) -> dict[str, tuple]:
    """Each input of a node: name -> (type, options)."""
    inputs = info["input"].get("required", {}) | info["input"].get("optional", {})
    return {name: (kind, rest[0] if rest else {}) for name, (kind, *rest) in inputs.items()}


def is_ours(info: dict) -> bool:
    return info["python_module"] == "custom_nodes.rectifid"


def is_widget(kind, options) -> bool:
    return (isinstance(kind, list) or kind in WIDGETS) and not options.get("forceInput")


def options_of(kind, options) -> list | None:
    """What a combo offers; None for another input."""
    return kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None


def test_it_has_a_note_with_a_title(graph):
    (note,) = (node for node in graph["nodes"] if node["type"] == "MarkdownNote")
    assert note["title"] == "Read me" and note["widgets_values"][0].startswith("# ")


def test_its_note_names_the_folder_and_address_of_each_file(graph):
    """Each loader's files have an address, stand in its widgets, and are named in the note with their folder."""
    (note,) = (node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote")
    for node in graph["nodes"]:
        files = node.get("properties", {}).get("models", [])
        named = [value for value in node["widgets_values"] if str(value).endswith(".safetensors")]
        assert [file["name"] for file in files] == (named if "Loader" in node["type"] else [])
        for file in files:
            address = re.fullmatch(r"(https://huggingface\.co/[^/]+/[^/]+)/resolve/main/\S+\.safetensors", file["url"])
            assert f"({address[1]}" in note
            assert file["name"] in note and f"models/{file['directory']}" in note


def test_its_note_names_the_packs_that_it_needs(graph):
    (note,) = (node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote")
    assert all(f"`{pack}`" in note for pack in other_packs(graph))


def test_it_has_a_thumbnail(path):
    with Image.open(path.with_suffix(".jpg")) as thumbnail:
        assert thumbnail.format == "JPEG"
        assert min(thumbnail.size) >= 256


def test_its_nodes_have_the_sockets_of_the_server(nodes, object_info):
    for node in nodes:
        info = object_info[node["type"]]
        known = specifications(info)
        sockets = {socket["name"]: socket for socket in node["inputs"]}
        for name, (kind, options) in known.items():
            assert name in sockets, f"{node['type']} has lost its input {name}"
            assert ("widget" in sockets[name]) == is_widget(kind, options)
        own = {name for name in sockets if name != "upload"}  # the editor's button of Load Image
        assert own == set(known), f"{node['type']} has no such inputs"
        outputs = len(info["output"]) if is_ours(info) else len(node["outputs"])  # newer hosts give their nodes more
        assert [output["name"] for output in node["outputs"]] == info["output_name"][:outputs]
        assert [output["type"] for output in node["outputs"]] == info["output"][:outputs]


def test_its_links_fit(graph, object_info):
    """Where a node of another pack is at one end, by what the graph says of its sockets."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    for _, start, output, end, input_, kind in graph["links"]:
        first, last = nodes[start], nodes[end]
        elsewhere = [is_of_another_pack(node) for node in (first, last)]
        given = first["outputs"][output]["type"] if elsewhere[0] else object_info[first["type"]]["output"][output]
        socket = last["inputs"][input_]
        name = socket["name"]
        taken = socket["type"] if elsewhere[1] else specifications(object_info[last["type"]])[name][0]
        assert given == kind
        assert taken == "*" or given in taken.split(","), f"{nodes[end]['type']}.{name} takes no {given}"


def test_its_required_sockets_are_connected(nodes, object_info):
    for node in nodes:
        required = object_info[node["type"]]["input"].get("required", {})
        open_ = [s["name"] for s in node["inputs"] if "widget" not in s and s["link"] is None and s["name"] in required]
        assert not open_, f"{node['type']} lacks {open_}"


def test_its_widgets_have_values_that_the_server_takes(nodes, object_info):
    for node in nodes:
        known = specifications(object_info[node["type"]])
        widgets = dict(name_widgets(node, object_info[node["type"]]))
        # The editor keeps a value of its own beside each seed and each button.
        beside = [
            name
            for name in widgets
            if name in SEEDS or known[name][1].get("control_after_generate") or known[name][1].get("image_upload")
        ]
        assert len(node["widgets_values"]) == len(widgets) + len(beside)
        for name, value in widgets.items():
            kind, options = known[name]
            choices = options_of(kind, options)
            if choices is not None and node.get("mode") != NEVER:  # a muted node's file may not be there yet
                assert value in choices, f"{node['type']}.{name} offers no {value!r} but {choices}"
            elif kind in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"]
