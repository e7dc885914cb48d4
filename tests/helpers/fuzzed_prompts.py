"""Prompts around one node of the pack, whose inputs are right but for a few; and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st

from scripts.comfy_server import ComfyServer, NodeError, ServerError
from scripts.environment import ROOT

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
# The right values of these cost time; of the others all are tried.
FEW = {"iterations": 1, "steps": 2, "count": 2, "views": 1, "candidates": 1, "restarts": 0, "input_size": 0}
SOURCES: dict[str, tuple[str, int]] = {
    "MODEL": ("model", 0),
    "CLIP": ("model", 1),
    "VAE": ("model", 2),
    "CLIP_VISION": ("vision", 0),
    "CONDITIONING": ("prompt", 0),
    "LATENT": ("latent", 0),
    "IMAGE": ("image", 0),
    "MASK": ("mask", 0),
    "RECTIFID_DISCRIMINATOR": ("discriminator", 0),
    "RECTIFID_GUIDANCE": ("identity", 0),
    "RECTIFID_REPORT": ("sampler", 2),
    "RECTIFID_SETTINGS": ("settings", 0),
    "SAMPLER": ("anchored", 0),
    "SIGMAS": ("sigmas", 0),
}
HOSTS = {
    "prompt": ("CLIPTextEncode", {"text": "a person", "clip": ["model", 1]}),
    "latent": ("EmptySD3LatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    "mask": ("SolidMask", {"value": 1.0, "width": 128, "height": 128}),
    "sigmas": ("BasicScheduler", {"model": ["model", 0], "scheduler": "simple", "steps": 2, "denoise": 1.0}),
}
OURS = {
    "model": "LoadDemoModel",
    "vision": "LoadDemoVision",
    "image": "DrawDemoPortrait",
    "discriminator": "LoadDemoDiscriminator",
    "identity": "EncodeReferenceIdentity",
    "sampler": "AnchoredRectifiedSampler",
    "settings": "AnchoredSamplerSettings",
    "anchored": "AnchoredSampler",
}
NUMBERS = [-1, 0, 1, 2, 0.5, 1.5, -0.0, 1e-300, 1e300, 2**31, 2**63, 2**64, -(2**70), math.nan, math.inf, -math.inf]
TEXTS = [
    "",
    " ",
    "7",
    "nope",
    "none",
    "auto",
    "../..",
    "/etc/passwd",
    "C:\\x",
    "CON",
    "a.",
    "a\0b",
    "\ud800",
    "x" * 5000,
]
TEXTS += ["1, 0.5", "nan", "1e400", "%s%n{0}", "<b>", "😀", "a\nb", "0" * 300]
LITERALS = [*NUMBERS, *TEXTS, None, True, False, [], {}, [1, 2], {"a": 1}, ["nobody", 0], [["model", 0]]]


def options_of(type_: Any, options: dict) -> list:
    return list(type_) if isinstance(type_, list) else list(options.get("options", []))


def is_widget(type_: Any, options: dict) -> bool:
    return isinstance(type_, list) or (type_ in WIDGETS and not options.get("forceInput"))


def inputs_of(info: dict) -> dict[str, tuple[Any, dict]]:
    named = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return {name: (type_, rest[0] if rest else {}) for name, (type_, *rest) in named.items()}


def right_inputs(info: dict) -> dict[str, Any]:
    """Defaults, and links to what gives what is wanted; a report is left out where it is optional."""
    inputs: dict[str, Any] = {}
    for name, (type_, options) in inputs_of(info).items():
        if is_widget(type_, options):
            offered = options_of(type_, options)
            inputs[name] = FEW.get(name, options.get("default", offered[0] if offered else "a person"))
        elif type_ in SOURCES and not (type_ == "RECTIFID_REPORT" and name in info["input"].get("optional", {})):
            inputs[name] = list(SOURCES[type_])
    return inputs


def surroundings(object_info: dict) -> dict[str, dict]:
    prompt = {name: {"class_type": type_, "inputs": inputs} for name, (type_, inputs) in HOSTS.items()}
    return prompt | {
        name: {"class_type": type_, "inputs": right_inputs(object_info[type_])} for name, type_ in OURS.items()
    }


def some_values(type_: Any, options: dict, name: str, junk_names: list[str]) -> st.SearchStrategy:
    """Right ones and wrong ones, typed in or by a link."""
    offered = options_of(type_, options)
    number = type_ in ("INT", "FLOAT")
    right = (
        [FEW[name]] if name in FEW else offered or [options[key] for key in ("min", "max", "default") if key in options]
    )
    junk = st.sampled_from(junk_names).map(lambda key: {"junk": key})
    links = st.sampled_from(list(SOURCES.values())).map(list)
    literals = [each for each in LITERALS if not (name in FEW and isinstance(each, int) and 0 <= each <= 1000)]
    wild = st.sampled_from(literals)
    if number and name not in FEW:
        low, high = options.get("min", -1000), options.get("max", 1000)
        wild = wild | (st.integers(low, high) if type_ == "INT" else st.floats(low, high))
    if type_ == "STRING":
        wild = wild | st.text(max_size=40)
    values = [wild, junk, links]
    return st.one_of(*values, st.sampled_from(right)) if right else st.one_of(*values)


def prompts(object_info: dict, node_id: str, most: int = 3) -> st.SearchStrategy[dict[str, dict]]:
    """Around this node, up to ``most`` of whose inputs are changed, or left out."""
    info = object_info[node_id]
    inputs = inputs_of(info)
    junk_names = object_info["TestGive"]["input"]["required"]["key"][0]

    @st.composite
    def draw_prompt(draw) -> dict[str, dict]:
        changes, junk = {}, {}
        names = st.lists(st.sampled_from(sorted(inputs)), min_size=1, max_size=most, unique=True)
        for name in draw(names if inputs else st.just([])):
            value = draw(some_values(*inputs[name], name, junk_names))
            if isinstance(value, dict) and "junk" in value:
                junk[f"junk {name}"] = {"class_type": "TestGive", "inputs": {"key": value["junk"]}}
                value = [f"junk {name}", 0]
            changes[name] = value
        left_out = {name for name in changes if draw(st.integers(0, 39)) == 0}
        return {**around(object_info, node_id, changes, left_out), **junk}

    return draw_prompt()


def around(object_info: dict, node_id: str, changes: dict[str, Any], left_out: Collection[str] = ()) -> dict[str, dict]:
    """A prompt with this node, right but for the changes, and what it needs and gives."""
    prompt, info = surroundings(object_info), object_info[node_id]
    own = {name: value for name, value in (right_inputs(info) | changes).items() if name not in left_out}
    prompt["node"] = {"class_type": node_id, "inputs": own}
    if node_id == "AnchoredSampler":
        custom = {"model": ["model", 0], "add_noise": True, "noise_seed": 1, "cfg": 1.0, "sigmas": ["sigmas", 0]}
        custom |= {"positive": ["prompt", 0], "negative": ["prompt", 0], "latent_image": ["latent", 0]}
        prompt["custom"] = {"class_type": "SamplerCustom", "inputs": custom | {"sampler": ["node", 0]}}
    last = "custom" if "custom" in prompt else "node"
    for slot in range(len(info["output"]) if last == "node" else 1):
        prompt[f"end {slot}"] = {"class_type": "TestEnd", "inputs": {"value": [last, slot]}}
    return needed(prompt)


def needed(prompt: dict[str, dict]) -> dict[str, dict]:
    """Without the nodes on which nothing depends."""
    found: dict[str, dict] = {}

    def take(name: str) -> None:
        if name in found or name not in prompt:
            return
        found[name] = prompt[name]
        for value in prompt[name]["inputs"].values():
            if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
                take(value[0])

    for name in [*(each for each in prompt if each.startswith("end")), "node"]:
        take(name)
    return found


def answer(server: ComfyServer, prompt: dict) -> tuple[str, str]:
    """What comes back: "drawn", "refused" by the host's own check, "worded" by the pack, or "raw", and the message."""
    try:
        server.run(prompt)
    except NodeError as error:
        return ("worded" if is_worded(error.event) else "raw"), describe(error.event)
    except ServerError as error:
        return "refused", str(error)
    return "drawn", ""


def is_worded(event: dict) -> bool:
    """Whether the pack itself raised it, with words of its own."""
    frames = [line for line in event["traceback"] if line.lstrip().startswith("File ")]
    last = frames[-1] if frames else ""
    ours = "custom_nodes/rectifid" in last.replace("\\", "/") or str(ROOT) in last
    return ours and "raise " in last and len(event["exception_message"].split()) > 4


def describe(event: dict) -> str:
    last = [line for line in event["traceback"] if line.lstrip().startswith("File ")][-1:]
    where = " ".join(last).strip().replace("\n", " ")
    return f"{event['node_type']}: {event['exception_type']}: {event['exception_message'].strip()[:300]} [{where}]"
