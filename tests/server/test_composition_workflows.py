"""The workflows that combine guidance with other nodes, run on the server.

Those on the embedded model as they lie on disk; the others with a small Stable Diffusion, or the embedded model, in the
place of what they load.
"""

from __future__ import annotations

import json
import re

import pytest

from scripts import environment
from scripts.workflow import to_prompt
from tests.helpers.servers import write_small_models
from tests.helpers.small_models import NAME

pytestmark = pytest.mark.usefixtures("weights")

SAMPLER = "AnchoredRectifiedSampler"


def prompt_of(name: str, object_info: dict, iterations: int) -> dict:
    graph = json.loads((environment.ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    prompt = to_prompt(graph, object_info)
    for entry in prompt.values():
        if entry["class_type"] == SAMPLER:
            entry["inputs"]["iterations"] = iterations
    return prompt


def run(server, prompt: dict) -> tuple[dict[str, list[list[float]]], dict]:
    """Each sampler's similarities, iteration by iteration and picture by picture; and what the nodes left."""
    events = []
    outputs = server.run(prompt, events.append)
    climbs = {}
    for event in events:
        if match := re.match(r"iteration \d+ of \d+: similarity (.+)", event.text):
            climbs.setdefault(event.node, []).append([float(each) for each in match[1].split()])
    return climbs, outputs


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("04 Two people in one picture", 5),
        ("07 A prompt for each half", 3),
        ("05 Inpaint a face", 5),
        ("06 Image to image", 5),
        ("09 Four pictures of one person", 9),
        ("08 One person in four scenes", 9),
        ("10 Upscale and keep the face", 4),
        ("29 Detail a face", 3),
    ],
)
def test_on_the_embedded_model_it_carries_the_identity_over(server, object_info, name, pictures):
    climbs, outputs = run(server, prompt_of(name, object_info, 6))
    saved = [each for output in outputs.values() for each in output.get("images", []) if each["type"] == "output"]
    assert len(saved) == pictures
    for climb in climbs.values():
        assert len(climb) == 7
        for similarity in zip(*climb, strict=True):
            assert max(similarity) > similarity[0] + 0.1


@pytest.fixture(scope="module")
def small_models(base):
    write_small_models(base / "models", "small_models", "small_additions")


SMALL = {
    "LoadDemoDiscriminator": {},
    "UNETLoader": {"unet_name": NAME, "weight_dtype": "default"},
    "CLIPLoader": {"clip_name": NAME, "type": "stable_diffusion"},
    "VAELoader": {"vae_name": NAME},
    "ControlNetLoader": {"control_net_name": NAME},
    "StyleModelLoader": {"style_model_name": NAME},
    "CLIPVisionLoader": {"clip_name": NAME},
    "DrawDemoPortrait": {"identity": 5000009, "prompt": "a person"},
    "EmptyLatentImage": {"width": 64, "height": 64, "batch_size": 1},
}
OUTPUTS = ["UNETLoader", "CLIPLoader", "VAELoader"]  # a checkpoint's
STANDS_FOR = {
    "LoadImage": "DrawDemoPortrait",
    "DualCLIPLoader": "CLIPLoader",
    "EmptySD3LatentImage": "EmptyLatentImage",
    "LoadFaceDiscriminator": "LoadDemoDiscriminator",
}


@pytest.mark.usefixtures("small_models")
@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("21 ControlNet", "perflow"),
        ("22 LoRA", "consistency"),
        ("23 Attention patches, IPAdapter", "consistency"),
        ("24 Style of a picture, Redux", "consistency"),
        ("25 Merged models", "consistency"),
        ("26 Edit a photo with FLUX.1 Kontext", "diffusion"),
        ("27 Edit a photo with FLUX.2 klein", "flow"),
        ("28 Edit a photo with Qwen-Image-Edit", "flow"),
        ("33 Face with PCM", "diffusion"),
    ],
)
def test_with_small_models_it_is_guided(server, object_info, name, family):
    """Of two checkpoints that are merged, both are the same one here; a picture as large as the photograph is small."""
    prompt = prompt_of(name, object_info, 8)
    kinds = {node: entry["class_type"] for node, entry in prompt.items()}
    for entry in prompt.values():
        if entry["class_type"] == "LoraLoaderModelOnly":
            entry["inputs"]["lora_name"] = NAME
        for input_, value in entry["inputs"].items():
            kind = kinds.get(value[0]) if isinstance(value, list) else None
            kind = OUTPUTS[value[1]] if kind == "CheckpointLoaderSimple" else STANDS_FOR.get(kind, kind)
            kind = "EmptyLatentImage" if input_ == "latent_image" else kind
            if kind in SMALL:
                entry["inputs"][input_] = [kind, 0]
    prompt |= {kind: {"class_type": kind, "inputs": inputs} for kind, inputs in SMALL.items()}
    (sampler,) = (node for node, kind in kinds.items() if kind == SAMPLER)
    climbs, outputs = run(server, prompt)
    similarity = [each for (each,) in climbs[sampler]]
    assert len(similarity) == 9 and max(similarity[1:]) > similarity[0]
    assert f"family: {family}" in outputs[sampler]["text"][0]
    assert len([output for output in outputs.values() if output.get("images")]) >= 2
