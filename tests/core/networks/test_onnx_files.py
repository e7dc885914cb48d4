"""ONNX files as people have them: weights beside them, in a cache of links, of new opsets, in other types, damaged."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.images.regions import whole
from rectifid_core.networks.onnx import load_onnx
from rectifid_core.networks.onnx_file import OnnxError, external_files

SIDE, WIDTH = 16, 10
posix = pytest.mark.skipif(os.name != "posix", reason="a link takes an administrator here")


def recogniser(opset: int = 13, kind: int = TensorProto.FLOAT, given: int | None = None) -> onnx.ModelProto:
    """Convolution, PReLU, addition, matrix product, and the unit vector of that; weights of ``kind``.

    given: the type of the input and the output, where it is another.
    """
    random = np.random.default_rng(0)
    given = given or kind

    def weight(name, *shape):
        numbers = random.normal(0, 0.3, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
        return numpy_helper.from_array(numbers, name)

    weights = [weight("w", 4, 3, 3, 3), weight("slope", 4, 1, 1), weight("m", 4 * 8 * 8, WIDTH)]
    weights.append(numpy_helper.from_array(np.array([0, -1]), "flat"))
    weights.append(numpy_helper.from_array(np.array([1]), "axes"))
    axes = {"axes": [1]} if opset < 18 else {}
    nodes = [
        helper.make_node("Cast", ["x"], ["image"], to=kind),
        helper.make_node("Conv", ["image", "w"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Reshape", ["d", "flat"], ["e"]),
        helper.make_node("MatMul", ["e", "m"], ["f"]),
        helper.make_node("ReduceL2", ["f"] if opset < 18 else ["f", "axes"], ["n"], keepdims=1, **axes),
        helper.make_node("Div", ["f", "n"], ["g"]),
        helper.make_node("Cast", ["g"], ["embedding"], to=given),
    ]
    graph = helper.make_graph(
        nodes,
        "recogniser",
        [helper.make_tensor_value_info("x", given, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", given, ["batch", WIDTH])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def keep_weights_in(model: onnx.ModelProto, location: str, **entries: str) -> bytes:
    """Has the model read its matrix from a file of that name; returns what is to be in it."""
    (matrix,) = (tensor for tensor in model.graph.initializer if tensor.name == "m")
    content = matrix.raw_data
    onnx.external_data_helper.set_external_data(matrix, location)
    for key, value in entries.items():
        matrix.external_data.add(key=key, value=value)
    matrix.ClearField("raw_data")
    return content


def write(folder: Path, model: onnx.ModelProto) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.onnx").write_bytes(model.SerializeToString())
    return folder / "toy.onnx"


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def runtime(model: onnx.ModelProto) -> torch.Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    kind = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    return torch.from_numpy(session.run(None, {"x": images().numpy().astype(kind)})[0]).float()


class TestExternalData:
    @pytest.fixture
    def expected(self):
        return runtime(recogniser())

    @posix
    def test_a_cache_of_links_into_one_folder(self, tmp_path, expected):
        """Hugging Face's: snapshots/<revision>/<name> leads to blobs/<digest>, and so does the second file."""
        model = recogniser()
        weights = keep_weights_in(model, "toy.onnx_data")
        snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
        for folder in (snapshot, blobs):
            folder.mkdir(parents=True)
        for name, blob, content in (("toy.onnx", "1f", model.SerializeToString()), ("toy.onnx_data", "2e", weights)):
            (blobs / blob).write_bytes(content)
            (snapshot / name).symlink_to(Path("..", "..", "blobs", blob))
        torch.testing.assert_close(load_onnx(snapshot / "toy.onnx")(images()), expected, atol=1e-5, rtol=1e-4)
        assert external_files(snapshot / "toy.onnx") == [(blobs / "2e").resolve()]

    @posix
    def test_beside_the_real_file_of_a_link(self, tmp_path, expected):
        model = recogniser()
        weights = keep_weights_in(model, "weights.bin")
        path = write(tmp_path / "elsewhere", model)
        (path.parent / "weights.bin").write_bytes(weights)
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "mine.onnx").symlink_to(path)
        torch.testing.assert_close(load_onnx(tmp_path / "models" / "mine.onnx")(images()), expected, atol=1e-5, rtol=0)

    @posix
    def test_a_link_out_of_both_folders_is_refused(self, tmp_path):
        model = recogniser()
        (tmp_path / "secret.bin").write_bytes(keep_weights_in(model, "weights.bin"))
        path = write(tmp_path / "models", model)
        (path.parent / "weights.bin").symlink_to(tmp_path / "secret.bin")
        with pytest.raises(OnnxError, match="outside of its own folder"):
            load_onnx(path)

    def test_a_hard_link_is_a_file_like_any_other(self, tmp_path, expected):
        model = recogniser()
        (tmp_path / "weights.bin").write_bytes(keep_weights_in(model, "weights.bin"))
        path = write(tmp_path / "models", model)
        os.link(tmp_path / "weights.bin", path.parent / "weights.bin")
        torch.testing.assert_close(load_onnx(path)(images()), expected, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize(
        "entries",
        [
            {"offset": "-1"},
            {"offset": "1000000"},
            {"offset": "many"},
            {"offset": "0", "length": "-5"},
            {"offset": "4096", "length": "9999999"},
        ],
    )
    def test_a_part_that_is_not_in_the_second_file(self, tmp_path, entries):
        model = recogniser()
        weights = keep_weights_in(model, "weights.bin", **entries)
        path = write(tmp_path, model)
        (tmp_path / "weights.bin").write_bytes(weights)
        with pytest.raises(OnnxError, match="weights.bin, do not belong together"):
            load_onnx(path)

    def test_too_little_in_the_second_file(self, tmp_path):
        model = recogniser()
        weights = keep_weights_in(model, "weights.bin")
        path = write(tmp_path, model)
        (tmp_path / "weights.bin").write_bytes(weights[:-8])
        with pytest.raises(OnnxError, match="toy.onnx"):
            load_onnx(path)

    @pytest.mark.parametrize("name", ["a" * 1000, "we\0ights", ".", ""])
    def test_names_that_no_file_has(self, tmp_path, name):
        model = recogniser()
        keep_weights_in(model, name)
        with pytest.raises(OnnxError, match="toy.onnx"):
            load_onnx(write(tmp_path, model))

    def test_the_digest_covers_them(self, tmp_path):
        """Two networks of one graph are two networks."""
        model = recogniser()
        weights = keep_weights_in(model, "weights.bin")
        digests = set()
        for content in (weights, bytes(reversed(weights))):
            path = write(tmp_path, model)
            (tmp_path / "weights.bin").write_bytes(content)
            digests.add(load_onnx(path).digest)
        assert len(digests) == 2

    def test_without_them_it_is_that_of_the_file(self, tmp_path):
        path = write(tmp_path, recogniser())
        assert load_onnx(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_the_file_may_be_replaced_while_its_network_is_in_use(self, tmp_path):
        model = recogniser()
        weights = keep_weights_in(model, "weights.bin")
        path = write(tmp_path, model)
        (tmp_path / "weights.bin").write_bytes(weights)
        network = load_onnx(path)
        before = network(images())
        for file in (path, tmp_path / "weights.bin"):
            file.write_bytes(b"")
        assert torch.equal(network(images()), before)


class TestOpsets:
    @pytest.mark.parametrize("opset", range(11, 25))
    def test_the_numbers_are_those_of_onnxruntime(self, tmp_path, opset):
        model = recogniser(opset)
        torch.testing.assert_close(load_onnx(write(tmp_path, model))(images()), runtime(model), atol=1e-5, rtol=1e-4)

    def test_an_operator_that_is_too_new_is_refused_with_the_opset(self, tmp_path):
        model = recogniser(22)
        model.graph.node[3].op_type = "BitwiseNot"
        with pytest.raises(OnnxError, match="BitwiseNot.*opset 22; what works is up to 17"):
            load_onnx(write(tmp_path, model))

    def test_other_numbers_than_the_file_s_are_refused(self, tmp_path):
        """An attribute of the newer operator that changes what it computes: rounding up of a pooling's size."""
        model = recogniser(22)
        pool = helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[3, 3], pads=[2] * 4, dilations=[2, 2])
        model.graph.node[3].CopyFrom(pool)
        runtime(model)
        with pytest.raises(OnnxError, match="opset 22"):
            load_onnx(write(tmp_path, model))


def by_definition(model: onnx.ModelProto) -> torch.Tensor:
    """onnxruntime computes some operators in no more than float32; the standard's own evaluator does all."""
    kind = helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    given = ReferenceEvaluator(model).run(None, {"x": images().numpy().astype(kind)})[0]
    return torch.from_numpy(np.asarray(given, np.float32))


class TestTypes:
    KINDS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)

    @pytest.mark.parametrize("given", KINDS, ids=TensorProto.DataType.Name)
    @pytest.mark.parametrize("kind", KINDS, ids=TensorProto.DataType.Name)
    def test_any_floating_type_embeds_in_float32(self, tmp_path, kind, given):
        model = recogniser(kind=kind, given=given)
        network = load_onnx(write(tmp_path, model))
        toy = EmbeddingDiscriminator(network, name="toy", digest="", input_size=SIDE, mean=0.0, std=1.0)
        pictures = images().requires_grad_()
        embeddings = toy.embed(toy.crop(pictures, [whole(pictures)] * 2))
        assert embeddings.dtype == torch.float32
        assert (embeddings * torch.nn.functional.normalize(by_definition(model))).sum(dim=1).min() > 0.999
        (gradient,) = torch.autograd.grad(embeddings[:, 0].sum(), pictures)
        assert gradient.dtype == torch.float32 and gradient.isfinite().all() and gradient.any()

    @pytest.mark.parametrize("kind", KINDS, ids=TensorProto.DataType.Name)
    def test_also_where_all_weights_are_constants_and_none_a_parameter(self, tmp_path, kind):
        model = recogniser(kind=kind)
        del model.graph.node[:4]
        model.graph.node[0].CopyFrom(helper.make_node("AveragePool", ["x"], ["d"], kernel_shape=[4, 4], strides=[4, 4]))
        numbers = np.random.default_rng(0).normal(size=(3 * 16, WIDTH)).astype(helper.tensor_dtype_to_np_dtype(kind))
        model.graph.initializer[2].CopyFrom(numpy_helper.from_array(numbers, "m"))
        network = load_onnx(write(tmp_path, model))
        assert not list(network.parameters())
        toy = EmbeddingDiscriminator(network, name="toy", digest="", input_size=SIDE, mean=0.0, std=1.0)
        embeddings = toy.embed(images())
        assert embeddings.dtype == torch.float32
        assert (embeddings * torch.nn.functional.normalize(by_definition(model))).sum(dim=1).min() > 0.999


def test_an_operator_of_a_domain_that_is_not_declared(tmp_path):
    model = recogniser()
    model.graph.node[3].domain = "com.somebody"
    with pytest.raises(OnnxError, match="Relu is of the domain 'com.somebody'"):
        load_onnx(write(tmp_path, model))


def test_nan_is_the_recogniser_s_and_not_the_picture_s(tmp_path):
    model = recogniser()
    model.graph.initializer[0].raw_data = np.full((4, 3, 3, 3), np.nan, np.float32).tobytes()
    toy = EmbeddingDiscriminator(load_onnx(write(tmp_path, model)), name="toy", digest="", input_size=SIDE)
    with pytest.raises(FloatingPointError, match="toy makes nan or infinity"):
        toy.embed(images())


def test_nan_of_the_picture_is_not_blamed_on_the_recogniser(tmp_path):
    toy = EmbeddingDiscriminator(load_onnx(write(tmp_path, recogniser())), name="toy", digest="", input_size=SIDE)
    assert toy.embed(images() * torch.nan).isnan().all()
