"""The workflows of faces, subjects and saved identities, run on the server.

What they run is the graph on disk; only what is too large, or a picture of a person, is replaced: FLUX by the embedded
model, the photograph by a portrait of the embedded world.
"""

from __future__ import annotations

import json
import math
import re

import pytest

from scripts.environment import ROOT
from scripts.workflow import NEVER, to_prompt

pytestmark = pytest.mark.usefixtures("weights")

SAMPLER = "AnchoredRectifiedSampler"
PERSON = 5000009  # the one of the quickstart


def graph_of(name: str) -> dict:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))


def only(prompt: dict, class_type: str) -> str:
    """The id of the one node of this type."""
    (node,) = (node for node, entry in prompt.items() if entry["class_type"] == class_type)
    return node


def stand_in(prompt: dict, scene: str) -> None:
    """The embedded model in the place of FLUX, which has the same outputs, and a portrait in that of the photograph."""
    prompt[only(prompt, "CheckpointLoaderSimple")] = {"class_type": "LoadDemoModel", "inputs": {}}
    prompt[only(prompt, "EmptySD3LatentImage")]["inputs"] |= {"width": 128, "height": 128}
    portrait = {"identity": PERSON, "prompt": scene}
    prompt[only(prompt, "LoadImage")] = {"class_type": "DrawDemoPortrait", "inputs": portrait}


def climb(events: list, sampler: str) -> list[float]:
    """The similarity that the sampler reported, iteration by iteration; nan where it found nobody."""
    texts = [event.text for event in events if event.node == sampler and event.text]
    matches = (re.match(r"iteration \d+ of \d+: similarity (not found|\S+)", text) for text in texts)
    return [float("nan" if match[1] == "not found" else match[1]) for match in matches if match]


def test_a_face_is_found_followed_and_carried_over(server, object_info, face_models):
    prompt = to_prompt(graph_of("02 Face from a photo"), object_info)
    stand_in(prompt, "a person")
    prompt[only(prompt, "DescribeFaceIdentity")]["inputs"]["prompt"] = "a smiling person, blue background"
    prompt[only(prompt, SAMPLER)]["inputs"]["iterations"] = 10
    events = []
    outputs = server.run(prompt, events.append)

    similarity = climb(events, only(prompt, SAMPLER))
    assert len(similarity) == 11
    assert max(each for each in similarity if not math.isnan(each)) > similarity[0] + 0.2
    texts = [output["text"] for output in outputs.values() if "text" in output]
    assert any("man, about 40 years old" in str(text) for text in texts), "the description is shown"
    assert len([output for output in outputs.values() if output.get("images")]) >= 3


def test_a_subject_is_found_by_a_text_query_and_followed(server, object_info):
    prompt = to_prompt(graph_of("03 Dog or mug from a photo"), object_info)
    stand_in(prompt, "a person")
    prompt[only(prompt, "LoadSubjectDiscriminator")]["inputs"]["detection_threshold"] = (
        0.01  # random networks are sure of nothing
    )
    prompt[only(prompt, SAMPLER)]["inputs"]["iterations"] = 4
    events = []
    outputs = server.run(prompt, events.append)
    assert len(climb(events, only(prompt, SAMPLER))) == 5
    assert len([output for output in outputs.values() if output.get("images")]) >= 2


def test_an_identity_is_saved_and_loaded_again(server, base, object_info):
    graph = graph_of("11 Remember a person")
    saving = to_prompt(graph, object_info)
    assert not any(entry["class_type"] == SAMPLER for entry in saving.values()), "the second half waits for the file"
    server.run(saving)
    (file,) = (base / "models" / "identities").rglob("*.safetensors")

    for node in graph["nodes"]:
        first_half = ("DrawDemoPortrait", "ImageBatch", "EncodeReferenceIdentity", "SaveIdentity")
        node["mode"] = NEVER if node["type"] in first_half else 0
    reusing = to_prompt(graph, server.object_info())
    assert reusing[only(reusing, "LoadIdentity")]["inputs"]["file"] == file.name
    events = []
    outputs = server.run(reusing, events.append)
    similarity = climb(events, only(reusing, SAMPLER))
    assert similarity[-1] > similarity[0] + 0.2
    measured = outputs[only(reusing, "MeasureIdentity")]["text"][0]
    assert float(re.search(r"similarity (\S+),", measured)[1]) == pytest.approx(max(similarity), abs=0.02)


# What the embedded model's loader gives for each; also for the nodes that shift times, which count in the model's unit.
LOADERS = {"CLIPLoader": 1, "TripleCLIPLoader": 1, "VAELoader": 2}
LOADERS |= dict.fromkeys(("UNETLoader", "ModelSamplingAuraFlow", "ModelSamplingFlux"), 0)


@pytest.mark.parametrize(
    "name",
    [
        "13 Face with FLUX.1 schnell",
        "15 Face with Z-Image-Turbo",
        "16 Face with SD 3.5 Turbo",
        "14 Face with FLUX.2 klein",
    ],
)
def test_a_native_flow_is_guided(server, object_info, face_models, name):
    """With the graph's own settings of the sampler, and the embedded model in the place of its loaders'."""
    prompt = to_prompt(graph_of(name), object_info)
    kinds = {node: entry["class_type"] for node, entry in prompt.items()}
    prompt["demo"] = {"class_type": "LoadDemoModel", "inputs": {}}
    size = {"width": 128, "height": 128, "batch_size": 1}
    prompt["size"] = {"class_type": "EmptySD3LatentImage", "inputs": size}
    portrait = {"identity": PERSON, "prompt": "a person"}
    prompt[only(prompt, "LoadImage")] = {"class_type": "DrawDemoPortrait", "inputs": portrait}
    sampler = only(prompt, SAMPLER)
    positive = prompt[sampler]["inputs"]["positive"][0]
    prompt[positive]["inputs"]["text"] = "a smiling person, blue background"
    prompt[sampler]["inputs"] |= {"iterations": 4, "latent_image": ["size", 0]}
    for entry in prompt.values():
        for input_, value in entry["inputs"].items():
            kind = kinds.get(value[0]) if isinstance(value, list) else None
            if kind in LOADERS or kind == "CheckpointLoaderSimple":
                entry["inputs"][input_] = ["demo", LOADERS.get(kind, value[1])]
    events = []
    outputs = server.run(prompt, events.append)
    similarity = climb(events, sampler)
    assert len(similarity) == 5 and max(similarity[1:]) > similarity[0]
    assert len([output for output in outputs.values() if output.get("images")]) >= 2
