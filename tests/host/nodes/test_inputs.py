"""No value gets into a node that its widgets do not offer: not through the host's API, and not from another node."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
from types import SimpleNamespace
from typing import Any

import execution
import folder_paths
import pytest
import torch
from comfy_api.latest import io

import nodes as host_nodes
from tests.helpers.host import PACK

NODES = {node.GET_SCHEMA().node_id: node for node in importlib.import_module(f"{PACK}.nodes").NODES}
WIDGETS = {
    (node_id, widget.id): widget
    for node_id, node in NODES.items()
    for widget in node.GET_SCHEMA().inputs or ()
    if isinstance(widget, io.WidgetInput)
}
COMBOS = [key for key, widget in WIDGETS.items() if isinstance(widget, io.Combo.Input)]
NUMBERS = [key for key, widget in WIDGETS.items() if isinstance(widget, io.Int.Input | io.Float.Input)]
TEXTS = [key for key, widget in WIDGETS.items() if isinstance(widget, io.String.Input)]
JUNK = [
    *("nope", "", "..", "../../..", "/", "/etc", "C:\\Windows", "\\\\server\\share", "CON", "NUL.onnx", "dinov2-base."),
    *("a\0b", "\ud800", "x" * 5000, 7, None, {"a": 1}, [1]),
]


class Any_(str):
    """The type of an output that fits every input, as packs with switches have it."""

    def __ne__(self, other: object) -> bool:
        return False


class Give:
    """A node that gives whatever stands in `VALUES`, to any input."""

    VALUES: dict[str, Any] = {}
    RETURN_TYPES = (Any_("*"),)
    FUNCTION = "give"
    CATEGORY = ""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"key": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, key):
        return math.nan

    def give(self, key):
        return (self.VALUES.get(key),)


class End:
    """An output node."""

    RETURN_TYPES = ()
    FUNCTION = "end"
    CATEGORY = ""
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (Any_("*"), {})}}

    def end(self, value):
        return {}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """One face pack, embedder, recogniser and identity by name; none can be loaded."""
    files = {
        "insightface": "models/small/a.onnx",
        "transformers": "dino/config.json",
        "discriminators": "mine.onnx",
        "identities": "anna.safetensors",
    }
    for folder, file in files.items():
        (tmp_path / folder / file).parent.mkdir(parents=True)
        (tmp_path / folder / file).write_text('{"model_type": "dinov2"}')
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path / folder)], set()))
    return tmp_path


@pytest.fixture
def refusal(models, monkeypatch):
    """`refusal(node id, widget=value)`: what the host says of a graph with that node; None if it runs.

    A value comes as through the API, or with ``linked`` from another node, as all sockets' do: nothing, there.
    """
    for name, node in {**NODES, "Give": Give, "End": End}.items():
        monkeypatch.setitem(host_nodes.NODE_CLASS_MAPPINGS, name, node)

    def refuse(node_id: str, linked: bool = False, **values: Any) -> str | None:
        prompt: dict[str, Any] = {"end": {"class_type": "End", "inputs": {"value": ["node", 0]}}}
        inputs = {}
        for each in NODES[node_id].GET_SCHEMA().inputs or ():
            if each.id in values and not linked:
                inputs[each.id] = {"__value__": values[each.id]}  # as the editor wraps lists
            elif isinstance(each, io.WidgetInput) and each.id not in values:
                inputs[each.id] = each.default if each.default is not None else ""
            else:
                prompt[each.id] = {"class_type": "Give", "inputs": {"key": each.id}}
                inputs[each.id] = [each.id, 0]
        monkeypatch.setattr(Give, "VALUES", values)
        prompt["node"] = {"class_type": node_id, "inputs": inputs}
        if not NODES[node_id].GET_SCHEMA().outputs:
            del prompt["end"]
        valid, _, outputs, errors = asyncio.run(execution.validate_prompt("p", prompt, None))
        if not valid:
            return json.dumps(errors)
        silent = SimpleNamespace(
            client_id=None, last_node_id=None, sockets_metadata={}, send_sync=lambda *_, **__: None
        )
        executor = execution.PromptExecutor(silent, cache_args={"ram": 1.0, "ram_inactive": 1.0})
        executor.execute(prompt, "p", {}, outputs)
        messages = dict(executor.status_messages)
        return messages["execution_error"]["exception_message"] if "execution_error" in messages else None

    return refuse


def test_there_are_combos_numbers_and_texts():
    assert len(COMBOS) > 15 and len(NUMBERS) > 30 and len(TEXTS) > 4


@pytest.mark.parametrize("linked", [False, True], ids=["typed", "linked"])
@pytest.mark.parametrize(("node_id", "widget"), COMBOS)
def test_a_combo_takes_what_it_offers_and_nothing_else(refusal, node_id, widget, linked):
    for junk in JUNK:
        said = refusal(node_id, linked, **{widget: junk})
        words = (f"{widget} is", f"{widget}: ", "There is no")  # ours, those of newer hosts, and those of names
        assert said is not None and any(each in said for each in words), f"{junk!r}: {said}"
        assert "KeyError" not in said and "TypeError" not in said
    for option in WIDGETS[node_id, widget].options:
        assert f"{widget} is {option!r}" not in (refusal(node_id, linked, **{widget: option}) or "")


@pytest.mark.parametrize(("node_id", "widget"), NUMBERS)
def test_a_number_from_another_node_keeps_its_range(refusal, node_id, widget):
    number = WIDGETS[node_id, widget]
    for junk in (math.nan, math.inf, -math.inf, number.min - 1, number.max + 1, "3", None, torch.ones(3), [1]):
        said = refusal(node_id, linked=True, **{widget: junk})
        assert said is not None and f"{widget} is" in said, f"{junk!r}: {said}"
    for good in (number.min, number.max):
        assert f"{widget} is" not in (refusal(node_id, linked=True, **{widget: good}) or "")


@pytest.mark.parametrize(("node_id", "widget"), [key for key in NUMBERS if isinstance(WIDGETS[key], io.Float.Input)])
def test_nan_through_the_api_is_no_number(refusal, node_id, widget):
    assert f"{widget} is nan" in (refusal(node_id, **{widget: math.nan}) or "")


@pytest.mark.parametrize(("node_id", "widget"), TEXTS)
def test_a_text_is_text(refusal, node_id, widget):
    for junk in (7, None, {"a": 1}, torch.ones(3), "half \ud83d of a character"):
        said = refusal(node_id, linked=True, **{widget: junk})
        assert said is not None and f"{widget} " in said, f"{junk!r}: {said}"


def test_all_that_is_wrong_is_said_at_once(refusal):
    said = refusal("AnchoredRectifiedSampler", linked=True, scheduler="nope", cfg=math.nan, if_missing=3)
    assert all(
        name in said
        for name in ("Anchored Rectified Sampler (RectifID): ", "scheduler is 'nope'", "simple, ", "cfg is nan")
    )
    assert "if_missing is 3" in said
