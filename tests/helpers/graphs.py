"""The shipped workflows, and one of them run node by node in this process.

Without `scripts`, which a process with the host in it does not find.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .places import ROOT


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SEEDS = ("seed", "noise_seed")  # beside each, the editor keeps a value of its own


class Graph:
    """A workflow's nodes by type, and what runs into them.

    given: the outputs of nodes that are not run, by type; run: ``(type, inputs by name) -> outputs`` for the others.
    """

    def __init__(self, name: str, given: dict[str, tuple], run: Callable[[str, dict], tuple]):
        graph = read(ROOT / "workflows" / f"{name}.json")
        self.nodes = {node["id"]: node for node in graph["nodes"]}
        self.links = {link[0]: (link[1], link[2]) for link in graph["links"]}
        self.given = given
        self.run = run
        self.done: dict[int, tuple] = {}

    def entering(self, type_: str, name: str) -> Any:
        """What the only node of this type gets through this socket."""
        return self._socket(next(socket for socket in self._only(type_)["inputs"] if socket["name"] == name))

    def outputs(self, type_: str) -> tuple:
        """Of the only node of this type."""
        return self._outputs(self._only(type_))

    def inputs(self, type_: str) -> dict[str, Any]:
        """Of the only node of this type: what its widgets say, and what runs into its sockets."""
        return self._inputs(self._only(type_))

    def _only(self, type_: str) -> dict:
        (node,) = (node for node in self.nodes.values() if node["type"] == type_)
        return node

    def _socket(self, socket: dict) -> Any:
        start, slot = self.links[socket["link"]]
        return self._outputs(self.nodes[start])[slot]

    def _outputs(self, node: dict) -> tuple:
        if node["type"] in self.given:
            return self.given[node["type"]]
        if node["id"] not in self.done:
            self.done[node["id"]] = self.run(node["type"], self._inputs(node))
        return self.done[node["id"]]

    def _inputs(self, node: dict) -> dict[str, Any]:
        values = iter(node["widgets_values"])
        inputs = {}
        for socket in node["inputs"]:
            if "widget" in socket:
                inputs[socket["name"]] = next(values)
                if socket["name"] in SEEDS:
                    next(values)
            if socket.get("link") is not None:
                inputs[socket["name"]] = self._socket(socket)
        return inputs
