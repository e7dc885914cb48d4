"""A face's gender and age become a word of the prompt, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rectifid_core.discriminators.faces.alignment import TEMPLATE
from rectifid_core.discriminators.faces.attributes import Description, describe_face, rewrite
from rectifid_core.images.regions import Region
from rectifid_core.networks.onnx_file import OnnxError
from tests.helpers.face_packs import write_attributes, write_onnx


def portrait(*colour):
    """Blue, with a face of one colour in it."""
    image = torch.zeros(3, 80, 100)
    image[2] = 1
    image[:, 10:70, 20:80] = torch.tensor(colour).view(3, 1, 1)
    return image, Region((30.0, 20.0, 70.0, 60.0))


@pytest.mark.parametrize(
    ("colour", "word", "age"),
    [
        ((1.0, 0.5, 0.0), "man", 40),
        ((0.0, 0.5, 1.0), "woman", 40),
        ((1.0, 0.0, 0.0), "man", 10),
        ((0.0, 1.0, 1.0), "woman", 70),
    ],
)
def test_what_the_network_sees_of_a_face(tmp_path, colour, word, age):
    """Insightface's own class, on a network that takes red for male and green for age."""
    pytest.importorskip("insightface")
    description = describe_face(write_attributes(tmp_path / "genderage.onnx"), *portrait(*colour))
    assert (description.word, description.age) == (word, pytest.approx(age, abs=1))


@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_face_is_described_as_an_upright_one(tmp_path, quarters):
    """By a network that looks at the upper half: red there is male, green there old."""
    pytest.importorskip("insightface")
    nodes = [
        ("Slice", ["image", "from", "to", "axes"], "upper", {}),
        ("ReduceMean", ["upper"], "colour", {"axes": [2, 3], "keepdims": 0}),
        ("MatMul", ["colour", "weights"], "answer", {}),
    ]
    constants = {"from": np.array([0]), "to": np.array([48]), "axes": np.array([2])}
    weights = np.array([[-1, 1, 0], [0, 0, 0.6], [0, 0, 0]], np.float32)
    path = write_onnx(
        tmp_path / "genderage.onnx", ["b", 3, 96, 96], nodes, {"answer": ["b", 3]}, weights=weights, **constants
    )
    image = torch.zeros(3, 80, 100)
    image[1, :46], image[0, 46:] = 1, 0.5  # a woman of 60
    points = TEMPLATE.float() / 112 * 40 + torch.tensor([30.0, 20.0])
    x, y = points.unbind(dim=1)
    for _ in range(quarters):  # counterclockwise
        image, x, y = image.rot90(1, (1, 2)), y, image.shape[2] - 1 - x
    points = torch.stack([x, y], dim=1)
    (left, top), (right, bottom) = ((points.mean(dim=0) + side).tolist() for side in (-20, 20))
    described = describe_face(path, image, Region((left, top, right, bottom), 1.0, points))
    assert described.word == "woman" and 50 < described.age < 70


def test_a_pack_without_the_file():
    with pytest.raises(ValueError, match="genderage.onnx"):
        describe_face(None, *portrait(1.0, 1.0, 1.0))


def test_a_file_that_does_not_run(tmp_path):
    pytest.importorskip("insightface")
    path = write_onnx(tmp_path / "bad.onnx", ["b", 3, 96, 96], [("Nonsense", ["image"], "y", {})], {"y": ["b", 3]})
    with pytest.raises(OnnxError, match="bad.onnx"):
        describe_face(path, *portrait(1.0, 1.0, 1.0))


WOMAN, MAN = Description("woman", 52), Description("man", 70)


@pytest.mark.parametrize(
    ("prompt", "wanted", "with_age"),
    [
        ("a person", "a man", "an elderly man"),
        ("A person, an apple", "A man, an apple", "An elderly man, an apple"),
        ("an person", "a man", "an elderly man"),
        ("photo of a smiling person.", "photo of a smiling man.", "photo of a smiling elderly man."),
        ("Person in a hat", "Man in a hat", "Elderly man in a hat"),
        ("the PERSON's hat", "the MAN's hat", "the ELDERLY MAN's hat"),
        ("(person:1.2), person", "(man:1.2), man", "(elderly man:1.2), elderly man"),
        ("a  person\nand a\nperson", "a  man\nand a\nman", "an  elderly man\nand an\nelderly man"),
        ("banana person", "banana man", "banana elderly man"),
    ],
)
def test_person_becomes_the_word(prompt, wanted, with_age):
    assert rewrite(prompt, MAN) == wanted
    assert rewrite(prompt, MAN, age_word=True) == with_age


@pytest.mark.parametrize(
    "prompt", ["", "people", "personal", "a salesperson", "first-person view", "a cat", "a_person_"]
)
def test_other_words_stay(prompt):
    assert rewrite(prompt, WOMAN, age_word=True) == prompt


@pytest.mark.parametrize(
    ("word", "age", "wanted"),
    [
        ("man", 0, "a boy"),
        ("woman", 12, "a girl"),
        ("woman", 13, "a young woman"),
        ("man", 29, "a young man"),
        ("man", 30, "a man"),
        ("woman", 44, "a woman"),
        ("woman", 45, "a middle-aged woman"),
        ("man", 65, "an elderly man"),
        ("man", 120, "an elderly man"),
    ],
)
def test_words_for_the_age(word, age, wanted):
    assert rewrite("a person", Description(word, age), age_word=True) == wanted
    assert rewrite("a person", Description(word, age)) == f"a {word}"


def test_for_people():
    assert str(WOMAN) == "woman, about 52 years old"
