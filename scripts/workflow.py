"""From the graph that the editor saves (workflows/*.json) to the prompt that the server runs.

The editor does this in the browser.  It keeps a node's widgets as a bare list, in the order of the node's inputs, so
that the server's own description of the node (/object_info) is needed to name them.
"""

from __future__ import annotations

NOTES = {"Note", "MarkdownNote"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SEEDS = {"seed", "noise_seed"}
NEVER = 2  # the mode of a muted node
PACK, CORE = "rectifid", "comfy-core"  # by these names ComfyUI-Manager finds where nodes come from


class WorkflowError(Exception):
    """The graph cannot be run on this server; says why, and what to do."""


def to_prompt(graph: dict, object_info: dict[str, dict]) -> dict[str, dict]:
    """The API prompt of an editor graph: node id -> {"class_type", "inputs"}; muted nodes take no part."""
    nodes = {node["id"]: node for node in graph["nodes"] if node.get("mode") != NEVER}
    links = {link[0]: (link[1], link[2]) for link in graph["links"]}  # id -> (node, output slot) that it starts at
    prompt = {}
    for node in nodes.values():
        if node["type"] in NOTES or node["type"] == "Reroute":
            continue
        if node["type"] not in object_info:
            raise WorkflowError(f"This ComfyUI has no node {node['type']}; is the pack that brings it installed?")
        inputs = dict(name_widgets(node, object_info[node["type"]]))
        for socket in node.get("inputs", []):
            if socket.get("link") is not None and links[socket["link"]][0] in nodes:
                inputs[socket["name"]] = source(socket["link"], links, nodes)
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def is_of_another_pack(node: dict) -> bool:
    """Whether a graph's node comes from neither this pack nor ComfyUI itself."""
    return pack_of(node) not in (PACK, CORE)


def other_packs(graph: dict) -> set[str]:
    """The packs that the graph's nodes come from, beside this one and ComfyUI itself; empty where it needs no other."""
    return {pack_of(node) for node in graph["nodes"] if is_of_another_pack(node)}


def pack_of(node: dict) -> str:
    """The pack that a graph's node comes from: its name in the registry, or else its owner and repository on GitHub."""
    properties = node.get("properties", {})
    return properties.get("cnr_id") or properties.get("aux_id") or CORE


def model_files(graph: dict) -> list[tuple[str, str]]:
    """The model files that the graph's loaders name, as (folder in models/, file)."""
    entries = (node.get("properties", {}).get("models", []) for node in graph["nodes"])
    return [(entry["directory"], entry["name"]) for models in entries for entry in models]


def name_widgets(node: dict, info: dict) -> list[tuple[str, object]]:
    """The node's widgets as (name, value), out of the bare list of values."""
    values = iter(node.get("widgets_values") or [])
    named = []
    for kind in ("required", "optional"):
        for name, (type_, *rest) in info["input"].get(kind, {}).items():
            options = rest[0] if rest else {}
            if not (isinstance(type_, list) or type_ in WIDGETS) or options.get("forceInput"):
                continue  # a socket only
            try:
                named.append((name, next(values)))
            except StopIteration:
                raise WorkflowError(
                    f"The graph's {node['type']} has no value for {name}: it was saved by another version of the pack."
                ) from None
            if options.get("control_after_generate") or (type_ == "INT" and name in SEEDS):
                next(values)  # "fixed", "randomize" ...: the editor's own, beside each seed
    return named


def source(link: int, links: dict[int, tuple[int, int]], nodes: dict[int, dict]) -> list:
    """Where a link comes from, as the prompt wants it, looking through reroutes."""
    node, slot = links[link]
    while nodes[node]["type"] == "Reroute":
        node, slot = links[nodes[node]["inputs"][0]["link"]]
    return [str(node), slot]
