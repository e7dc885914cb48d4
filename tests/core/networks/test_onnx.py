"""Files become torch networks that agree with onnxruntime, or are refused with advice."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.networks.onnx import input_size, load_onnx
from rectifid_core.networks.onnx_file import OnnxError
from tests.helpers.places import SHARED
from tests.helpers.worlds import rng

MOBILEFACENET = SHARED / "models" / "mobilefacenet.onnx"


def write(
    path, batch="batch", side=16, channels=3, flat=("batch", -1), operator="PRelu", rank=4, outputs=1, old_style=False
):
    """A small recogniser with random weights; ``flat`` is the shape to which its features are reshaped.

    A named axis is free; old_style lists the weights among the inputs, as early exporters did.
    """
    random = np.random.default_rng(0)

    def weight(name, *shape):
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    weights = [weight("w", 4, 3, 3, 3), weight("slope", 4, 1, 1), weight("m", 4 * 8 * 8, 10)]
    weights.append(numpy_helper.from_array(np.array([0 if axis == "batch" else axis for axis in flat]), "flat"))
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["a", "slope"], ["b"]),
        helper.make_node("Reshape", ["b", "flat"], ["c"]),
        helper.make_node("MatMul", ["c", "m"], ["embedding"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, side, side][:rank])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [flat[0], 10])
    also = [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)][: outputs - 1]
    inputs = [image] + [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights if old_style]
    graph = helper.make_graph(nodes, "recogniser", inputs, [embedding, *also], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def runtime(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.from_numpy(np.concatenate([session.run(None, {name: sample[None].numpy()})[0] for sample in x]))


def noise(batch, side):
    return torch.rand(batch, 3, side, side, generator=rng()) * 2 - 1


@pytest.mark.parametrize(
    ("file", "one_by_one"),
    [({}, False), ({"batch": 1, "flat": (-1, 256)}, False), ({"batch": 1, "flat": (1, -1)}, True)],
)
def test_a_file_for_one_image_takes_a_batch_where_it_can(tmp_path, file, one_by_one):
    assert load_onnx(write(tmp_path / "toy.onnx", **file)).one_by_one == one_by_one


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"old_style": True},
        {"side": None},
        {"batch": 1, "flat": (1, -1)},  # made for one image, as most exports are
        {"flat": (1, -1)},  # claims any batch, and is made for one
    ],
)
def test_parity_with_onnxruntime(tmp_path, file):
    path = write(tmp_path / "toy.onnx", **file)
    network, x = load_onnx(path), noise(3, 16)
    torch.testing.assert_close(network(x), runtime(path, x), atol=1e-5, rtol=1e-5)


def test_parity_of_a_real_recogniser():
    if not MOBILEFACENET.is_file():
        pytest.skip(f"{MOBILEFACENET.name} is not in {MOBILEFACENET.parent}; RECTIFID_SHARED names another folder")
    network, x = load_onnx(MOBILEFACENET), noise(3, input_size(MOBILEFACENET))
    cosines = torch.cosine_similarity(network(x), runtime(MOBILEFACENET, x))
    assert (cosines > 0.9999).all()


def test_frozen_and_differentiable(tmp_path):
    network = load_onnx(write(tmp_path / "toy.onnx"))
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    toy = EmbeddingDiscriminator(network, name="toy", digest="0" * 64, input_size=16)
    image = torch.rand(2, 3, 40, 40, generator=rng(), requires_grad=True)
    toy.embed(toy.crop(image, [region for (region,) in toy.locate(image)]))[:, 0].sum().backward()
    assert image.grad.isfinite().all() and (image.grad != 0).float().mean() > 0.9


def test_input_size(tmp_path):
    assert input_size(write(tmp_path / "toy.onnx")) == 16
    with pytest.raises(OnnxError, match="input size"):
        input_size(write(tmp_path / "free.onnx", side="side"))


def test_the_size_of_the_file_is_kept(tmp_path):
    with pytest.raises(OnnxError, match=r"\(any, 3, 16, 16\), not \(2, 3, 20, 20\)"):
        load_onnx(write(tmp_path / "toy.onnx"))(noise(2, 20))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"rank": 3}, r"\(any, 3, 16\).*\(batch, 3, height, width\)"),
        ({"channels": 1}, r"\(any, 1, 16, 16\)"),
        ({"batch": 2}, "2 images"),
        ({"operator": "Hamming"}, "Hamming"),
        ({"outputs": 2}, "2 outputs"),
    ],
)
def test_files_that_are_no_discriminator_are_refused(tmp_path, file, message):
    with pytest.raises(OnnxError, match=message):
        load_onnx(write(tmp_path / "bad.onnx", **file))


def test_a_damaged_file_is_refused(tmp_path):
    path = write(tmp_path / "cut.onnx")
    whole = path.read_bytes()
    for length in (*range(0, len(whole) - 1, 97), len(whole) - 1, len(whole) - 4, len(whole) - 6):
        path.write_bytes(whole[:length])
        with pytest.raises(OnnxError, match="cut.onnx.*part"):
            load_onnx(path)
    path.write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(OnnxError, match="not an ONNX file"):
        load_onnx(path)


@pytest.mark.parametrize("lost", ["input", "output"])
def test_a_graph_that_contradicts_itself(tmp_path, lost):
    model = onnx.load(write(tmp_path / "bad.onnx"))
    getattr(model.graph.node[-1], lost)[0] = "nowhere"
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(OnnxError, match="bad.onnx"):
        load_onnx(tmp_path / "bad.onnx")


def external(path, location):
    model = onnx.load(write(path))
    for tensor in model.graph.initializer:
        if tensor.name == "m":
            (path.parent / "weights.bin").write_bytes(tensor.raw_data)
            onnx.external_data_helper.set_external_data(tensor, location)
            tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_stays_in_its_folder(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    inside = external(folder / "toy.onnx", "weights.bin")
    x = noise(2, 16)
    torch.testing.assert_close(load_onnx(inside)(x), runtime(inside, x), atol=1e-5, rtol=1e-5)

    (tmp_path / "secret.bin").write_bytes((folder / "weights.bin").read_bytes())
    locations = ["../secret.bin", str(tmp_path / "secret.bin")]
    if os.name == "posix":  # elsewhere a link takes an administrator
        (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
        locations.append("link.bin")
    for location in locations:
        with pytest.raises(OnnxError, match="outside"):
            load_onnx(external(folder / "toy.onnx", location))
    with pytest.raises(OnnxError, match="lost.bin"):
        load_onnx(external(folder / "toy.onnx", "lost.bin"))
