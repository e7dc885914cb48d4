"""What a face says about its person that a prompt should also say: gender and age, and nothing else."""

from __future__ import annotations

import cmath
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ...images.regions import Region
from ...networks.onnx_file import OnnxError
from .alignment import similarity_transform
from .runtime import as_bgr, import_insightface, open_session, refusals

CHILD = 13  # years, below which somebody is called a boy or a girl
AGES = ((30, "young "), (45, ""), (65, "middle-aged "), (200, "elderly "))  # below that many years
PERSON = re.compile(r"(?<![\w-])(?:(an?)(\s+))?(person)(?![\w-])", re.IGNORECASE)


@dataclass(frozen=True)
class Description:
    """word: "man" or "woman"; age: in years, as the network guesses them from a face."""

    word: str
    age: int

    def words(self, age_word: bool) -> str:
        """The word, "woman"; or with a word for the age, such as "young woman" or "girl"."""
        if not age_word:
            return self.word
        if self.age < CHILD:
            return {"man": "boy", "woman": "girl"}[self.word]
        adjective = next(adjective for below, adjective in AGES if self.age < below)
        return adjective + self.word

    def __str__(self) -> str:
        return f"{self.word}, about {self.age} years old"


def describe_face(attributes: Path | None, image: Tensor, region: Region) -> Description:
    """Describes the face in ``region`` of an image ``(3, H, W)`` in [0, 1], RGB, which may lie or stand on its head.

    attributes: the pack's file for gender and age.

    Raises ValueError where the pack has none, OnnxError where it does not run, and ImportError without insightface.
    """
    if attributes is None:
        raise ValueError(
            "this face pack cannot tell gender and age, for it has no genderage.onnx; load the discriminator from a "
            "pack that has one, such as antelopev2, buffalo_l or AuraFace-v1"
        )
    insightface = import_insightface()
    image, box = _upright(image, region)
    try:
        model = insightface.model_zoo.Attribute(str(attributes), open_session(attributes))
        is_male, age = model.get(as_bgr(image), insightface.app.common.Face(bbox=np.array(box)))
    except refusals() as error:
        raise OnnxError(f"{attributes.name} cannot tell gender and age: {error}") from error
    return Description("man" if is_male else "woman", min(max(age, 0), 120))


def _upright(image: Tensor, region: Region) -> tuple[Tensor, tuple[float, float, float, float]]:
    """The image turned by whole quarters, so that its face is most upright, and where the face's box is then."""
    left, top, right, bottom = region.box
    if region.landmarks is None:
        return image, region.box
    a, _ = similarity_transform(region.landmarks, 112)
    for _ in range(round(cmath.phase(a) / (math.pi / 2)) % 4):  # a quarter turn clockwise each
        height = image.shape[-2]
        image = image.rot90(-1, (1, 2))
        left, top, right, bottom = height - bottom, left, height - top, right
    return image, (left, top, right, bottom)


def rewrite(prompt: str, description: Description, age_word: bool = False) -> str:
    """The prompt with the description's word in place of each "person", in the same case and with the right article.

    age_word: with a word for the age too: "a person" -> "an elderly woman".

    A prompt that speaks of no person comes back as it is.
    """
    words = description.words(age_word)
    article = "an" if words[0] in "aeiou" else "a"

    def replace(match: re.Match) -> str:
        before, space, person = match.groups()
        return (_like(before, article) + space if before else "") + _like(person, words)

    return PERSON.sub(replace, prompt)


def _like(model: str, words: str) -> str:
    """``words`` in the case of ``model``: PERSON, Person or person."""
    if len(model) > 1 and model.isupper():
        return words.upper()
    return words[0].upper() + words[1:] if model[0].isupper() else words
