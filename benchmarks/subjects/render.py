"""Toys, mugs and pets that do not exist, drawn as the portraits of `demo/` are.

A picture shows a `Subject` (what it is: its kind, colors, pattern, proportions and one part that comes in three forms)
in a `Place` (what a prompt names: where it is, its pose, and at which side; and small accidents).  Things are rigid and
always seen from the same side; pets sit or lie, and look to either side.  A `Person` of the portraits can stand beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import Image
from portrait import COLORS, EXPRESSIONS, SHIRTS, SUPERSAMPLING, Identity

from .shapes import Canvas, paint_person, paint_place, paint_shadow, paint_subject

THINGS, PETS = ("mug", "car", "robot", "boat"), ("cat", "dog", "rabbit", "duck")
KINDS = THINGS + PETS
PERSON = "person"
PATTERNS = ("plain", "stripes", "dots", "patch")
PARTS = (0, 1, 2)  # a handle, a cabin, an antenna, a sail, ears or a crest
POSES = ("sitting", "lying")
PLACES = ("beach", "meadow", "snow", "night", "room", "kitchen")
POSITIONS = ("left", "center", "right")
CHOICES = {
    "kind": KINDS,
    "main": tuple(COLORS),
    "second": tuple(COLORS),
    "accent": tuple(COLORS),
    "pattern": PATTERNS,
    "part": PARTS,
}
AMOUNTS = ("width", "height")
NAMED = {"kind": (*KINDS, PERSON), "pose": POSES, "place": PLACES, "position": POSITIONS}  # what a prompt can name
WHERE = {
    "beach": "on a beach",
    "meadow": "in a meadow",
    "snow": "in the snow",
    "night": "at night",
    "room": "in a room",
    "kitchen": "in a kitchen",
}

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Subject:
    """What is drawn.  ``width`` and ``height``: proportions in [0, 1]; the three colors differ."""

    kind: str
    main: str
    second: str
    accent: str
    pattern: str
    part: int
    width: float
    height: float

    @classmethod
    def sample(cls, rng: np.random.Generator, kinds: Sequence[str] = KINDS) -> Subject:
        """A random one of those kinds."""
        colors = [list(COLORS)[i] for i in rng.permutation(len(COLORS))[:3]]
        pick = {name: choices[rng.integers(len(choices))] for name, choices in (("pattern", PATTERNS), ("part", PARTS))}
        kind = kinds[rng.integers(len(kinds))]
        return cls(kind, *colors, **pick, width=rng.random(), height=rng.random())

    @property
    def rigid(self) -> bool:
        return self.kind in THINGS

    def twin(self, rng: np.random.Generator) -> tuple[Subject, str]:
        """One of the same kind that differs in one trait, and which one; a proportion differs by 0.4 to 0.6.  What is
        plain never differs in the second color, which would hardly show."""
        names = [field.name for field in fields(self) if field.name != "kind"]
        while True:
            name = names[rng.integers(len(names))]
            if name in AMOUNTS:
                return replace(self, **{name: (getattr(self, name) + rng.uniform(0.4, 0.6)) % 1}), name
            other = replace(self, **{name: getattr(Subject.sample(rng), name)})
            hidden = name == "second" and self.pattern == "plain"
            if other != self and not hidden and len({other.main, other.second, other.accent}) == 3:
                return other, name


@dataclass(frozen=True)
class Person:
    """Somebody of the portraits, bareheaded, who wears and does what no prompt names."""

    identity: Identity
    expression: str
    shirt: str
    kind: str = PERSON

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Person:
        identity = Identity.sample(rng)
        return cls(identity, EXPRESSIONS[rng.integers(len(EXPRESSIONS))], SHIRTS[rng.integers(len(SHIRTS))])


@dataclass(frozen=True)
class Place:
    """What a prompt names beside the kind, and the accidents that it does not: shifts, tilt, scale and light in
    [-1, 1], and whether a pet looks the other way."""

    place: str = "room"
    pose: str = "sitting"
    position: str = "center"
    shift_x: float = 0.0
    shift_y: float = 0.0
    tilt: float = 0.0
    scale: float = 0.0
    side_light: float = 0.0
    mirrored: bool = False

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Place:
        """A random one: half of them in the middle."""
        position = POSITIONS[rng.integers(3)] if rng.random() < 0.5 else "center"
        accidents = rng.uniform(-1, 1, 5)
        place, pose = PLACES[rng.integers(len(PLACES))], POSES[rng.integers(2)]
        return cls(place, pose, position, *accidents, mirrored=bool(rng.random() < 0.5))

    def beside(self, rng: np.random.Generator) -> Place:
        """Where something else in the same picture is."""
        return replace(Place.sample(rng), place=self.place, position=self.position, side_light=self.side_light)


# --- prompts --------------------------------------------------------------------------------------------------------


def named_of(
    subject: Subject | Person, place: Place, rng: np.random.Generator | None = None, mention: float = 1.0
) -> dict:
    """What a prompt names: always the kind, all else with probability ``mention``; never the middle, and the pose of
    pets alone."""
    named = {"kind": subject.kind}
    for name in ("pose", "place", "position") if subject.kind in PETS else ("place", "position"):
        value = getattr(place, name)
        if (rng is None or rng.random() < mention) and value != "center":
            named[name] = value
    return named


def write_prompt(named: dict) -> str:
    """Of one subject: "a lying cat in the snow, on the left"."""
    return _noun(named) + _where(named)


def write_pair_prompt(left: dict, right: dict) -> str:
    """Of two side by side: "a mug next to a sitting duck on a beach"."""
    return f"{_noun(left)} next to {_noun(right)}" + _where(left)


def _noun(named: dict) -> str:
    return f"a {named['pose']} {named['kind']}" if "pose" in named else f"a {named['kind']}"


def _where(named: dict) -> str:
    phrase = f" {WHERE[named['place']]}" if "place" in named else ""
    return phrase + (f", on the {named['position']}" if "position" in named else "")


# --- drawing --------------------------------------------------------------------------------------------------------


def draw(subject: Subject, place: Place, size: int = 128) -> Image.Image:
    """The picture, RGB, ``size`` x ``size`` pixels."""
    return draw_together([(subject, place)], size)[0]


def draw_together(subjects: Sequence[tuple[Subject | Person, Place]], size: int = 128) -> tuple[Image.Image, list[Box]]:
    """Subjects side by side in one picture, RGB, each on ``size`` x ``size`` pixels in the light of the first place;
    and the box around each, (left, top, right, bottom) in pixels of the whole."""
    panels, boxes = [], []
    for number, (subject, place) in enumerate(subjects):
        panel, box = _panel(subject, place, size)
        panels.append(panel)
        boxes.append((box[0] + number * size, box[1], box[2] + number * size, box[3]))
    pixels, light = np.concatenate(panels, axis=1), subjects[0][1]
    slope = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)[None, :, None]
    night = np.array((0.72, 0.74, 0.88) if light.place == "night" else (1, 1, 1), dtype=np.float32)
    lit = np.clip(pixels * (1 + 0.08 * light.side_light * slope) * night, 0, 255)
    return Image.fromarray(lit.astype(np.uint8)), boxes


def _panel(subject: Subject | Person, place: Place, size: int) -> tuple[np.ndarray, Box]:
    canvas = Canvas(size)
    paint_place(canvas, place)
    if isinstance(subject, Subject):
        paint_shadow(canvas, subject, place)
    behind = np.asarray(canvas.image.reduce(SUPERSAMPLING), dtype=np.float32)
    paint = paint_subject if isinstance(subject, Subject) else paint_person
    paint(canvas, subject, place)
    pixels = np.asarray(canvas.image.reduce(SUPERSAMPLING), dtype=np.float32)
    changed = (pixels != behind).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return pixels, (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
