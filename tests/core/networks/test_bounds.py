"""Files of a few bytes that ask for all the memory or time of a machine are refused in words, before they get it."""

from __future__ import annotations

import json
import time

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from rectifid_core.discriminators.faces.runtime import open_session
from rectifid_core.discriminators.subjects.discriminator import load_subject_discriminator
from rectifid_core.networks import onnx_file, pretrained_bounds
from rectifid_core.networks.onnx import load_onnx
from rectifid_core.networks.onnx_file import OnnxError, read_whole_onnx
from rectifid_core.networks.pretrained import PretrainedError
from tests.helpers import subject_folders
from tests.helpers.face_packs import write_recogniser
from tests.helpers.properties import examples

HUGE = 1 << 34  # numbers: 64 GiB
LONGEST = 30  # seconds; without a bound the layers alone took a minute, and these take less than 1


def write(path, nodes, **constants):
    """A file that gives what "last" is."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("last", TensorProto.FLOAT, ["batch", 64])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def loop():
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    return [helper.make_node("Loop", ["times", "yes"], [], body=body), helper.make_node("Flatten", ["image"], ["last"])]


def node(operator, inputs, output="last", **attributes):
    return helper.make_node(operator, inputs, [output], **attributes)


HOSTILE = {
    "a constant": ([node("ConstantOfShape", ["shape"])], {"shape": [HUGE]}),
    "a computed shape": (
        [node("Mul", ["a", "a"], "shape"), node("ConstantOfShape", ["shape"], "full"), node("Add", ["full", "image"])],
        {"a": [1 << 17]},
    ),
    "a repetition": ([node("Tile", ["image", "times"])], {"times": [1, 1 << 10, 1 << 10, 1]}),
    "a border": ([node("Pad", ["image", "sides"])], {"sides": [0, 0, 0, 0, 0, 0, 1 << 16, 1 << 16]}),
    "an enlargement": (
        [node("Resize", ["image", "", "scales"], mode="nearest")],
        {"scales": np.array([1, 1, 1e4, 1e4], np.float32)},
    ),
    "a convolution's border": (
        [node("Conv", ["image", "w"], pads=[1 << 16] * 4)],
        {"w": np.zeros((1, 3, 1, 1), np.float32)},
    ),
    "a loop": (loop(), {"times": 1 << 40, "yes": True}),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("load", [load_onnx, open_session], ids=["recogniser", "detector"])
def test_a_file_that_would_take_all_memory_is_refused(tmp_path, name, load):
    nodes, constants = HOSTILE[name]
    path = write(tmp_path / "hostile.onnx", nodes, **constants)
    assert path.stat().st_size < 2000
    started = time.monotonic()
    with pytest.raises(OnnxError, match=r"hostile\.onnx asks for more than .*do not trust it"):
        load(path)
    assert time.monotonic() - started < LONGEST


def test_one_part_of_a_second_file_is_not_read_a_thousand_times(tmp_path, monkeypatch):
    """Each tensor takes all of it, so that the sum is a thousand times the file."""
    monkeypatch.setattr(onnx_file, "LARGEST_WEIGHTS", 1 << 20)
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 14))
    model = onnx.load(write_recogniser(tmp_path / "many.onnx"))
    for number in range(1000):
        tensor = model.graph.initializer.add(name=f"w{number}", data_type=TensorProto.UINT8, dims=[1 << 14])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.bin")
    onnx.save(model, tmp_path / "many.onnx")
    with pytest.raises(OnnxError, match="weights from other files"):
        read_whole_onnx(tmp_path / "many.onnx")


def test_a_file_that_is_too_large_for_the_format_is_not_read(tmp_path):
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(3 << 30)  # of holes
    with pytest.raises(OnnxError, match="more than 2 GiB"):
        load_onnx(tmp_path / "large.onnx")


@examples(150)
@given(st.data())
def test_changed_bytes_are_refused_in_words_or_load(tmp_path_factory, data):
    """In the header's part, which is nearly all of this file, one by one."""
    path = write_recogniser(tmp_path_factory.mktemp("onnx") / "changed.onnx", side=32, width=2)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 9)) == 0:
        del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(content)
    for load in (load_onnx, open_session):
        started = time.monotonic()
        try:
            load(path)
        except OnnxError as error:
            assert "changed.onnx" in str(error)
        assert time.monotonic() - started < LONGEST


@pytest.fixture
def folder(tmp_path):
    subject_folders.write_embedder(tmp_path / "dino")
    return tmp_path / "dino"


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 1_000_000},
        {"hidden_size": 1 << 20, "num_attention_heads": 1},
        {"image_size": 1 << 15},
        {"mlp_ratio": 1 << 20},
    ],
    ids=str,
)
def test_a_configuration_of_a_far_larger_network_is_refused_at_once(folder, changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    started = time.monotonic()
    with pytest.raises(PretrainedError, match=r"do not belong to its config\.json"):
        load_subject_discriminator(folder, None)
    assert time.monotonic() - started < LONGEST


def test_counts_are_found_wherever_they_stand():
    settings = {"backbone_config": {"depths": [2, 10**6]}, "use_layers": True, "hidden_size": 10**6}
    assert pretrained_bounds.larger_than_weights(None, settings, {}) == "depths is 2, and the file has 0 weights in all"
