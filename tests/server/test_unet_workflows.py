"""The workflows of the flows and few-step models on Stable Diffusion's UNet, run on the server.

What they run is the graph on disk, with a small UNet in the place of each that it loads, the embedded recogniser in the
place of the face pack, since noise has no face, and a portrait of the embedded world as the photograph.
"""

from __future__ import annotations

import json

import pytest

from scripts import environment
from scripts.workflow import to_prompt
from tests.helpers.servers import write_small_models
from tests.helpers.small_models import NAME

SAMPLER = "AnchoredRectifiedSampler"
ITERATIONS = 2


@pytest.fixture(scope="module")
def small_models(base):
    write_small_models(base / "models", "small_models")


@pytest.mark.usefixtures("weights", "small_models")
@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("18 Face with PeRFlow SD 1.5", "perflow"),
        ("19 Face with PeRFlow SDXL", "perflow"),
        ("20 Face with InstaFlow", "flow"),
        ("17 Face with SD-Turbo", "consistency"),
    ],
)
def test_it_is_guided(server, object_info, name, family):
    graph = json.loads((environment.ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    prompt = to_prompt(graph, object_info)
    kinds = {node: entry["class_type"] for node, entry in prompt.items()}
    parts = [
        ("UNETLoader", {"unet_name": NAME, "weight_dtype": "default"}),
        ("CLIPLoader", {"clip_name": NAME, "type": "stable_diffusion"}),
        ("VAELoader", {"vae_name": NAME}),
    ]
    slots = {"UNETLoader": 0, "CLIPLoader": 1, "DualCLIPLoader": 1, "VAELoader": 2}
    for entry in prompt.values():
        for input_, value in entry["inputs"].items():
            kind = kinds[value[0]] if isinstance(value, list) else None
            if kind in slots or kind == "CheckpointLoaderSimple":
                entry["inputs"][input_] = [f"small {slots.get(kind, value[1])}", 0]
            elif kind == "LoadFaceDiscriminator":
                entry["inputs"][input_] = ["recogniser", 0]
            elif kind == "LoadImage":
                entry["inputs"][input_] = ["portrait", 0]
            elif kind == "EmptyLatentImage":
                entry["inputs"][input_] = ["size", 0]
    prompt |= {f"small {slot}": {"class_type": kind, "inputs": inputs} for slot, (kind, inputs) in enumerate(parts)}
    prompt["recogniser"] = {"class_type": "LoadDemoDiscriminator", "inputs": {}}
    prompt["portrait"] = {"class_type": "DrawDemoPortrait", "inputs": {"identity": 5000009, "prompt": "a person"}}
    prompt["size"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    (sampler,) = (node for node, kind in kinds.items() if kind == SAMPLER)
    prompt[sampler]["inputs"]["iterations"] = ITERATIONS
    events = []
    outputs = server.run(prompt, events.append)
    said = [event.text for event in events if event.node == sampler and event.text]
    similarity = [float(text.rpartition(" ")[2]) for text in said if text.startswith("iteration ")]
    assert len(similarity) == ITERATIONS + 1 and similarity == sorted(similarity)
    assert f"family: {family}" in said[-1]
    assert len([output for output in outputs.values() if output.get("images")]) >= 2
