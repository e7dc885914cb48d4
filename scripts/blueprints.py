"""Writes subgraphs/*.json: graphs in one node, which the editor's library offers under the pack's name.

Run as `.venv/bin/python -m scripts.blueprints`, after `run.py` has set everything up: a server is asked for the nodes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .comfy_server import serving
from .environment import ROOT, link_pack
from .workflow import SEEDS, WIDGETS

FOLDER = ROOT / "subgraphs"
NAMESPACE = uuid.UUID("5a0f8f4e-6c57-4a5d-9f0e-7c3b5be3a001")
WIDTH, COLUMN, GAP = 320, 380, 60
INPUTS, OUTPUTS = -10, -20  # the ids of a subgraph's own two nodes


@dataclass(frozen=True)
class Outside:
    """An input of the whole, by its label there."""

    label: str


@dataclass(frozen=True)
class From:
    """An output of another node of the subgraph."""

    node: str
    slot: int = 0


CONDITIONING = {
    "prompt": ("CLIPTextEncode", 0, {"clip": Outside("clip"), "text": Outside("prompt")}),
    "nothing": ("ConditioningZeroOut", 1, {"conditioning": From("prompt")}),
    "size": (
        "EmptySD3LatentImage",
        1,
        {"width": Outside("width"), "height": Outside("height"), "batch_size": 1},
    ),
}
SAMPLER = {
    "model": Outside("model"),
    "positive": From("prompt"),
    "negative": From("nothing"),
    "latent_image": From("size"),
    "vae": Outside("vae"),
    **{name: Outside(name) for name in ("seed", "steps", "cfg", "iterations", "guidance_scale", "settings")},
}
CHECKPOINT = {"model": From("checkpoint"), "vae": From("checkpoint", 2)}
BLUEPRINTS: dict[str, dict[str, tuple[str, int, dict[str, Any]]]] = {
    "Identity KSampler": {
        **CONDITIONING,
        "identity": (
            "EncodeReferenceIdentity",
            1,
            {"discriminator": Outside("discriminator"), "images": Outside("reference")},
        ),
        "sampler": ("AnchoredRectifiedSampler", 2, {**SAMPLER, "guidance": From("identity")}),
    },
    "Face from a Photo (instead of PuLID or a face swap)": {
        "checkpoint": ("CheckpointLoaderSimple", 0, {"ckpt_name": Outside("checkpoint")}),
        **CONDITIONING,
        "prompt": ("CLIPTextEncode", 1, {"clip": From("checkpoint", 1), "text": Outside("prompt")}),
        "faces": ("LoadFaceDiscriminator", 0, {"pack": Outside("face pack")}),
        "identity": ("EncodeReferenceIdentity", 1, {"discriminator": From("faces"), "images": Outside("photo")}),
        "sampler": ("AnchoredRectifiedSampler", 2, {**SAMPLER, **CHECKPOINT, "guidance": From("identity")}),
    },
    "Two People": {
        **CONDITIONING,
        "first": (
            "EncodeReferenceIdentity",
            0,
            {"discriminator": Outside("discriminator"), "images": Outside("first person")},
        ),
        "second": (
            "EncodeReferenceIdentity",
            0,
            {"discriminator": Outside("discriminator"), "images": Outside("second person")},
        ),
        "both": ("CombineGuidance", 1, {"guidance_1": From("first"), "guidance_2": From("second")}),
        "sampler": ("AnchoredRectifiedSampler", 2, {**SAMPLER, "guidance": From("both")}),
    },
}
LABELS = ["model", "clip", "vae", "reference", "photo", "first person", "second person", "discriminator", "settings"]
LABELS += [
    "checkpoint",
    "face pack",
    "prompt",
    "width",
    "height",
    "seed",
    "steps",
    "cfg",
    "iterations",
    "guidance_scale",
]
RESULTS = [("image", From("sampler", 1)), ("report", From("sampler", 2))]
VALUES = {
    "CLIPTextEncode": {"text": "close-up portrait photo of a person"},
    "EmptySD3LatentImage": {"width": 1024, "height": 1024},
    "CheckpointLoaderSimple": {"ckpt_name": "flux1-schnell-fp8.safetensors"},
    "LoadFaceDiscriminator": {"pack": "antelopev2"},
    "AnchoredRectifiedSampler": {"seed": 2},
}


def blueprint(title: str, nodes: dict[str, tuple[str, int, dict]], object_info: dict[str, dict]) -> dict:
    """The workflow of one node with that title, and with the subgraph that it stands for."""
    ids = {name: number for number, name in enumerate(nodes, 1)}
    links: list[dict] = []
    outside = {label: {"socket": {}, "links": []} for label in _labels(nodes)}
    made: dict[str, dict] = {}
    rows: dict[int, int] = {}
    for name, (kind, column, given) in nodes.items():
        sockets, values = _inputs(kind, object_info[kind])
        for socket in sockets:
            value = given.get(socket["name"])
            if isinstance(value, From | Outside):
                number, slot = ids[name], sockets.index(socket)
                link = {"id": len(links) + 1, "target_id": number, "target_slot": slot, "type": socket["type"]}
                if isinstance(value, From):
                    link |= {"origin_id": ids[value.node], "origin_slot": value.slot}
                else:
                    outside[value.label]["socket"] = socket
                    outside[value.label]["links"].append(link["id"])
                    link |= {"origin_id": INPUTS, "origin_slot": list(outside).index(value.label)}
                socket["link"] = link["id"]
                links.append(link)
        values = {key: given[key] if key in given and not isinstance(given[key], Outside) else v for key, v in values}
        top = rows.get(column, 0)
        height = 40 + 26 * len(sockets) + (250 if object_info[kind]["output_node"] else 0)
        rows[column] = top + height + GAP
        made[name] = {
            "id": ids[name],
            "type": kind,
            "pos": [column * COLUMN, top],
            "size": [WIDTH, height],
            "flags": {},
            "order": ids[name] - 1,
            "mode": 0,
            "inputs": sockets,
            "outputs": [
                {"name": output, "type": type_, "links": []}
                for output, type_ in zip(object_info[kind]["output_name"], object_info[kind]["output"], strict=True)
            ],
            "properties": {"Node name for S&R": kind},
            "widgets_values": list(values.values()),
        }
    for _, result in RESULTS:
        type_ = made[result.node]["outputs"][result.slot]["type"]
        target = {"target_id": OUTPUTS, "target_slot": len(links), "type": type_}
        links.append({"id": len(links) + 1, "origin_id": ids[result.node], "origin_slot": result.slot, **target})
    for slot, link in enumerate(links[-len(RESULTS) :]):
        link["target_slot"] = slot
    by_id = {node["id"]: node for node in made.values()}
    for link in links:
        if link["origin_id"] != INPUTS:
            by_id[link["origin_id"]]["outputs"][link["origin_slot"]]["links"].append(link["id"])
    return _workflow(title, list(made.values()), links, outside)


def _labels(nodes: dict[str, tuple[str, int, dict]]) -> list[str]:
    """Of the inputs of the whole: what carries a picture or a network first, then the widgets."""
    used = {value.label for _, _, given in nodes.values() for value in given.values() if isinstance(value, Outside)}
    return [label for label in LABELS if label in used]


def _inputs(kind: str, info: dict) -> tuple[list[dict], list[tuple[str, Any]]]:
    """A node's sockets, those without a widget first, as the editor orders them; and its widgets' values by name."""
    sockets, widgets, values = [], [], []
    for need in ("required", "optional"):
        for name, (type_, *rest) in info["input"].get(need, {}).items():
            options = rest[0] if rest else {}
            choices = type_ if isinstance(type_, list) else options.get("options")
            type_ = "COMBO" if isinstance(type_, list) else type_
            if type_ not in WIDGETS or options.get("forceInput"):
                sockets.append(
                    {"name": name, "type": type_, "link": None} | ({"shape": 7} if need == "optional" else {})
                )
                continue
            widgets.append({"name": name, "type": type_, "widget": {"name": name}, "link": None})
            default = options.get("default", choices[0] if choices else "")
            values.append((name, VALUES.get(kind, {}).get(name, default)))
            if name in SEEDS or options.get("control_after_generate"):
                values.append((f"{name} control", "fixed"))
    return sockets + widgets, values


def _workflow(title: str, nodes: list[dict], links: list[dict], outside: dict[str, dict]) -> dict:
    id_ = str(uuid.uuid5(NAMESPACE, title))
    outputs = [{"name": name, "type": link["type"]} for (name, _), link in zip(RESULTS, links[-2:], strict=True)]
    height = 40 + 26 * len(outside)
    subgraph = {
        "id": id_,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": title,
        "inputNode": {"id": INPUTS, "bounding": [-COLUMN, 0, 160, 40 + 20 * len(outside)]},
        "outputNode": {"id": OUTPUTS, "bounding": [3 * COLUMN, 0, 120, 40 + 20 * len(RESULTS)]},
        "inputs": [
            {
                "id": str(uuid.uuid5(NAMESPACE, f"{title} in {label}")),
                "name": label,
                "type": entry["socket"]["type"],
                "linkIds": entry["links"],
                "pos": [-COLUMN + 140, 20 + 20 * i],
            }
            for i, (label, entry) in enumerate(outside.items())
        ],
        "outputs": [
            {
                **output,
                "id": str(uuid.uuid5(NAMESPACE, f"{title} out {output['name']}")),
                "linkIds": [link["id"]],
                "pos": [3 * COLUMN + 20, 20 + 20 * i],
            }
            for i, (output, link) in enumerate(zip(outputs, links[-2:], strict=True))
        ],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
        "category": "RectifID",
    }
    instance = {
        "id": 1,
        "type": id_,
        "pos": [0, 0],
        "size": [WIDTH, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": label, "type": entry["socket"]["type"], "link": None}
            | ({"widget": {"name": label}} if "widget" in entry["socket"] else {})
            for label, entry in outside.items()
        ],
        "outputs": [{**output, "links": []} for output in outputs],
        "title": title,
        "properties": {"proxyWidgets": []},
        "widgets_values": [],
    }
    return {
        "id": str(uuid.uuid5(NAMESPACE, f"{title} file")),
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [instance],
        "links": [],
        "groups": [],
        "definitions": {"subgraphs": [subgraph]},
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def main() -> int:
    """Write every blueprint anew."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        link_pack(base / "custom_nodes" / "rectifid")
        with serving(base, base / "output") as server:
            object_info = server.object_info()
    FOLDER.mkdir(exist_ok=True)
    for title, nodes in BLUEPRINTS.items():
        text = json.dumps(blueprint(title, nodes, object_info), indent=1)
        (FOLDER / f"{title}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
