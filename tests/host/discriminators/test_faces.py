"""Real faces through the nodes: packs, choice, description, guidance.  The weights are no part of the project."""

import functools
import importlib.util
import re
import shutil
from dataclasses import replace
from pathlib import Path

import folder_paths
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import nodes as host_nodes
from tests.helpers.places import SHARED

MODELS = SHARED / "models"
DETECTOR, RECOGNISER = "scrfd_2.5g_bnkps.onnx", "mobilefacenet.onnx"

if missing := [str(MODELS / name) for name in (DETECTOR, RECOGNISER) if not (MODELS / name).is_file()]:
    pytest.skip(f"no face pack here: {', '.join(missing)}", allow_module_level=True)
if not (INSIGHTFACE := importlib.util.find_spec("insightface")):
    pytest.skip("the package insightface is not installed", allow_module_level=True)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The host's folder of packs, with one pack, "small"."""
    folder = tmp_path / "insightface" / "models"
    (folder / "small").mkdir(parents=True)
    for name in (DETECTOR, RECOGNISER):
        shutil.copy(MODELS / name, folder / "small")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(folder.parent)], set()))
    return folder


@pytest.fixture
def load(run, models):
    return lambda pack="small", **inputs: run("LoadFaceDiscriminator", pack=pack, **inputs).result[0]


@pytest.fixture
def encode(run, load):
    load = functools.cache(load)
    return lambda images, **inputs: run("EncodeReferenceIdentity", discriminator=load(), images=images, **inputs)


@pytest.fixture(scope="module")
def group():
    """The photo of six people that insightface brings, as the host loads it; 1280 x 886 pixels."""
    path = Path(INSIGHTFACE.origin).parent / "data" / "images" / "t1.jpg"
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")) / np.float32(255))[None]


def one_face(group):
    return group[:, 230:500, 10:280]


def write_onnx(path, nodes, shape, width, constants, opset=17):
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, width])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("nobody.knows", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def write_recogniser(path, shape=(112, 112), first=None):
    """Of the right form: 112 x 112 pixels to 128 numbers, from means of 8 x 8 pixels."""
    first = first or helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8])
    projection = np.random.default_rng(0).normal(size=(3 * shape[0] * shape[1] // 64, 128)).astype(np.float32)
    nodes = [
        first,
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["y"]),
    ]
    write_onnx(path, nodes, shape, 128, {"projection": projection})


def write_attributes(path, gender, age):
    """Says the same of everybody, in the form of insightface's genderage.onnx."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "answer"], ["y"]),
    ]
    answer = np.float32([[gender == "woman", gender == "man", age / 100]])
    write_onnx(path, nodes, (96, 96), 3, {"zero": np.float32(0), "answer": answer})


class TestLoad:
    def options(self, nodes):
        return nodes["LoadFaceDiscriminator"].INPUT_TYPES()["required"]["pack"][1]["options"]

    def test_the_packs_of_all_folders_are_offered(self, nodes, models, tmp_path, monkeypatch, load):
        elsewhere = tmp_path / "elsewhere"
        (models / "empty").mkdir()
        shutil.copytree(models / "small", elsewhere / "models" / "nested" / "nested")
        folders = [str(models.parent), str(tmp_path / "nowhere"), str(elsewhere)]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", (folders, set()))
        assert self.options(nodes) == ["nested", "small"]
        assert load("nested").digest == load("small").digest

    def test_no_pack_at_all(self, nodes, load, models):
        shutil.rmtree(models)
        [placeholder] = self.options(nodes)
        message = f"There is no face pack in {models}.*scrfd_10g_bnkps.*glintr100.*AuraFace.*press R"
        with pytest.raises(ValueError, match=message):
            load(placeholder)

    def test_a_pack_that_is_gone_is_missed_before_anything_runs(self, nodes, load, models):
        message = f"There is no face pack antelopev2 in {models}.*scrfd_10g_bnkps.*glintr100.*AuraFace"
        with pytest.raises(ValueError, match=message):
            load("antelopev2")
        validate = nodes["LoadFaceDiscriminator"].validate_inputs
        assert re.match(message, validate(pack="antelopev2"))
        assert validate(pack="small") is True and validate() is True

    @pytest.mark.parametrize(("gone", "lacks"), [(DETECTOR, "detector"), (RECOGNISER, "recogniser")])
    def test_a_pack_that_lacks_a_file(self, load, models, gone, lacks):
        (models / "small" / gone).unlink()
        with pytest.raises(ValueError, match=lacks) as error:
            load()
        assert str(models / "small") in str(error.value)

    def test_a_changed_file_is_loaded_again(self, nodes, models):
        fingerprint = nodes["LoadFaceDiscriminator"].fingerprint_inputs
        before = fingerprint(pack="small", precision="fp32", detection_threshold=0.5)
        (models / "small" / RECOGNISER).touch()
        assert fingerprint(pack="small", precision="fp32", detection_threshold=0.5) != before

    @pytest.mark.parametrize(("precision", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
    def test_less_precision_is_nearly_the_same(self, run, load, group, precision, dtype):
        face, exact = one_face(group), load()
        coarse = load(precision=precision)
        assert {weight.dtype for weight in coarse.networks[0].parameters()} == {dtype}
        embeddings = [
            run("EncodeReferenceIdentity", discriminator=each, images=face).result[0].identity.embedding
            for each in (exact, coarse)
        ]
        assert embeddings[0] @ embeddings[1] > 0.99

    def test_the_threshold_is_the_detectors(self, load):
        assert load(detection_threshold=0.8).threshold == 0.8

    @pytest.mark.parametrize("file", [DETECTOR, RECOGNISER])
    def test_a_truncated_file(self, load, models, file):
        path = models / "small" / file
        path.write_bytes(path.read_bytes()[:20000])
        with pytest.raises(ValueError, match=f"small.*{file}"):
            load()

    def test_weights_from_outside_of_the_folder(self, load, models):
        path = models / "small" / RECOGNISER
        write_recogniser(path)
        model = onnx.load(path)
        onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        (models / "small" / "weights.bin").rename(models / "weights.bin")
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].external_data[0].value = "../weights.bin"
        onnx.save(model, path)
        with pytest.raises(ValueError, match=f"{RECOGNISER} .*outside"):
            load()

    def test_an_unknown_operator_is_named(self, load, models):
        node = helper.make_node("Riddle", ["x"], ["pooled"], domain="nobody.knows")
        write_recogniser(models / "small" / RECOGNISER, first=node)
        with pytest.raises(ValueError, match=f"{RECOGNISER}.*Riddle"):
            load()

    def test_a_recogniser_for_another_kind_of_picture(self, load, models):
        write_recogniser(models / "small" / RECOGNISER, shape=(64, 200))
        with pytest.raises(ValueError, match=r"no.*recogniser.*64, 200"):
            load()

    def test_a_pickle_by_another_name(self, load, models):
        torch.save({"weights": torch.zeros(3)}, models / "small" / RECOGNISER)
        with pytest.raises(ValueError, match=f"small.*{RECOGNISER}"):
            load()


class TestEncode:
    def test_six_faces_and_none_chosen(self, encode, group):
        with pytest.raises(ValueError, match="6 faces.*number 0 at .*number 5 at"):
            encode(group)

    def test_no_face(self, encode, group):
        noise = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
        with pytest.raises(ValueError, match="reference image.*no face.*64 pixels"):
            encode(noise)
        with pytest.raises(ValueError, match="reference image 2 of 2.*no face"):
            encode([one_face(group), torch.zeros(1, 9, 9, 3)])

    @pytest.mark.parametrize(
        ("which", "centre"), [("leftmost", (115, 330)), ("central", (520, 340)), ("largest", (520, 340))]
    )
    def test_one_of_six(self, encode, group, which, centre):
        identity, crops, boxes = encode(group, which=which).result
        [reference] = identity.identity.references
        assert len(reference.regions) == 6 and reference.chosen.centre == pytest.approx(centre, abs=6)
        assert crops.shape == (1, 112, 112, 3) and boxes.shape == (1, 709, 1024, 3)

    def test_the_number_in_the_boxes_picture_is_the_index(self, encode, group):
        for index in range(6):
            [reference] = encode(group, which="index", index=index).result[0].identity.references
            assert reference.index == index and reference.chosen is reference.regions[index]
        with pytest.raises(ValueError, match="no face number 6"):
            encode(group, which="index", index=6)

    def test_the_face_under_a_mask(self, encode, group):
        mask = torch.zeros(1, *group.shape[1:3])
        mask[:, 300:360, 1150:1200] = 1
        assert encode(group, mask=mask).result[0].identity.references[0].chosen.centre == pytest.approx(
            (1180, 335), abs=6
        )
        with pytest.raises(ValueError, match="mask covers no face"):
            encode(group, mask=mask.flip(1))
        with pytest.raises(ValueError, match="mask.*1280 x 440.*1280 x 886"):
            encode(group, mask=mask[:, :440])

    def test_words_are_no_use(self, encode, group):
        with pytest.raises(ValueError, match="small.*a man"):
            encode(group, text="a man")

    def test_a_small_face_is_doubted(self, encode, group):
        small = torch.nn.functional.interpolate(one_face(group).movedim(-1, 1), scale_factor=0.3, mode="area")
        output = encode(small.movedim(1, -1))
        assert re.search(r"\nWarning: the face is only 3\d pixels wide", output.ui["text"][0])

    @pytest.mark.parametrize("kind", ["grey", "transparent", "float64", "flipped twice"])
    def test_the_same_face_in_other_layouts(self, encode, group, kind):
        face = one_face(group)
        image, least = {
            "grey": (face.mean(dim=-1, keepdim=True), 0.7),
            "transparent": (torch.cat([face, torch.ones_like(face[..., :1])], dim=-1), 0.999),
            "float64": (face.double(), 0.999),
            "flipped twice": (face.flip(2).contiguous().flip(2), 0.999),
        }[kind]
        embeddings = [encode(each).result[0].identity.embedding for each in (face, image)]
        assert embeddings[0] @ embeddings[1] > least

    def test_a_photo_of_8k(self, encode, group):
        image = torch.nn.functional.interpolate(one_face(group).movedim(-1, 1), (4320, 7680)).movedim(1, -1)
        guidance, crops, boxes = encode(image, which="largest").result
        assert guidance.identity.references[0].chosen.width > 1000
        assert crops.shape == (1, 112, 112, 3) and boxes.shape[1:3] == (576, 1024)


class TestMeasure:
    def test_the_most_similar_of_six_counts(self, run, encode, group):
        identity = encode(one_face(group)).result[0]
        similarity, text = run("MeasureIdentity", images=group, identity=identity).result
        assert similarity > 0.95
        x, y = map(int, re.search(r"face at \((\d+), (\d+)\)", text).groups())
        assert (x, y) == pytest.approx((115, 330), abs=6)

    def test_different_people_and_nobody(self, run, encode, group):
        identity = encode(group, which="leftmost").result[0]
        others = group[:, :, 300:]
        similarity, text = run("MeasureIdentity", images=others, identity=identity).result
        assert similarity < 0.5
        nobody = torch.zeros_like(others)
        similarity, text = run("MeasureIdentity", images=torch.cat([others, nobody]), identity=identity).result
        assert similarity < 0.5 and "image 2: no face found" in text.splitlines()
        assert run("MeasureIdentity", images=nobody, identity=identity).result[0] == 0.0


class TestDescribe:
    @pytest.mark.parametrize(
        ("gender", "age", "age_word", "prompt"),
        [
            ("woman", 34, False, "photo of a woman"),
            ("man", 80, True, "photo of an elderly man"),
        ],
    )
    def test_a_prompt_agrees_with_the_face(self, run, encode, models, group, gender, age, age_word, prompt):
        write_attributes(models / "small" / "genderage.onnx", gender, age)
        identity = encode(one_face(group)).result[0]
        output = run("DescribeFaceIdentity", identity=identity, prompt="photo of a person", age_word=age_word)
        assert output.result == (prompt, f"{gender}, about {age} years old")
        assert output.ui["text"] == (f"{gender}, about {age} years old",)

    def test_a_pack_that_cannot_tell(self, run, encode, group):
        with pytest.raises(ValueError, match="genderage.onnx"):
            run("DescribeFaceIdentity", identity=encode(one_face(group)).result[0])

    def test_an_identity_that_is_no_face(self, run, job):
        with pytest.raises(ValueError, match="only faces"):
            run("DescribeFaceIdentity", identity=job.identity)

    def test_an_identity_from_a_file(self, run, pack, encode, group, tmp_path):
        guidance = encode(one_face(group)).result[0]
        pack("rectifid_core.identity.files").save_identity(guidance.identity, tmp_path / "me.safetensors")
        loaded = pack("nodes.host.networks.discriminators").load_saved(
            tmp_path / "me.safetensors", guidance.discriminator
        )
        loaded = replace(guidance, identity=loaded)
        with pytest.raises(ValueError, match="loaded from a file"):
            run("DescribeFaceIdentity", identity=loaded)


class TestGuidance:
    def test_the_demo_model_draws_a_face_more_alike(self, run, pack, encode):
        """SCRFD sees the faces of the demo's cartoons."""
        demo = pack("nodes.demo").LoadDemoModel
        model, clip, vae = demo.execute().result
        positive, negative = (
            host_nodes.CLIPTextEncode().encode(clip, text)[0]
            for text in ("a person in a red hat, green background", "")
        )
        portrait = run("DrawDemoPortrait", identity=5000003, prompt="a smiling person, blue background").result[0]
        latent, image, report = run(
            "AnchoredRectifiedSampler",
            model=model,
            positive=positive,
            negative=negative,
            latent_image=host_nodes.EmptyLatentImage().generate(128, 128, 1)[0],
            vae=vae,
            guidance=encode(portrait).result[0],
            seed=2,
            iterations=10,
            guidance_scale=3.0,
            settings=run("AnchoredSamplerSettings", preset="custom", views=2).result[0],
        ).result
        similarity = [row[0] for row in report.similarity]
        assert max(similarity) > similarity[0] + 0.1
        assert image.shape == (1, 128, 128, 3)

    def test_a_picture_without_a_face_is_an_error(self, sample, encode, group):
        with pytest.raises(ValueError, match="no face in the unguided picture.*if_missing"):
            sample(guidance=encode(one_face(group)).result[0])

    def test_or_the_picture_of_ksampler(self, sample, encode, job, group, caplog):
        job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
        # where graphs of windows are held, attention is PyTorch's, and KSampler's only to a rounding error
        settings = {"if_missing": "unguided", "gradient": "windowed"}
        latent, image, report = sample(guidance=encode(one_face(group)).result[0], **settings).result
        assert torch.equal(latent["samples"], job.ksampler())
        assert report.number == [0] and "no face" in caplog.text


class TestCrop:
    """Around one of six faces, and around a face of which a part is outside."""

    @pytest.fixture
    def crop(self, run, load):
        return lambda image, **inputs: run("CropAroundSubject", discriminator=load(), image=image, **inputs).result

    @pytest.mark.parametrize("number", range(6))
    def test_the_face_that_is_meant_is_found_again_in_it(self, crop, load, group, number):
        part, _, x, y, width, height = crop(group, which="index", index=number, margin=0.5)
        assert part.shape == (1, 512, 512, 3) and width == height
        meant, *_ = load().locate(group.movedim(-1, 1).clone(), thorough=True)[0][number : number + 1]
        scale = torch.tensor([width / 512, height / 512] * 2)
        again = load().locate(part.movedim(-1, 1).clone())[0]
        back = [
            replace(each, box=(torch.tensor(each.box) * scale + torch.tensor([x, y] * 2)).tolist()) for each in again
        ]
        overlap = importlib.import_module(f"{type(meant).__module__}").overlap
        assert max(overlap(meant, each) for each in back) > 0.6

    def test_a_face_at_the_border_is_cut_out_inside_of_the_picture(self, crop, group):
        """The picture ends 20 pixels to the right of one of them."""
        [*_, x, y, width, height] = crop(one_face(group), which="only", margin=0.5)
        ends = 10 + x + width // 2 + 20
        near = group[:, 230:500, 10 : ends + 40]
        [_, mask, x, y, width, height] = crop(near, which="largest", margin=0.8)
        assert x + width == near.shape[2] and y >= 0 and y + height <= 270
        assert (mask[0, 200:300, -1] == 1).all(), "nothing to fade into"

    def test_a_picture_without_a_face(self, crop):
        with pytest.raises(
            ValueError, match="found no face in the picture of 320 x 240 pixels. Lower the detection_thr"
        ):
            crop(torch.zeros(1, 240, 320, 3))

    def test_several_are_listed(self, crop, group):
        with pytest.raises(ValueError, match="6 faces found, and none chosen: number 0 at "):
            crop(group, which="only")
