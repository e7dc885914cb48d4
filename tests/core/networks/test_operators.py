"""Each operator that recognisers use, of every opset from 11 to 20, is what onnxruntime makes of it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rectifid_core.networks import operators
from rectifid_core.networks.onnx import load_onnx
from rectifid_core.networks.onnx_file import OnnxError

OPSETS = range(11, 21)


def random(*shape, seed=1):
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def whole(*numbers):
    return np.array(numbers, np.int64)


CONSTANTS = {
    "kernel": random(8, 3, 3, 3),
    "sides": whole(2, 3),
    "channel": whole(1),
    "parts": whole(3, 5),
    "slope": random(8, 1, 1),
    "low": np.array(-0.3, np.float32),
    "high": np.array(0.4, np.float32),
    "around": whole(0, 0, 1, 1, 0, 0, 1, 1),
    "scale8": random(8, seed=2),
    "bias8": random(8, seed=3),
    "mean8": random(8, seed=4),
    "variance8": np.abs(random(8, seed=5)) + 0.5,
    "scale4": random(4, seed=6),
    "bias4": random(4, seed=7),
    "scale2": random(2, seed=8),
    "bias2": random(2, seed=9),
    "row": whole(0, -1),
    "matrix": random(4, 4),
    "layer": random(16, 128),
    "bias16": random(16),
    "step": np.array(0.05, np.float32),
    "middle": np.array(3, np.int8),
}


def one(operator, *inputs, **attributes):
    return [helper.make_node(operator, ["h", *inputs], ["y"], **attributes)]


def reduced(operator, since):
    def nodes(opset):
        if opset < since:
            return one(operator, axes=[2, 3], keepdims=1)
        return one(operator, "sides", keepdims=1)

    return 11, nodes


def split(opset):
    halves = {"num_outputs": 2} if opset >= 18 else {}
    return [
        helper.make_node("Split", ["h"], ["a", "b"], axis=1, **halves),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]


def split_by_sizes(opset):
    sizes, attributes = ([], {"split": [3, 5]}) if opset < 13 else (["parts"], {})
    return [
        helper.make_node("Split", ["h", *sizes], ["a", "b"], axis=1, **attributes),
        helper.make_node("Concat", ["b", "a"], ["y"], axis=1),
    ]


def dense(opset):
    return [
        helper.make_node("Flatten", ["h"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "layer", "bias16"], ["y"], transB=1),
    ]


def rounded(opset):
    return [
        helper.make_node("QuantizeLinear", ["h", "step", "middle"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "middle"], ["y"]),
    ]


OPERATORS = {  # the oldest opset, and the nodes from "h", (B, 8, 4, 4), to "y"
    "Split": (11, split),
    "Split by sizes": (11, split_by_sizes),
    "ReduceMean": reduced("ReduceMean", 18),
    "ReduceSum": reduced("ReduceSum", 13),
    "ReduceMax": reduced("ReduceMax", 18),
    "ReduceL2": reduced("ReduceL2", 18),
    "LpNormalization": (11, lambda opset: one("LpNormalization", axis=1)),
    "Gelu": (20, lambda opset: one("Gelu")),
    "Gelu by tanh": (20, lambda opset: one("Gelu", approximate="tanh")),
    "Mish": (18, lambda opset: one("Mish")),
    "HardSwish": (14, lambda opset: one("HardSwish")),
    "HardSigmoid": (11, lambda opset: one("HardSigmoid", alpha=1 / 6)),
    "PRelu": (11, lambda opset: one("PRelu", "slope")),
    "Clip": (11, lambda opset: one("Clip", "low", "high")),
    "Pad": (11, lambda opset: one("Pad", "around")),
    "AveragePool": (11, lambda opset: one("AveragePool", kernel_shape=[2, 2], strides=[2, 2])),
    "MaxPool": (11, lambda opset: one("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
    "GlobalAveragePool": (11, lambda opset: one("GlobalAveragePool")),
    "GlobalMaxPool": (11, lambda opset: one("GlobalMaxPool")),
    "BatchNormalization": (11, lambda opset: one("BatchNormalization", "scale8", "bias8", "mean8", "variance8")),
    "LayerNormalization": (17, lambda opset: one("LayerNormalization", "scale4", "bias4", axis=-1)),
    "GroupNormalization": (18, lambda opset: one("GroupNormalization", "scale2", "bias2", num_groups=2)),
    "InstanceNormalization": (11, lambda opset: one("InstanceNormalization", "scale8", "bias8")),
    "Reshape": (11, lambda opset: one("Reshape", "row")),
    "MatMul": (11, lambda opset: one("MatMul", "matrix")),
    "Gemm": (11, dense),
    "Softmax": (11, lambda opset: one("Softmax", axis=-1)),
    "SpaceToDepth": (11, lambda opset: one("SpaceToDepth", blocksize=2)),
    "QuantizeLinear": (11, rounded),
}


def model_of(nodes, opset, given=(), **constants):
    """A convolution before the nodes; ``given``: other nodes at its beginning."""
    convolution = helper.make_node("Conv", ["x", "kernel"], ["h"], strides=[2, 2], pads=[1, 1, 1, 1])
    nodes = [*given, convolution, *nodes]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "recogniser",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(each, name) for name, each in {**CONSTANTS, **constants}.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def both(path, model):
    """What torch and onnxruntime make of the same picture."""
    onnx.save(model, path)
    x = random(1, 3, 8, 8, seed=11)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return load_onnx(path)(torch.from_numpy(x)), torch.from_numpy(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_of_every_opset(tmp_path, name):
    oldest, nodes = OPERATORS[name]
    for opset in OPSETS:
        if opset >= oldest:
            ours, theirs = both(tmp_path / "model.onnx", model_of(nodes(opset), opset))
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("opset", [20, 22])
def test_a_younger_operator_beside_one_that_is_read_as_an_older_one(tmp_path, opset):
    nodes = [helper.make_node("Mish", ["h"], ["m"]), helper.make_node("ReduceMean", ["m", "sides"], ["y"], keepdims=0)]
    torch.testing.assert_close(*both(tmp_path / "model.onnx", model_of(nodes, opset)), atol=1e-5, rtol=1e-4)


def test_scales_of_each_channel_in_a_group_norm(tmp_path):
    nodes = one("GroupNormalization", "scale8", "bias8", num_groups=2)
    torch.testing.assert_close(*both(tmp_path / "model.onnx", model_of(nodes, 21)), atol=1e-5, rtol=1e-4)


# --- weights and activations of whole numbers


def quantised(opset=13, by_channel=True):
    """A convolution with weights of 8 bits, between activations of 8 bits, as quantising tools write it."""
    kernel = CONSTANTS["kernel"]
    size = np.abs(kernel).max(axis=(1, 2, 3)) if by_channel else np.abs(kernel).max()
    scale = (size / 127).astype(np.float32)
    numbers = np.round(kernel / (scale[:, None, None, None] if by_channel else scale)).astype(np.int8)
    given = [
        helper.make_node("QuantizeLinear", ["x", "fine", "middle"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "fine", "middle"], ["image"]),
        helper.make_node("DequantizeLinear", ["numbers", "scales", "zeros"], ["weights"], axis=0),
    ]
    convolution = helper.make_node("Conv", ["image", "weights"], ["h"], strides=[2, 2], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [*given, convolution, *rounded(opset)],
        "recogniser",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(each, name)
            for name, each in {
                "fine": np.array(0.02, np.float32),
                "step": CONSTANTS["step"],
                "middle": CONSTANTS["middle"],
                "numbers": numbers,
                "scales": scale,
                "zeros": np.zeros(scale.shape, np.int8),
            }.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [13, 17, 19, 20])
@pytest.mark.parametrize("by_channel", [True, False])
def test_a_file_of_eight_bits(tmp_path, opset, by_channel):
    """To a step of what it rounds to: kernels of whole numbers sum in another order."""
    ours, theirs = both(tmp_path / "model.onnx", quantised(opset, by_channel))
    assert (ours - theirs).abs().max() <= 1.01 * CONSTANTS["step"]
    assert (ours - theirs).abs().mean() < 0.1 * CONSTANTS["step"]


def test_the_gradient_of_a_file_of_eight_bits_is_that_of_the_exact_one(tmp_path):
    gradients = []
    x = torch.from_numpy(random(1, 3, 8, 8, seed=11)) / 3
    for name, model in (("exact", model_of(one("Identity"), 13)), ("rounded", quantised())):
        onnx.save(model, tmp_path / f"{name}.onnx")
        image = x.clone().requires_grad_()
        weights = torch.from_numpy(random(1, 8, 4, 4, seed=12))
        gradients.append(torch.autograd.grad((load_onnx(tmp_path / f"{name}.onnx")(image) * weights).sum(), image)[0])
    assert torch.cosine_similarity(*(each.flatten() for each in gradients), dim=0) > 0.99


@pytest.mark.parametrize("operator", ["DynamicQuantizeLinear", "ConvInteger"])
def test_another_way_to_whole_numbers_is_refused_by_its_name(tmp_path, operator):
    inputs = {"DynamicQuantizeLinear": ["h"], "ConvInteger": ["h", "kernel"]}[operator]
    outputs = {"DynamicQuantizeLinear": ["y", "scale", "zero"], "ConvInteger": ["y"]}[operator]
    onnx.save(model_of([helper.make_node(operator, inputs, outputs)], 17), tmp_path / "model.onnx")
    with pytest.raises(OnnxError, match=operator):
        load_onnx(tmp_path / "model.onnx")


def test_a_second_copy_of_the_pack_makes_them_known_again():
    """As where it is in custom_nodes twice, or under two names in one process."""
    operators.register()
    operators.register.__wrapped__()
