"""workflows/12 Custom sampling.json on a real server."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from scripts.demo import judge, pictures_of
from scripts.environment import ROOT
from scripts.workflow import to_prompt

pytestmark = pytest.mark.usefixtures("weights")


@pytest.fixture(scope="module")
def prompt(object_info):
    return to_prompt(
        json.loads((ROOT / "workflows" / "12 Custom sampling.json").read_text(encoding="utf-8")), object_info
    )


def nodes_of(prompt, class_type):
    return [node for node, entry in prompt.items() if entry["class_type"] == class_type]


def changed(prompt, node, **inputs):
    return prompt | {node: {**prompt[node], "inputs": prompt[node]["inputs"] | inputs}}


def test_the_identity_is_carried_over(server, prompt):
    events = []
    pictures = pictures_of(server, server.run(prompt, events.append))
    similarity = judge(pictures)
    assert similarity["guided"] > similarity["unguided"] + 0.2

    (sampler,) = nodes_of(prompt, "AnchoredSampler")
    (guided,) = (
        node for node in nodes_of(prompt, "SamplerCustomAdvanced") if prompt[node]["inputs"]["sampler"] == [sampler, 0]
    )
    said = [event.text for event in events if event.node == guided and event.text]
    assert len([text for text in said if re.match(r"iteration \d+ of 20: similarity \S+$", text)]) == 21
    assert said[-1].startswith("family: flow\n20 iterations in ")
    steps = [event.value for event in events if event.node == guided and event.maximum == 21]
    assert steps == sorted(steps) and steps[-1] == 21


def test_without_iterations_it_is_euler(server, prompt):
    (sampler,) = nodes_of(prompt, "AnchoredSampler")
    (noise,) = nodes_of(prompt, "RandomNoise")
    again = changed(changed(prompt, sampler, iterations=0), noise, noise_seed=12)
    pictures = pictures_of(server, server.run(again))
    assert np.array_equal(*(np.asarray(pictures[name]) for name in ("guided", "unguided")))


def test_without_guidance_it_draws_all_the_same(server, prompt):
    (sampler,) = nodes_of(prompt, "AnchoredSampler")
    inputs = {name: value for name, value in prompt[sampler]["inputs"].items() if name != "guidance"}
    others = [
        node for node in nodes_of(prompt, "SaveImage") if prompt[node]["inputs"]["filename_prefix"][9:] != "guided"
    ]
    rest = {node: entry for node, entry in prompt.items() if node not in others}
    server.run(rest | {sampler: {**prompt[sampler], "inputs": inputs}})
