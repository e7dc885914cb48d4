"""What the server knows of the pack: nodes, tooltips, help pages, templates, and how it says no."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from scripts.comfy_server import ComfyServer, ServerError, free_port
from scripts.environment import ROOT

NODES = [
    "AnchoredRectifiedSampler",
    "AnchoredSampler",
    "AnchoredSamplerSettings",
    "ColorGuidance",
    "CombineGuidance",
    "CropAroundSubject",
    "DescribeFaceIdentity",
    "DrawDemoPortrait",
    "EncodePromptBatch",
    "EncodeReferenceIdentity",
    "FindSeed",
    "IdentityGuidance",
    "LimitGuidance",
    "LoadDemoDiscriminator",
    "LoadDemoModel",
    "LoadDemoVision",
    "LoadEmbeddingDiscriminator",
    "LoadFaceDiscriminator",
    "LoadIdentity",
    "LoadSubjectDiscriminator",
    "MeasureIdentity",
    "ModelSamplingPeRFlow",
    "ModelSamplingRectifiedFlow",
    "PlotConvergence",
    "SaveIdentity",
    "SegmentationGuidance",
    "StyleGuidance",
]


def inputs_of(node: dict) -> dict:
    return node["input"].get("required", {}) | node["input"].get("optional", {})


def test_the_pack_brings_these_nodes(object_info):
    ours = [name for name, node in object_info.items() if node["python_module"] == "custom_nodes.rectifid"]
    assert sorted(ours) == NODES


@pytest.mark.parametrize("name", NODES)
def test_every_node_explains_itself(object_info, name):
    node = object_info[name]
    assert node["category"].split("/")[0] == "RectifID"
    assert node["description"]
    for input_, (_, options) in inputs_of(node).items():
        assert options.get("tooltip"), f"{name}.{input_} has no tooltip"
    assert all(node["output_tooltips"])


@pytest.mark.parametrize("name", NODES)
def test_the_editor_finds_the_help_page(server, object_info, name):
    page = server.get(f"/extensions/rectifid/docs/{name}.md").decode()
    assert page.startswith(f"# {object_info[name]['display_name']}\n")
    for input_ in inputs_of(object_info[name]):
        assert f"**{input_}**" in page, f"the help page of {name} does not mention {input_}"


def test_the_template_browser_offers_the_workflows(server):
    names = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    assert sorted(json.loads(server.get("/workflow_templates"))["rectifid"]) == names
    for name in names:
        assert json.loads(server.get(f"/api/workflow_templates/rectifid/{quote(name)}.json"))["nodes"]
        assert server.get(f"/api/workflow_templates/rectifid/{quote(name)}.jpg").startswith(b"\xff\xd8\xff"), (
            "no thumbnail"
        )


def test_the_error_names_a_broken_recogniser(server):
    prompt = {
        "1": {
            "class_type": "LoadEmbeddingDiscriminator",
            "inputs": {"discriminator": "truncated.onnx", "input_size": 64, "mean": 0.5, "std": 0.5}
            | {"channel_order": "rgb", "left": 0.0, "top": 0.0, "right": 1.0, "bottom": 1.0},
        },
        "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "3": {
            "class_type": "EncodeReferenceIdentity",
            "inputs": {"discriminator": ["1", 0], "images": ["2", 0]}
            | {"which": "only", "index": 0, "text": "", "matching": "mean", "weights": ""},
        },
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}},
    }
    with pytest.raises(ServerError, match=r"LoadEmbeddingDiscriminator: .*truncated\.onnx"):
        server.run(prompt)


def test_a_value_out_of_range_is_refused(server):
    prompt = {
        "1": {"class_type": "DrawDemoPortrait", "inputs": {"identity": -1, "prompt": "a person"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    with pytest.raises(ServerError, match="DrawDemoPortrait: .*smaller than min .*identity"):
        server.run(prompt)


def test_a_server_that_is_not_there_is_told_by_its_address():
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ServerError, match=f"{address} does not answer"):
        ComfyServer(address).run({})
