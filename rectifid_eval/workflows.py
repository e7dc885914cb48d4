"""Methods as ComfyUI workflows: which of their values the evaluation sets, found by the titles of their nodes.

In the editor, double-click a node's title and call it

    prompt     what is to be drawn: all its text is replaced, or only "{{prompt}}" where that is a part of it
    seed       its value seed or noise_seed (or its only whole number) is replaced
    reference  its value image is replaced by the person's picture; no such node: a baseline without a person
    result     which picture counts; needed only where more than one node saves or shows pictures

and export the workflow in the API form.  Several nodes may be called prompt, seed or reference.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import EvaluationError

WHOLE = "{{prompt}}"  # what the prompt replaces where it is a part of a longer text
PICTURES = ("SaveImage", "PreviewImage")
EXPORT = "In ComfyUI open the workflow, choose Export (API) in its menu, and give that file"
Place = tuple[str, str]  # a node's id, and one of its inputs


@dataclass(frozen=True)
class Slots:
    """The values that the evaluation sets, and the node whose picture counts."""

    prompt: tuple[Place, ...]
    seed: tuple[Place, ...]
    reference: tuple[Place, ...]
    result: str


@dataclass(frozen=True)
class Method:
    """A workflow under the name that the report gives it.

    workflow: node id -> {"class_type", "inputs", "_meta"}.
    """

    name: str
    workflow: dict[str, dict]

    @property
    def digest(self) -> str:
        """Of all that it draws by: a workflow that was changed is another method."""
        return hashlib.sha256(json.dumps(self.workflow, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def baseline(self) -> bool:
        """Whether it draws without a person."""
        return not _titled(self, "reference")

    @property
    def classes(self) -> set[str]:
        """The kinds of nodes that a server must have for it."""
        return {node["class_type"] for node in self.workflow.values()}


def read_method(name: str, path: Path) -> Method:
    """The workflow of a file in the API form; EvaluationError for anything else."""
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"the workflow of {name} cannot be read: {error}") from error
    except ValueError as error:
        raise EvaluationError(f"the workflow of {name}, {path}, is no JSON: {error}. {EXPORT}") from error
    if isinstance(workflow, dict) and isinstance(workflow.get("nodes"), list):
        raise EvaluationError(
            f"the workflow of {name}, {path}, is as the editor saves it, and a server runs the API form. {EXPORT}"
        )
    if not isinstance(workflow, dict) or not workflow or not all(map(_is_node, workflow.values())):
        raise EvaluationError(f"the workflow of {name}, {path}, is no workflow in the API form. {EXPORT}")
    return Method(name, workflow)


def find_slots(method: Method, kinds: Mapping[str, dict]) -> Slots:
    """Where the evaluation sets what; EvaluationError for a workflow without titles, or whose titles lead nowhere.

    kinds: what a server says of each kind of node in the workflow, from /object_info.
    """
    result = _result(method)
    slots = Slots(
        tuple(place for node in _titled(method, "prompt") for place in _texts(method, node, kinds)),
        tuple(_one(method, node, ("seed", "noise_seed"), int) for node in _titled(method, "seed")),
        tuple(_one(method, node, ("image",), str) for node in _titled(method, "reference")),
        result,
    )
    missing = [title for title in ("prompt", "seed") if not getattr(slots, title)]
    if missing:
        raise EvaluationError(
            f"the workflow of {method.name} has no node with the title {' and none with the title '.join(missing)}: in "
            "the editor, double-click the title of the node whose value is to change, call it so, and export again"
        )
    kept = needed(method.workflow, result)
    for title in ("prompt", "seed", "reference"):
        for node, _ in getattr(slots, title):
            if node not in kept:
                raise EvaluationError(
                    f"in the workflow of {method.name}, {_said(method, node)} has the title {title} and does not lead "
                    f"to {_said(method, result)}; connect it, or give the title to another node"
                )
    return slots


def fill(method: Method, slots: Slots, *, prompt: str, seed: int, reference: str) -> dict[str, dict]:
    """The workflow for one picture, without nodes that its result does not need.

    reference: the picture's name among the server's inputs.
    """
    filled = copy.deepcopy(needed(method.workflow, slots.result))
    for node, name in slots.prompt:
        text = filled[node]["inputs"][name]
        filled[node]["inputs"][name] = text.replace(WHOLE, prompt) if WHOLE in text else prompt
    for node, name in slots.seed:
        filled[node]["inputs"][name] = seed
    for node, name in slots.reference:
        filled[node]["inputs"][name] = reference
    return filled


def needed(workflow: dict[str, dict], result: str) -> dict[str, dict]:
    """The nodes that ``result`` depends on, and itself."""
    kept: dict[str, dict] = {}
    waiting = [result]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = workflow[name]
            waiting += [value[0] for value in workflow[name]["inputs"].values() if _is_link(value, workflow)]
    return kept


def settings(filled: dict[str, dict]) -> str:
    """All that a picture was drawn by, as one line of JSON."""
    kept = {name: {key: node[key] for key in ("class_type", "inputs")} for name, node in filled.items()}
    return json.dumps(kept, sort_keys=True)


def missing_kinds(methods: Iterable[Method], kinds: Mapping[str, dict]) -> dict[str, list[str]]:
    """For each method the kinds of nodes that a server lacks; methods that lack none are left out."""
    lacking = {method.name: sorted(method.classes - kinds.keys()) for method in methods}
    return {name: classes for name, classes in lacking.items() if classes}


def _is_node(node: object) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _is_link(value: object, workflow: Mapping[str, dict]) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] in workflow


def _title(node: dict) -> str:
    return str(node.get("_meta", {}).get("title", "")).strip().casefold()


def _titled(method: Method, title: str) -> list[str]:
    return [name for name, node in method.workflow.items() if _title(node) == title]


def _result(method: Method) -> str:
    titled = _titled(method, "result")
    found = titled or [name for name, node in method.workflow.items() if node["class_type"] in PICTURES]
    if len(found) != 1:
        nodes = ", ".join(_said(method, name) for name in found) or "none"
        raise EvaluationError(
            f"the workflow of {method.name} must have one node whose picture counts, and has {nodes}: give the title "
            f"result to one {' or '.join(PICTURES)}"
        )
    return found[0]


def _texts(method: Method, node: str, kinds: Mapping[str, dict]) -> list[Place]:
    """All inputs of a node that hold text: a node for two text encoders has two."""
    inputs, groups = method.workflow[node]["inputs"], kinds[method.workflow[node]["class_type"]]["input"]
    types = {name: kind[0] for group in ("required", "optional") for name, kind in groups.get(group, {}).items()}
    texts = [name for name, value in inputs.items() if isinstance(value, str) and types.get(name) == "STRING"]
    if not texts:
        raise EvaluationError(
            f"in the workflow of {method.name}, {_said(method, node)} has the title prompt and no text of its own; "
            "give the title to the node in which the text stands"
        )
    return [(node, name) for name in texts]


def _one(method: Method, node: str, names: tuple[str, ...], kind: type) -> Place:
    """The input of a node by its usual name, else the only one that holds a value of this kind."""
    values = method.workflow[node]["inputs"]
    held = [name for name, value in values.items() if isinstance(value, kind) and not isinstance(value, bool)]
    found = [name for name in names if name in held] or held
    if len(found) != 1:
        raise EvaluationError(
            f"in the workflow of {method.name}, it is not clear which value of {_said(method, node)} to set: it has no "
            f"{' or '.join(names)} of its own; give the title to the node that has"
        )
    return node, found[0]


def _said(method: Method, node: str) -> str:
    return f"{method.workflow[node]['class_type']} (node {node})"
