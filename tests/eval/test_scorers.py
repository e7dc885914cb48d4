"""Scores of pictures by real networks, small ones where the method allows it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from demo.portrait import draw_portrait
from rectifid_core.networks.pretrained import PretrainedError
from rectifid_eval.scorers import NO_FACE, Drawn, load_scorer
from tests.helpers.places import WEIGHTS, needs_weights
from tests.helpers.portraits import portrait, real_pack
from tests.helpers.subject_folders import write_clip, write_embedder


def content(picture: Image.Image | torch.Tensor, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (to_pil_image(picture) if isinstance(picture, torch.Tensor) else picture).save(buffer, kind)
    return buffer.getvalue()


def drawn(reference, picture, prompt: str = "a dog", face: str = "x") -> Drawn:
    return Drawn("key", prompt, face, content(reference), content(picture))


@needs_weights
def test_a_recogniser_tells_people_apart():
    scorer = load_scorer("recogniser", WEIGHTS / "recogniser_judge.onnx", "cpu")
    reference = draw_portrait(5_000_003)
    same, _ = scorer(drawn(reference, draw_portrait(5_000_003, "a smiling person, blue background")))
    other, _ = scorer(drawn(reference, draw_portrait(5_000_004, "a smiling person, blue background")))
    assert same > 0.8 > 0.6 > other
    assert scorer(drawn(reference, reference))[0] == pytest.approx(1, abs=1e-5)


@needs_weights
def test_each_person_is_compared_with_the_own_reference():
    """References are kept by the person, of whom there may be more than are kept."""
    scorer = load_scorer("recogniser", WEIGHTS / "recogniser_judge.onnx", "cpu")
    people = [draw_portrait(5_000_003 + number) for number in range(70)]
    for _ in range(2):
        for number, person in enumerate(people):
            assert scorer(drawn(person, person, face=str(number)))[0] == pytest.approx(1, abs=1e-5)


def test_a_face_pack_finds_the_face(tmp_path):
    scorer = load_scorer("face pack", real_pack(tmp_path / "pack"), "cpu")
    reference, other = portrait("hidream_i1_dev-1"), portrait("flux_fill_inpaint_example-1")
    wide = torch.nn.functional.pad(reference, (300, 0, 0, 0), value=0.5)
    same, _ = scorer(drawn(reference, wide))
    different, _ = scorer(drawn(reference, other))
    assert same > 0.9 and different < 0.5
    assert scorer(drawn(reference, torch.full((3, 256, 256), 0.5))) == (0.0, NO_FACE)
    with pytest.raises(ValueError, match="face"):
        scorer(drawn(torch.full((3, 256, 256), 0.5), reference, face="y"))


def test_dino_compares_what_is_in_the_middle(tmp_path):
    write_embedder(tmp_path / "dino")
    scorer = load_scorer("dino", tmp_path / "dino", "cpu")
    thing, other = draw_portrait(5_000_003), draw_portrait(5_000_009, "a person in a red hat")
    assert scorer(drawn(thing, thing))[0] == pytest.approx(1, abs=1e-5)
    assert scorer(drawn(thing, other))[0] < 0.99


def test_clip_is_the_cosine_of_picture_and_prompt(tmp_path):
    """As CLIP's own features have it: the folder's network, called without our scorer."""
    from transformers import CLIPProcessor

    network = write_clip(tmp_path / "clip")
    scorer = load_scorer("clip", tmp_path / "clip", "cpu")
    picture = draw_portrait(5_000_003)
    scores = []
    for prompt in ("a red dog", "a cat"):
        inputs = CLIPProcessor.from_pretrained(tmp_path / "clip")(text=[prompt], images=picture, return_tensors="pt")
        with torch.no_grad():
            vision = network.vision_model(inputs["pixel_values"]).pooler_output
            text = network.text_model(inputs["input_ids"]).pooler_output
            seen, read = network.visual_projection(vision), network.text_projection(text)
        expected = float(torch.nn.functional.cosine_similarity(seen, read))
        scores.append(scorer(drawn(picture, picture, prompt))[0])
        assert scores[-1] == pytest.approx(expected, abs=1e-5)
    assert scores[0] != scores[1]
    long = scorer(drawn(picture, picture, "a dog " * 40))[0]  # more than it can read: its beginning
    assert -1 <= long <= 1


@needs_weights
def test_another_network_is_another_scorer():
    digests = {
        load_scorer("recogniser", WEIGHTS / f"recogniser_{name}.onnx", "cpu").digest for name in ("judge", "guide")
    }
    assert len(digests) == 2 and any(digest.startswith("recogniser_judge ") for digest in digests)


@pytest.mark.parametrize("kind", ["clip", "dino"])
def test_a_folder_that_cannot_serve_is_told(tmp_path, kind):
    with pytest.raises(PretrainedError, match=str(tmp_path)):
        load_scorer(kind, Path(tmp_path), "cpu")
