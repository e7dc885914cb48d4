"""What the evaluation sets in a workflow: by the titles of its nodes."""

from __future__ import annotations

import json

import pytest

from rectifid_eval.errors import EvaluationError
from rectifid_eval.workflows import Method, Slots, fill, find_slots, missing_kinds, needed, read_method
from tests.helpers.places import ROOT

EXAMPLES = ROOT / "rectifid_eval" / "examples"
TEXT, WHOLE_NUMBER = ["STRING", {"multiline": True}], ["INT", {}]
# As /object_info describes them, as far as it matters here.
KINDS = {
    "CLIPTextEncode": {"input": {"required": {"text": TEXT, "clip": ["CLIP"]}}},
    "CLIPTextEncodeSD3": {
        "input": {"required": {"clip": ["CLIP"], "clip_l": TEXT, "t5xxl": TEXT, "empty_padding": [["none", "empty"]]}}
    },
    "KSampler": {"input": {"required": {"seed": WHOLE_NUMBER, "steps": WHOLE_NUMBER}}},
    "PrimitiveInt": {"input": {"required": {"value": WHOLE_NUMBER}}},
    "LoadImage": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": TEXT}}},
}


def node(kind: str, title: str = "", **inputs: object) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title or kind}}


def workflow(**changes: dict | None) -> Method:
    """A small one; changes: nodes in the place of these, None: without."""
    nodes = {
        "face": node("LoadImage", "reference", image="me.png"),
        "text": node("CLIPTextEncode", "Prompt ", text="anything", clip=["face", 0]),
        "sampler": node("KSampler", "seed", seed=3, steps=4, positive=["text", 0]),
        "saved": node("SaveImage", images=["sampler", 0], filename_prefix="x"),
    }
    return Method("mine", {name: each for name, each in (nodes | changes).items() if each})


def told(method: Method) -> str:
    with pytest.raises(EvaluationError) as raised:
        find_slots(method, KINDS)
    return str(raised.value)


def test_titles_say_what_is_set():
    slots = find_slots(workflow(), KINDS)
    assert slots == Slots((("text", "text"),), (("sampler", "seed"),), (("face", "image"),), "saved")


def test_it_fills_in_a_copy():
    method = workflow()
    before = json.dumps(method.workflow)
    filled = fill(method, find_slots(method, KINDS), prompt="a person", seed=7, reference="sub/x.png")
    assert filled["text"]["inputs"]["text"] == "a person"
    assert filled["sampler"]["inputs"]["seed"] == 7
    assert filled["face"]["inputs"]["image"] == "sub/x.png"
    assert json.dumps(method.workflow) == before


def test_a_part_of_a_text_is_replaced_where_it_says_so():
    method = workflow(text=node("CLIPTextEncode", "prompt", text="photo of img, {{prompt}}, sharp", clip=["face", 0]))
    filled = fill(method, find_slots(method, KINDS), prompt="a person", seed=0, reference="")
    assert filled["text"]["inputs"]["text"] == "photo of img, a person, sharp"


def test_a_node_for_several_encoders_gets_all_its_texts_but_no_choice():
    encode = node("CLIPTextEncodeSD3", "prompt", clip=["face", 0], clip_l="", t5xxl="", empty_padding="none")
    assert find_slots(workflow(text=encode), KINDS).prompt == (("text", "clip_l"), ("text", "t5xxl"))


def test_a_number_of_its_own_may_be_the_seed():
    method = workflow(
        number=node("PrimitiveInt", "seed", value=1),
        sampler=node("KSampler", seed=["number", 0], steps=4, positive=["text", 0]),
    )
    assert find_slots(method, KINDS).seed == (("number", "value"),)


def test_without_a_reference_it_is_a_baseline():
    method = workflow(face=None, text=node("CLIPTextEncode", "prompt", text=""))
    assert method.baseline and not workflow().baseline
    assert find_slots(method, KINDS).reference == ()


def test_only_what_the_result_needs_is_run():
    other = node("SaveImage", images=["face", 0], filename_prefix="y")
    method = workflow(other=other, saved=node("SaveImage", "Result", images=["sampler", 0], filename_prefix="x"))
    slots = find_slots(method, KINDS)
    assert slots.result == "saved"
    assert set(fill(method, slots, prompt="", seed=0, reference="")) == {"face", "text", "sampler", "saved"}


def test_a_loop_of_links_ends():
    assert set(needed({"a": node("X", x=["b", 0]), "b": node("X", x=["a", 0])}, "a")) == {"a", "b"}


@pytest.mark.parametrize("title", ["prompt", "seed"])
def test_a_missing_title_is_named_with_what_to_do(title):
    titled = {"prompt": "text", "seed": "sampler"}[title]
    plain = dict(workflow().workflow[titled], _meta={"title": "other"})
    message = told(workflow(**{titled: plain}))
    assert f"no node with the title {title}" in message and "double-click" in message


def test_several_pictures_need_a_title():
    assert "KSampler" not in (message := told(workflow(other=node("SaveImage", images=["face", 0])))) and all(
        name in message for name in ("saved", "other", "result")
    )
    assert "none" in told(workflow(saved=None))


def test_a_title_that_leads_nowhere_is_told():
    message = told(workflow(sampler=node("KSampler", "seed", seed=3, steps=4), text=workflow().workflow["text"]))
    assert "node text" in message and "does not lead" in message


def test_a_title_on_a_node_without_its_value_is_told():
    assert "no text of its own" in told(workflow(text=node("CLIPTextEncode", "prompt", text=["face", 0])))
    assert "not clear" in told(workflow(face=node("LoadImage", "reference", image=["text", 0])))
    assert "not clear" in told(workflow(sampler=node("KSampler", "seed", steps=4, cfg=1, positive=["text", 0])))


def test_lacking_nodes_are_named_by_method():
    assert missing_kinds([workflow()], KINDS) == {}
    lacking = missing_kinds([workflow()], {"KSampler": {}})
    assert lacking == {"mine": ["CLIPTextEncode", "LoadImage", "SaveImage"]}


def test_a_changed_workflow_is_another_method():
    changed = workflow(sampler=node("KSampler", "seed", seed=3, steps=5, positive=["text", 0]))
    assert workflow().digest == workflow().digest != changed.digest


def test_the_editors_own_form_is_refused_with_the_way_to_export():
    with pytest.raises(EvaluationError, match=r"Export \(API\)"):
        read_method("quickstart", ROOT / "workflows" / "01 Quickstart.json")


@pytest.mark.parametrize(
    ("content", "words"), [("{", "no JSON"), ("[1]", "API form"), ("{}", "API form"), ("", "no JSON")]
)
def test_what_is_no_workflow_is_told(tmp_path, content, words):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(EvaluationError, match=words):
        read_method("w", tmp_path / "w.json")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_method("w", tmp_path / "w.json")


@pytest.mark.parametrize(("name", "baseline"), [("guided", False), ("unguided", True)])
def test_the_examples_are_methods(name, baseline):
    assert read_method(name, EXAMPLES / f"{name}.json").baseline == baseline
