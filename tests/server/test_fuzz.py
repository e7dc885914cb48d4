"""Whatever a prompt has in the inputs of the pack's nodes, the answer is a picture, or a message in words.

RECTIFID_EXAMPLES=50 python -m pytest tests/server/test_fuzz.py tries fifty times as many prompts, and other ones each
time.
"""

from __future__ import annotations

import copy
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.comfy_server import serving
from scripts.environment import ROOT
from scripts.workflow import WorkflowError, to_prompt
from tests.helpers.fuzzed_prompts import answer, around, inputs_of, is_widget, prompts
from tests.helpers.properties import examples
from tests.helpers.servers import write_base

from .test_server import NODES

pytestmark = pytest.mark.usefixtures("weights")

LONGEST = 30  # seconds for one answer; each was seen within 3
SOCKETS = ["image", "latent", "conditioning of another model", "nothing", "nan", "mask", "list"]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    base = write_base(tmp_path_factory.mktemp("fuzz"))
    with serving(base, base / "output") as server:
        yield server


@pytest.fixture(scope="module")
def infos(faulty):
    return faulty.object_info()


def check(server, prompt):
    started = time.monotonic()
    kind, said = answer(server, prompt)
    assert kind != "raw", said
    assert time.monotonic() - started < LONGEST
    return kind


@pytest.mark.parametrize("node_id", NODES)
def test_a_node_answers_in_words(faulty, infos, node_id):
    @examples(8)
    @given(prompts(infos, node_id))
    def answers(prompt):
        check(faulty, prompt)

    answers()


@pytest.mark.parametrize("node_id", NODES)
def test_each_socket_answers_what_does_not_belong_there_in_words(faulty, infos, node_id):
    for name, (type_, options) in inputs_of(infos[node_id]).items():
        for key in () if is_widget(type_, options) else SOCKETS:
            prompt = around(infos, node_id, {name: ["junk", 0]})
            prompt["junk"] = {"class_type": "TestGive", "inputs": {"key": key}}
            check(faulty, prompt)


def test_most_prompts_reach_their_node(faulty, infos):
    """The right inputs are right, so that what is refused is so for what was changed."""
    for node_id in NODES:
        if not node_id.startswith(("LoadFace", "LoadSubject", "LoadEmbedding", "LoadIdentity", "Describe")):
            assert check(faulty, around(infos, node_id, {})) == "drawn", node_id


@examples(12)
@given(st.data())
def test_a_graph_of_another_version_is_drawn_or_refused_in_words(faulty, infos, data):
    """Whose lists of values have one more, one less, or two exchanged, as where widgets came or went."""
    graph = json.loads((ROOT / "workflows" / "01 Quickstart.json").read_text(encoding="utf-8"))
    ours = [node for node in graph["nodes"] if node["type"] in NODES and node.get("widgets_values")]
    sampler = next(node for node in ours if node["type"] == "AnchoredRectifiedSampler")
    widgets = [name for name, of in inputs_of(infos[sampler["type"]]).items() if is_widget(*of)]
    shift = 1 + widgets.index("seed")  # the editor's own widget beside each seed
    sampler["widgets_values"][widgets.index("iterations") + (shift <= widgets.index("iterations"))] = 1
    node = data.draw(st.sampled_from(ours), label="node")
    values = node["widgets_values"]
    place = data.draw(st.integers(0, len(values) - 1), label="place")
    change = data.draw(st.sampled_from(["less", "more", "exchanged", "none"]), label="change")
    if change == "less":
        del values[place]
    elif change == "more":
        values.insert(place, copy.deepcopy(data.draw(st.sampled_from(["enable", 7, 0.5, None]), label="new")))
    elif change == "exchanged":
        values[place - 1], values[place] = values[place], values[place - 1]
    try:
        prompt = to_prompt(graph, infos)
    except WorkflowError as error:
        assert re.search("has no value for .* another version", str(error))
        return
    for entry in prompt.values():  # what the shift made dear, and is right
        for name, most in (("iterations", 3), ("steps", 4)):
            if isinstance(entry["inputs"].get(name), int):
                entry["inputs"][name] = min(entry["inputs"][name], most)
    check(faulty, prompt)
