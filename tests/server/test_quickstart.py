"""The main job: workflows/01 Quickstart.json through a real server, and what comes back."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from scripts.comfy_server import Event, Interrupted
from scripts.demo import judge, pictures_of, quickstart_prompt

pytestmark = pytest.mark.usefixtures("weights")


@dataclass
class Run:
    """One run of the quickstart: its pictures by name, and what its nodes said."""

    pictures: dict[str, Image.Image]
    events: list[Event]


def run(server, prompt) -> Run:
    events: list[Event] = []
    outputs = server.run(prompt, events.append)
    return Run(pictures_of(server, outputs), events)


def only(prompt, class_type):
    """The id of the one node of this type."""
    (node,) = (node for node, entry in prompt.items() if entry["class_type"] == class_type)
    return node


@pytest.fixture(scope="module")
def prompt(server):
    return quickstart_prompt(server)


@pytest.fixture(scope="module")
def quickstart(server, prompt):
    return run(server, prompt)


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures, in steps of 255."""
    return float(np.abs(np.asarray(first, np.float32) - np.asarray(second, np.float32)).mean())


def test_four_pictures_come_back(quickstart):
    assert set(quickstart.pictures) == {"reference", "unguided", "guided", "convergence"}
    for name in ("reference", "unguided", "guided"):
        assert quickstart.pictures[name].size == (128, 128)
        assert np.asarray(quickstart.pictures[name]).std() > 10, f"{name} is blank"
    assert min(quickstart.pictures["convergence"].size) >= 200


def test_the_identity_is_carried_over(quickstart):
    assert difference(quickstart.pictures["unguided"], quickstart.pictures["guided"]) > 1
    similarity = judge(quickstart.pictures)
    assert similarity["guided"] > similarity["unguided"] + 0.2


def test_the_similarity_climbs_while_it_runs(quickstart, prompt):
    sampler = only(prompt, "AnchoredRectifiedSampler")
    said = [event.text for event in quickstart.events if event.node == sampler and event.text]
    climb = [float(found[1]) for text in said if (found := re.match(r"iteration \d+ of 20: similarity (\S+)$", text))]
    assert len(climb) == 21
    assert climb[-1] > climb[0] + 0.2
    steps = [event.value for event in quickstart.events if event.node == sampler and event.maximum == 21]
    assert steps == sorted(steps) and steps[-1] == 21


def test_without_iterations_it_is_the_ksampler(server, prompt, quickstart):
    sampler = only(prompt, "AnchoredRectifiedSampler")
    unguided = prompt | {sampler: {**prompt[sampler], "inputs": prompt[sampler]["inputs"] | {"iterations": 0}}}
    pictures = run(server, unguided).pictures
    assert difference(pictures["guided"], quickstart.pictures["unguided"]) == 0


def test_cancel_stops_it_and_the_server_goes_on(server, prompt, quickstart):
    sampler = only(prompt, "AnchoredRectifiedSampler")
    inputs = prompt[sampler]["inputs"] | {"iterations": 1000, "seed": 11}
    iterations: list[str] = []

    def cancel(event: Event) -> None:
        if event.node == sampler and event.text:
            iterations.append(event.text)
            if len(iterations) == 2:
                server.interrupt()

    with pytest.raises(Interrupted):
        server.run(prompt | {sampler: {**prompt[sampler], "inputs": inputs}}, cancel)
    assert len(iterations) <= 4

    # Another seed, so that the server does not answer from its cache; KSampler still works, and so does ours.
    ksampler = only(prompt, "KSampler")
    again = {node: {**entry, "inputs": dict(entry["inputs"])} for node, entry in prompt.items()}
    again[ksampler]["inputs"]["seed"] = again[sampler]["inputs"]["seed"] = 12
    again[sampler]["inputs"]["iterations"] = 0
    pictures = run(server, again).pictures
    assert difference(pictures["guided"], pictures["unguided"]) == 0
    assert difference(pictures["unguided"], quickstart.pictures["unguided"]) > 1
