"""Faces are found, aligned and recognised: by small networks whose answers are known, and by real ones."""

from __future__ import annotations

import copy
import io
import logging
import re
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rectifid_core.discriminators.faces import runtime as face_runtime
from rectifid_core.discriminators.faces.detector import FaceDetector
from rectifid_core.discriminators.faces.discriminator import DULLEST, SMALLEST, load_face_discriminator, sharpness
from rectifid_core.discriminators.faces.pack import FacePackError
from rectifid_core.discriminators.faces.runtime import PROVIDERS, as_bgr
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.images.regions import Region, overlap
from tests.helpers.face_packs import LANDMARKS, write_attributes, write_detector, write_onnx, write_recogniser
from tests.helpers.photos import PORTRAITS, group_photo, norm_crop, portrait, real_pack
from tests.helpers.worlds import rng

pytest.importorskip("insightface")
FACES = [(8, 4.0, 0.9), (32, 8.0, 0.6), (48, 3.0, 0.25), (16, 3.0, 0.35), (56, 3.0, 0.15)]


def write_pack(folder, faces=FACES, **recogniser):
    write_detector(folder / "det.onnx", faces)
    write_recogniser(folder / "rec.onnx", **recogniser)
    return folder


def black(height=64, width=64):
    return torch.zeros(3, height, width)


# The detector


def test_confident_faces_first_and_a_bounded_rest(tmp_path):
    faces = FaceDetector(write_detector(tmp_path / "det.onnx", FACES))(black())
    assert [round(face.score, 1) for face in faces] == [0.6, 0.9, 0.3, 0.2]  # largest, next, then the surest
    face = faces[0]
    assert face.box == pytest.approx((24, 24, 40, 40), abs=0.1)
    np.testing.assert_allclose(face.landmarks, LANDMARKS * 8 + 32, atol=0.1)
    assert face.landmarks.dtype == torch.float32


@pytest.mark.parametrize(("threshold", "found"), [(0.8, 2), (0.5, 4), (0.3, 5), (0.05, 5)])
def test_the_threshold_is_lowered_once_and_not_below_a_floor(tmp_path, threshold, found):
    """0.8 leaves 0.5 and more; 0.3 leaves what scores 0.1 and more, and not 0.0."""
    assert len(FaceDetector(write_detector(tmp_path / "det.onnx", FACES), threshold)(black())) == found


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 1.5, float("nan")])
def test_thresholds_that_are_none(tmp_path, threshold):
    with pytest.raises(ValueError, match="threshold must be above 0 and below 1"):
        FaceDetector(write_detector(tmp_path / "det.onnx"), threshold)


def test_a_second_look_with_a_margin(tmp_path):
    """The detector sees nothing where the corner is white, as in a picture without a margin."""
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    (face,) = detect(torch.ones(3, 64, 64))
    # With a margin of 32 on each side, 128 pixels are seen as 64: the face at 32 +- 8 there is at 64 +- 16 - 32 here.
    assert face.box == pytest.approx((16, 16, 48, 48), abs=0.2)
    np.testing.assert_allclose(face.landmarks, LANDMARKS * 16 + 32, atol=0.2)


def test_a_picture_of_8k(tmp_path):
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    (face,) = detect(black(1, 1).expand(3, 4320, 7680))
    scale = 7680 / 64
    assert face.box == pytest.approx((24 * scale, 24 * scale, 40 * scale, 40 * scale), rel=0.01)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 3000), (3000, 8), (63, 65)])
def test_pictures_of_any_shape(tmp_path, height, width):
    detect = FaceDetector(write_detector(tmp_path / "det.onnx", [(32, 8, 0.9)]))
    assert len(detect(black(height, width))) == 1


def test_pictures_as_opencv_has_them():
    image = torch.tensor([0.1, 0.5, 1.2]).view(3, 1, 1).expand(3, 2, 4).movedim(-1, -2)
    pixels = as_bgr(image.double().requires_grad_())
    assert pixels.shape == (4, 2, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert (pixels == [255, 128, 26]).all()


def test_where_it_runs_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(face_runtime, "_said", set())
    path = write_detector(tmp_path / "det.onnx")
    with caplog.at_level(logging.INFO):
        FaceDetector(path), FaceDetector(path)
    assert len([line for line in caplog.messages if line.startswith("RectifID: faces are found on the")]) == 1


@pytest.mark.parametrize(
    ("active", "available", "message"),
    [
        ("CUDAExecutionProvider", PROVIDERS, "on the GPU"),
        ("CPUExecutionProvider", PROVIDERS, "on the CPU .* could not start it"),
        ("CPUExecutionProvider", PROVIDERS[1:], "on the CPU .* onnxruntime-gpu would use the GPU"),
    ],
)
def test_a_silent_fall_to_the_cpu_is_none(active, available, message, caplog, monkeypatch):
    monkeypatch.setattr(face_runtime, "_said", set())
    with caplog.at_level(logging.INFO):
        face_runtime._say(active, available)
    assert re.search(message, caplog.text)
    assert ("WARNING" in caplog.text) == ("could not start" in message)


def test_without_insightface(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(ImportError, match="faces need the Python package insightface.*pip install"):
        load_face_discriminator(write_pack(tmp_path / "toy"))


# The discriminator


def test_what_it_is(tmp_path):
    folder = write_pack(tmp_path / "toy", side=128)
    write_attributes(folder / "genderage.onnx")
    toy = load_face_discriminator(folder, threshold=0.4)
    assert (toy.name, toy.noun, toy.detects, toy.threshold, toy.input_size) == ("toy", "face", True, 0.4, 128)
    assert len(toy.digest) == 64 and toy.digest != load_face_discriminator(write_pack(tmp_path / "b", width=65)).digest
    assert toy.networks == [toy.network] and toy.pack.attributes == folder / "genderage.onnx"
    with pytest.raises(ValueError, match="cannot read 'a man'; leave the text empty"):
        toy.text_query("a man")


def test_each_image_has_its_faces(tmp_path):
    toy = load_face_discriminator(write_pack(tmp_path / "toy"))
    images = torch.zeros(2, 3, 64, 64)
    images[1] = 1
    assert [len(faces) for faces in toy.locate(images)] == [4, 4]
    crops = toy.crop(images, [faces[0] for faces in toy.locate(images)])
    assert crops.shape == (2, 3, 112, 112) and (crops[0] == 0).all() and crops[1, :, 50:60, 50:60].min() > 0.999


@pytest.mark.parametrize("inside", [False, True], ids=["plain", "normalises"])
def test_normalisation_is_insightfaces(tmp_path, inside):
    """Networks that came from mxnet subtract the mean themselves."""
    prepare, constants = [], {}
    if inside:
        prepare = [("Sub", ["image", "mean"], "moved", {}), ("Mul", ["moved", "scale"], "prepared", {})]
        constants = {"mean": np.array([120.0], np.float32), "scale": np.array([0.01], np.float32)}
    toy = load_face_discriminator(write_pack(tmp_path / "toy", prepare=prepare, **constants))
    crop = (torch.rand(1, 3, 112, 112, generator=rng()) * 255).round() / 255
    from insightface.model_zoo import ArcFaceONNX

    wanted = torch.from_numpy(ArcFaceONNX(str(toy.pack.recogniser)).get_feat(as_bgr(crop[0])))
    torch.testing.assert_close(toy.embed(crop), F.normalize(wanted), atol=1e-5, rtol=1e-5)


def test_faces_too_small_or_blurred_to_be_a_reference(tmp_path):
    toy = load_face_discriminator(write_pack(tmp_path / "toy"))
    sharp = torch.rand(3, 112, 112, generator=rng())
    assert toy.doubt(Region((0, 0, SMALLEST, 80)), sharp) is None
    assert "only 31 pixels wide" in toy.doubt(Region((0, 0, 31, 40)), sharp)
    assert "100 pixels wide, is blurred" in toy.doubt(Region((0, 0, 100, 130)), torch.full((3, 112, 112), 0.5))


# Files that cannot serve


def hostile(folder, kind):
    write_pack(folder)
    rec, det = folder / "rec.onnx", folder / "det.onnx"
    if kind == "operator":
        nodes = [("Det", ["image"], "d", {}), ("MatMul", ["d", "w"], "embedding", {})]
        write_onnx(rec, ["batch", 3, 112, 112], nodes, {"embedding": ["batch", 64]}, w=np.ones((3, 64), np.float32))
    elif kind == "wrong weights":
        write_onnx(
            rec, ["batch", 3, 112, 112], [("MatMul", ["image", "w"], "e", {})], {"e": [1, 64]}, w=np.ones((5, 64))
        )
    elif kind == "no embedding":
        write_onnx(rec, ["batch", 3, 112, 112], [("Relu", ["image"], "embedding", {})], {"embedding": ["batch", 64]})
    elif kind == "five images":
        model = onnx.load(rec)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
        onnx.save(model, rec)
    elif kind == "truncated":
        det.write_bytes(det.read_bytes()[:-100])
    elif kind == "broken graph":
        model = onnx.load(det)
        model.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(model, det)
    elif kind == "wrong counts":
        model = onnx.load(det)
        for tensor in model.graph.initializer:
            if tensor.name.startswith("all_boxes"):
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((7, 4), np.float32), tensor.name))
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        onnx.save(model, det)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("operator", "rec.onnx uses an operator that cannot be converted"),
        ("wrong weights", "rec.onnx does not work as a face recogniser"),
        ("no embedding", r"rec.onnx makes \(1, 3, 112, 112\) of one face, and not one embedding"),
        ("five images", "rec.onnx takes exactly 5 images"),
        ("truncated", "det.onnx is not an ONNX file, or only a part of one"),
        ("broken graph", "onnxruntime cannot run det.onnx"),
        ("wrong counts", "det.onnx does not work as a face detector"),
    ],
)
def test_hostile_files(tmp_path, kind, message):
    hostile(tmp_path / "toy", kind)
    with pytest.raises(FacePackError, match=f"the face pack toy, in .*toy: {message}"):
        load_face_discriminator(tmp_path / "toy")


# Real weights and pictures


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return load_face_discriminator(real_pack(tmp_path_factory.mktemp("packs") / "real"))


@pytest.fixture(scope="module")
def people(real):
    """The group photo, its six faces and their embeddings."""
    photo = group_photo()
    faces = [face for face in real.locate(photo[None])[0] if face.score >= real.threshold]
    return photo, faces, real.embed(real.crop(photo.expand(len(faces), -1, -1, -1), faces))


def test_six_people(people):
    _, faces, embeddings = people
    assert len(faces) == 6
    similarity = embeddings @ embeddings.T
    assert (similarity[~torch.eye(6, dtype=torch.bool)] < 0.5).all()  # measured: -0.18 to 0.42


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(as_bgr(image)[..., ::-1]).save(file, "JPEG", quality=60)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).movedim(-1, 0).float() / 255


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.flip(-1),
        lambda image: (image * 1.2).clamp(max=1),
        lambda image: image * 0.8,
        jpeg,
        lambda image: F.avg_pool2d(image, 2),
    ],
    ids=["flipped", "brighter", "darker", "jpeg", "half as large"],
)
def test_everybody_stays_the_same(real, people, change):
    """Measured: 0.865 and more; the least is a flipped one."""
    photo, _, embeddings = people
    changed = change(photo)
    faces = [face for face in real.locate(changed[None])[0] if face.score >= real.threshold]
    found = real.embed(real.crop(changed.expand(len(faces), -1, -1, -1), faces))
    similarity, person = (embeddings @ found.T).max(dim=1)
    assert sorted(person.tolist()) == list(range(6)) and (similarity > 0.6).all()


def test_a_face_cut_out_tightly(real, people, tmp_path):
    """Without a margin, so that a detector for 640 x 640 pixels sees nothing at its first look; measured: 0.93."""
    model = onnx.load(real.pack.detector)
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = 640
    onnx.save(model, tmp_path / "fixed.onnx")
    photo, faces, embeddings = people
    left, top, right, bottom = (round(edge) for edge in faces[0].box)
    image = F.interpolate(photo[None, :, top:bottom, left:right], scale_factor=4, mode="bilinear")
    for detect in (FaceDetector(real.pack.detector), FaceDetector(tmp_path / "fixed.onnx")):
        face = detect(image[0])[0]
        assert face.score > 0.5
        assert overlap(face, Region((0.0, 0.0, 4.0 * (right - left), 4.0 * (bottom - top)))) > 0.8
        assert real.embed(real.crop(image, [face]))[0] @ embeddings[0] > 0.6


def reference(real, crops):
    """The recogniser's answers by onnxruntime, as insightface prepares crops in [0, 1]."""
    session = onnxruntime.InferenceSession(real.pack.recogniser, providers=["CPUExecutionProvider"])
    inputs = ((crops * 255 - 127.5) / 127.5)[:, None].numpy()
    return torch.from_numpy(np.concatenate([session.run(None, {"input": each})[0] for each in inputs]))


def test_embeddings_are_onnxruntimes(real, people):
    photo, faces, embeddings = people
    crops = real.crop(photo.expand(6, -1, -1, -1), faces)
    wanted = reference(real, crops)
    torch.testing.assert_close(real.network((crops - 0.5) / 0.5), wanted, atol=1e-4, rtol=0)  # measured: 5e-6 of 5
    assert (torch.cosine_similarity(embeddings, wanted) > 0.99999).all()


@pytest.mark.parametrize("name", PORTRAITS)
def test_embeddings_of_large_faces_are_insightfaces(real, name):
    """Detected, cropped and embedded, although `align` looks at more pixels than ``norm_crop``; measured: 0.9994."""
    image = portrait(name)
    face = real.locate(image[None])[0][0]
    wanted = reference(real, norm_crop(image, face)[None])
    assert torch.cosine_similarity(real.embed(real.crop(image[None], [face])), wanted) > 0.999


def close_up(photo, face):
    left, top, right, bottom = (round(edge) for edge in face.box)
    moved = face.landmarks - torch.tensor([left - 40, top - 40])
    return photo[None, :, top - 40 : bottom + 40, left - 40 : right + 40], Region((0, 0, 1, 1), 1.0, moved)


def test_gradient_of_a_real_similarity(real, people):
    """Of the picture's pixels, in float64, along random directions and along the gradient itself."""
    photo, faces, embeddings = people
    image, face = close_up(photo.double(), faces[0])
    exact = copy.copy(real)
    exact.network = copy.deepcopy(real.network).double()

    def distance(x):
        return 1 - (exact.embed(exact.crop(x, [face])) @ embeddings[1].double())[0]

    x = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(x), x)
    directions = [torch.randn(x.shape, generator=rng(k), dtype=torch.float64) for k in range(2)]
    directions += [gradient / gradient.norm() * directions[0].norm()]
    step = 1e-6
    with torch.no_grad():
        for direction in directions:
            slope = (distance(image + step * direction) - distance(image - step * direction)) / (2 * step)
            torch.testing.assert_close(slope, (gradient * direction).sum(), rtol=5e-3, atol=0)


def test_guidance_towards_somebody_else(real, people):
    """A step down the energy makes a face more similar; a picture without a face stays out of it."""
    photo, faces, embeddings = people
    image, _ = close_up(photo, faces[0])
    target = encode_identity(real, [close_up(photo, faces[1])[0][0]], by="largest")
    energy = IdentityGuidance(target, detect_every=2).energy(views=2)
    x = torch.cat([image, torch.full_like(image, 0.5)]).requires_grad_()
    first = energy(x, 0)
    assert first.found.tolist() == [True, False] and first.similarity.isnan().tolist() == [False, True]
    torch.testing.assert_close(first.similarity[0], embeddings[0] @ embeddings[1], atol=0.1, rtol=0)
    (gradient,) = torch.autograd.grad(first.energy.sum(), x)
    assert (gradient[1] == 0).all() and gradient[0].any()
    second = energy((x - 2 * gradient / gradient.norm()).detach(), 1)
    assert second.similarity[0] > first.similarity[0] + 0.1


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 0.99), (torch.bfloat16, 0.95)])
def test_half_precision(real, people, dtype, least):
    """Measured over the six faces, the gradient's cosine to the one in float32: 0.995 in float16, 0.97 in bfloat16."""
    photo, faces, embeddings = people
    image, face = close_up(photo, faces[0])
    half = load_face_discriminator(real.pack.detector.parent, dtype=dtype)
    assert next(half.network.parameters()).dtype == dtype
    gradients = []
    for discriminator in (real, half):
        x = image.clone().requires_grad_()
        embedding = discriminator.embed(discriminator.crop(x, [face]))[0]
        assert embedding @ embeddings[0] > 0.998
        gradients.append(torch.autograd.grad(1 - embedding @ embeddings[1], x)[0].flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > least


def test_real_faces_that_make_poor_references(real, people):
    """Sharp ones and slightly blurred ones pass; at a blur of 3 of a crop's pixels, none does."""
    photo, faces, _ = people
    for face in faces:
        crop = real.crop(photo[None], [face])[0]
        assert real.doubt(face, crop) is None and sharpness(crop) > 7 * DULLEST
        small = F.interpolate(crop[None], (56, 56), mode="bilinear", antialias=True)
        assert real.doubt(face, F.interpolate(small, (112, 112), mode="bilinear")[0]) is None
        assert "blurred" in real.doubt(face, gaussian_blur(crop, 3.0))
    tiny = F.interpolate(photo[None], scale_factor=0.3, mode="bilinear", antialias=True)[0]
    (doubt,) = encode_identity(real, [tiny], by="largest").doubts
    assert re.search("the face is only 3[0-9] pixels wide.*use a picture in which it has 48 or more", doubt)


def gaussian_blur(crop, sigma):
    x = torch.arange(-12.0, 13.0)
    kernel = torch.softmax(-0.5 * (x / sigma) ** 2, dim=0)
    rows = F.conv2d(F.pad(crop[:, None], (12, 12, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(rows, (0, 0, 12, 12), mode="replicate"), kernel.view(1, 1, -1, 1))[:, 0]
