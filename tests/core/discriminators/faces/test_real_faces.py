"""Faces are found, aligned and recognised by real networks on real pictures."""

from __future__ import annotations

import copy
import io
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rectifid_core.discriminators.faces.detector import FaceDetector
from rectifid_core.discriminators.faces.discriminator import load_face_discriminator
from rectifid_core.discriminators.faces.doubts import DULLEST, sharpness
from rectifid_core.discriminators.faces.runtime import as_bgr
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.images.regions import Region, overlap
from tests.helpers.photos import group_photo, norm_crop
from tests.helpers.portraits import PORTRAITS, portrait, real_pack
from tests.helpers.worlds import rng

pytest.importorskip("insightface")


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
    target = encode_identity(real, [close_up(photo, faces[1])[0][0]], strategy="largest")
    energy = IdentityGuidance(target, real, detect_every=2).energy(views=2)
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
    """Sharp ones and slightly blurred ones pass; at a blur of 3 of a crop's pixels, none does.

    One of the six people looks aside, and is doubted for that, see test_doubts.py.
    """
    photo, faces, _ = people
    doubts = [real.doubt(face, real.crop(photo[None], [face])[0]) for face in faces]
    assert sum(doubt is not None for doubt in doubts) == 1
    for face in (face for face, doubt in zip(faces, doubts, strict=True) if doubt is None):
        crop = real.crop(photo[None], [face])[0]
        assert sharpness(crop) > 7 * DULLEST
        small = F.interpolate(crop[None], (56, 56), mode="bilinear", antialias=True)
        assert "blurred" not in (real.doubt(face, F.interpolate(small, (112, 112), mode="bilinear")[0]) or "")
        assert "blurred" in real.doubt(face, gaussian_blur(crop, 3.0))
    tiny = F.interpolate(photo[None], scale_factor=0.3, mode="bilinear", antialias=True)[0]
    (doubt,) = encode_identity(real, [tiny], strategy="largest").doubts
    assert re.search("the face is only 3[0-9] pixels wide.*use a picture in which it has 48 or more", doubt)


def gaussian_blur(crop, sigma):
    x = torch.arange(-12.0, 13.0)
    kernel = torch.softmax(-0.5 * (x / sigma) ** 2, dim=0)
    rows = F.conv2d(F.pad(crop[:, None], (12, 12, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(rows, (0, 0, 12, 12), mode="replicate"), kernel.view(1, 1, -1, 1))[:, 0]
