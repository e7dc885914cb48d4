"""The world of the embedded model: cartoon portraits of people who do not exist.

A portrait is an `Identity` (who: skin, face, hair, eyes, brows, nose, mouth, ears, glasses, beard, freckles) in a
`Scene` (what a prompt names: expression, hat, shirt, background, position, light).  Vector shapes, drawn four times
too large and averaged. Pillow and numpy only, so that the nodes can draw a reference without any further package.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4

COLORS = {
    "red": (206, 52, 46),
    "orange": (238, 140, 44),
    "yellow": (244, 212, 74),
    "green": (70, 156, 82),
    "blue": (56, 104, 200),
    "purple": (132, 78, 170),
    "pink": (242, 158, 188),
    "white": (240, 240, 236),
    "gray": (140, 142, 146),
    "black": (44, 44, 48),
}
EXPRESSIONS = ("neutral", "smiling", "sad", "surprised")
HATS = ("none", "red", "yellow", "green", "blue", "purple", "white", "black")
SHIRTS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
BACKGROUNDS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "gray")
POSITIONS = ("left", "center", "right")
LIGHTS = ("dim", "normal", "bright")
ATTRIBUTES = {
    "expression": EXPRESSIONS,
    "hat": HATS,
    "shirt": SHIRTS,
    "background": BACKGROUNDS,
    "position": POSITIONS,
    "light": LIGHTS,
}

SKINS = ((255, 224, 196), (241, 194, 150), (224, 172, 120), (198, 134, 86), (150, 96, 58), (100, 62, 40))
HAIRS = (
    (32, 26, 24),
    (86, 52, 30),
    (150, 92, 44),
    (226, 184, 96),
    (196, 84, 36),
    (176, 176, 180),
    (222, 92, 150),
    (60, 128, 190),
    (74, 158, 110),
)
HAIR_STYLES = ("bald", "crop", "parted", "long", "curly", "mohawk", "bun", "bob", "spiky")
EYES = ((70, 44, 26), (54, 96, 176), (62, 132, 72), (120, 124, 130), (176, 116, 30))
NOSES = ("button", "long", "wide", "pointed")
GLASSES = ("none", "none", "round", "square")
BEARDS = ("none", "none", "moustache", "goatee", "full")


@dataclass(frozen=True)
class Identity:
    """Who is drawn.  Continuous traits are in [0, 1] unless they name a choice."""

    skin: float
    face_width: float
    face_height: float
    jaw: float
    hair_style: str
    hair_color: tuple[int, int, int]
    eye_color: tuple[int, int, int]
    eye_size: float
    eye_gap: float
    brow_thickness: float
    brow_tilt: float
    nose: str
    nose_size: float
    mouth_width: float
    lip_thickness: float
    lip_redness: float
    ear_size: float
    glasses: str
    beard: str
    freckles: bool

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Identity:
        """A random person."""

        def pick(choices):
            return choices[rng.integers(len(choices))]

        return cls(
            skin=rng.random(),
            face_width=rng.random(),
            face_height=rng.random(),
            jaw=rng.random(),
            hair_style=pick(HAIR_STYLES),
            hair_color=pick(HAIRS),
            eye_color=pick(EYES),
            eye_size=rng.random(),
            eye_gap=rng.random(),
            brow_thickness=rng.random(),
            brow_tilt=rng.random(),
            nose=pick(NOSES),
            nose_size=rng.random(),
            mouth_width=rng.random(),
            lip_thickness=rng.random(),
            lip_redness=rng.random(),
            ear_size=rng.random(),
            glasses=pick(GLASSES),
            beard=pick(BEARDS),
            freckles=bool(rng.random() < 0.25),
        )

    def twin(self, rng: np.random.Generator) -> Identity:
        """Somebody who differs in one trait, more often than not the skin: who is hard to tell apart."""
        if rng.random() < 0.6:
            return replace(self, skin=(self.skin + rng.uniform(0.3, 0.7)) % 1)
        traits = [field.name for field in fields(self)]
        twin = self
        while twin == self:
            trait, other = traits[rng.integers(len(traits))], Identity.sample(rng)
            twin = replace(self, **{trait: getattr(other, trait)})
        return twin


@dataclass(frozen=True)
class Scene:
    """What a prompt names, and the small accidents (``shift_x`` and so on, in [-1, 1]) that it does not."""

    expression: str = "neutral"
    hat: str = "none"
    shirt: str = "blue"
    background: str = "gray"
    position: str = "center"
    light: str = "normal"
    shift_x: float = 0.0
    shift_y: float = 0.0
    tilt: float = 0.0
    scale: float = 0.0
    side_light: float = 0.0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Scene:
        """A random scene: half without a hat, half in the center, half in normal light."""

        def pick(choices, usual=None):
            return usual if usual is not None and rng.random() < 0.5 else choices[rng.integers(len(choices))]

        background = pick(BACKGROUNDS)
        return cls(
            expression=pick(EXPRESSIONS),
            hat=pick(HATS[1:], "none"),
            shirt=pick([color for color in SHIRTS if color != background]),
            background=background,
            position=pick(POSITIONS, "center"),
            light=pick(LIGHTS, "normal"),
        ).accident(rng)

    def beside(self, rng: np.random.Generator) -> Scene:
        """The scene of somebody else in the same picture: the same background and light, and its own of the rest."""
        other = Scene.sample(rng)
        shirt = other.shirt if other.shirt != self.background else self.shirt
        shared = {name: getattr(self, name) for name in ("background", "position", "light", "side_light")}
        return replace(other, shirt=shirt, **shared)

    def accident(self, rng: np.random.Generator) -> Scene:
        """The same named scene in another moment: another small shift, tilt, scale and side light."""
        shift_x, shift_y, tilt, scale, side_light = rng.uniform(-1, 1, 5)
        return replace(self, shift_x=shift_x, shift_y=shift_y, tilt=tilt, scale=scale, side_light=side_light)


# --- prompts --------------------------------------------------------------------------------------------------------


def write_prompt(
    scene: Scene, rng: np.random.Generator | None = None, mention: float = 1.0
) -> tuple[str, dict[str, str]]:
    """A prompt for the scene and the attributes that it names.

    Each attribute is named with probability ``mention``; a center position and normal light are never named.
    """
    named = _named(scene, ATTRIBUTES, rng, mention)
    return _person(named) + _place(named), named


def write_couple_prompt(
    left: Scene, right: Scene, rng: np.random.Generator | None = None, mention: float = 1.0
) -> tuple[str, tuple[dict[str, str], dict[str, str]]]:
    """A prompt for two people side by side, the left one first, and the attributes that it names of each."""
    own, shared = ("expression", "hat", "shirt"), ("background", "light")
    each = [_named(scene, own, rng, mention) for scene in (left, right)]
    place = _named(left, shared, rng, mention)
    prompt = " next to ".join(_person(named) for named in each) + _place(place)
    return prompt, tuple({**named, **place} for named in each)


def _named(scene: Scene, names, rng: np.random.Generator | None, mention: float) -> dict[str, str]:
    named = {name: getattr(scene, name) for name in names if rng is None or rng.random() < mention}
    for name, usual in (("position", "center"), ("light", "normal")):
        if named.get(name) == usual:
            del named[name]
    return named


def _person(named: dict[str, str]) -> str:
    person = f"{named['expression']} person" if "expression" in named else "person"
    phrase = f"{'an' if person[0] in 'aeiou' else 'a'} {person}"
    if "hat" in named:
        phrase += " without a hat" if named["hat"] == "none" else f" in a {named['hat']} hat"
    if "shirt" in named:
        phrase += f"{' and' if named.get('hat', 'none') != 'none' else ' in'} a {named['shirt']} shirt"
    return phrase


def _place(named: dict[str, str]) -> str:
    phrase = f", {named['background']} background" if "background" in named else ""
    phrase += f", on the {named['position']}" if "position" in named else ""
    return phrase + (f", {named['light']} light" if "light" in named else "")


def parse_prompt(prompt: str) -> dict[str, str]:
    """The attributes that a prompt names, in any order: ``{"hat": "red", "background": "blue"}``."""
    words = " ".join(re.findall(r"[a-z]+", prompt.lower().replace("grey", "gray").replace("centre", "center")))
    named = {}
    for name in ("hat", "shirt", "background"):
        colors = "|".join(color for color in ATTRIBUTES[name] if color != "none")
        if found := re.search(rf"\b({colors})(?: \w+)? {name}\b", words) or re.search(
            rf"\b{name} (?:is )?({colors})\b", words
        ):
            named[name] = found[1]
    if re.search(r"\b(without a|no|without) hat\b", words):
        named["hat"] = "none"
    for name in ("left", "right"):
        if re.search(rf"\b(on|at|to) the {name}\b", words):
            named["position"] = name
    for name in ("dim", "bright"):
        if re.search(rf"\b{name} light\b", words):
            named["light"] = name
    for name, pattern in {
        "neutral": "neutral",
        "smiling": "smil|happy|laugh",
        "sad": "sad|unhappy",
        "surprised": "surpris|astonish",
    }.items():
        if re.search(rf"\b({pattern})", words):
            named["expression"] = name
    return named


# --- drawing --------------------------------------------------------------------------------------------------------


class _Canvas:
    """Shapes in units of the picture's side, origin at the top left, under one similarity transform."""

    def __init__(self, size: int, background: tuple[int, int, int]):
        self.side = size * SUPERSAMPLING
        self.image = Image.new("RGB", (self.side, self.side), background)
        self.pen = ImageDraw.Draw(self.image)
        self.pose(0.0, 0.0, 0.0, 1.0)

    def pose(self, shift_x: float, shift_y: float, tilt: float, scale: float) -> None:
        self._cos, self._sin = scale * math.cos(tilt), scale * math.sin(tilt)
        self._shift, self._scale = (shift_x, shift_y), scale

    def _place(self, points) -> list[tuple[float, float]]:
        x, y = np.asarray(points, dtype=float).T
        x, y = x - 0.5, y - 0.8  # the pose turns about the neck
        px = self._cos * x - self._sin * y + 0.5 + self._shift[0]
        py = self._sin * x + self._cos * y + 0.8 + self._shift[1]
        return list(zip((px * self.side).tolist(), (py * self.side).tolist(), strict=True))

    def polygon(self, points, color) -> None:
        self.pen.polygon(self._place(points), fill=color)

    def oval(self, x, y, rx, ry, color, start=0.0, end=360.0) -> None:
        self.polygon(_arc(x, y, rx, ry, start, end), color)

    def line(self, points, width, color) -> None:
        width = max(1, round(width * self._scale * self.side))
        placed = self._place(points)
        self.pen.line(placed, fill=color, width=width, joint="curve")
        for px, py in (placed[0], placed[-1]):
            self.pen.ellipse((px - width / 2, py - width / 2, px + width / 2, py + width / 2), fill=color)


def _arc(x, y, rx, ry, start, end, points: int = 40) -> np.ndarray:
    angle = np.radians(np.linspace(start, end, points))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def _shade(color, factor: float) -> tuple[int, int, int]:
    return tuple(int(min(255, max(0, channel * factor))) for channel in color)


def _blend(a, b, amount: float) -> tuple[int, int, int]:
    return tuple(int(u + (v - u) * amount) for u, v in zip(a, b, strict=True))


def _skin(tone: float) -> tuple[int, int, int]:
    place = tone * (len(SKINS) - 1)
    index = min(int(place), len(SKINS) - 2)
    return _blend(SKINS[index], SKINS[index + 1], place - index)


def draw(identity: Identity, scene: Scene, size: int = 128) -> Image.Image:
    """The portrait, RGB, ``size`` x ``size`` pixels."""
    return draw_together([(identity, scene)], size)


def draw_together(people: Sequence[tuple[Identity, Scene]], size: int = 128) -> Image.Image:
    """Portraits side by side in one picture, RGB, each ``size`` x ``size`` pixels, in the light of the first scene."""
    pixels = np.concatenate([_paint(identity, scene, size) for identity, scene in people], axis=1)
    light = people[0][1]
    slope = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)[None, :, None]
    ramp = 1.0 + 0.08 * light.side_light * slope
    brightness = {"dim": 0.6, "normal": 1.0, "bright": 1.22}[light.light]
    return Image.fromarray(np.clip(pixels * ramp * brightness, 0, 255).astype(np.uint8))


def _paint(identity: Identity, scene: Scene, size: int) -> np.ndarray:
    """One portrait before the light falls on it, (size, size, 3)."""
    canvas = _Canvas(size, COLORS[scene.background])
    for _, paint in parts(canvas, identity, scene):
        paint()
    return np.asarray(canvas.image.reduce(SUPERSAMPLING), dtype=np.float32)


def parts(canvas: _Canvas, identity: Identity, scene: Scene) -> list[tuple[str, Callable[[], None]]]:
    """What a portrait is painted of, from the back to the front: each part's name, and how to paint it."""
    shift = {"left": -0.16, "center": 0.0, "right": 0.16}[scene.position]
    canvas.pose(
        shift + 0.02 * scene.shift_x, 0.015 * scene.shift_y, math.radians(5 * scene.tilt), 1.14 + 0.05 * scene.scale
    )
    face = _Face(canvas, identity, scene)
    painted = [
        ("hair", face.hair_behind),
        ("shirt", face.body),
        ("face", face.head),
        ("beard", face.beard),
        ("face", face.features),
        ("hair", face.hair_in_front),
    ]
    return [*painted, ("hat", face.hat)] if scene.hat != "none" else painted


class _Face:
    """The parts of one portrait; x = 0.5 is the face's axis, y = 0.47 its center."""

    def __init__(self, canvas: _Canvas, identity: Identity, scene: Scene):
        self.canvas, self.identity, self.scene = canvas, identity, scene
        self.skin = _skin(identity.skin)
        self.dark = _shade(self.skin, 0.74)
        self.y = 0.47
        self.rx = 0.175 + 0.055 * identity.face_width
        self.ry = 0.225 + 0.045 * identity.face_height
        self.top = self.y - self.ry

    def outline(self, grow: float = 0.0) -> np.ndarray:
        angle = np.radians(np.linspace(0, 360, 56))
        x, y = np.cos(angle), np.sin(angle)
        taper = 1.0 - (0.02 + 0.32 * (1 - self.identity.jaw)) * np.clip(y, 0, 1) ** 1.6
        square = np.sign(x) * np.abs(x) ** (1.0 - 0.3 * self.identity.jaw)
        return np.stack([0.5 + (self.rx + grow) * square * taper, self.y + (self.ry + grow) * y], axis=1)

    def hair_behind(self) -> None:
        style, color = self.identity.hair_style, _shade(self.identity.hair_color, 0.82)
        if style == "long":
            self.canvas.polygon(
                [
                    (0.5 - self.rx - 0.07, 0.88),
                    *_arc(0.5, self.y - 0.02, self.rx + 0.06, self.ry + 0.04, 180, 360),
                    (0.5 + self.rx + 0.07, 0.88),
                ],
                color,
            )
        elif style == "bob":
            self.canvas.polygon(
                [
                    (0.5 - self.rx - 0.08, 0.66),
                    *_arc(0.5, self.y, self.rx + 0.06, self.ry + 0.04, 180, 360),
                    (0.5 + self.rx + 0.08, 0.66),
                ],
                color,
            )
        elif style == "curly":
            for angle in range(150, 391, 24):
                x, y = (
                    0.5 + (self.rx + 0.03) * math.cos(math.radians(angle)),
                    self.y - 0.02 + self.ry * math.sin(math.radians(angle)),
                )
                self.canvas.oval(x, y, 0.075, 0.075, color)
        elif style == "bun":
            self.canvas.oval(0.5, self.top - 0.045, 0.085, 0.08, color)

    def body(self) -> None:
        shirt = COLORS[self.scene.shirt]
        self.canvas.polygon(
            [(0.1, 1.3), (0.13, 0.92), *_arc(0.5, 0.94, 0.36, 0.14, 190, 350), (0.87, 0.92), (0.9, 1.3)], shirt
        )
        self.canvas.polygon(
            [(0.43, 0.62), (0.57, 0.62), (0.585, 0.83), *_arc(0.5, 0.83, 0.085, 0.05, 0, 180), (0.415, 0.83)], self.dark
        )
        self.canvas.line(_arc(0.5, 0.83, 0.1, 0.065, 0, 180), 0.02, _shade(shirt, 0.72))

    def head(self) -> None:
        size = 0.035 + 0.03 * self.identity.ear_size
        for side in (-1, 1):
            self.canvas.oval(0.5 + side * self.rx * 0.98, self.y + 0.01, size * 0.75, size * 1.15, self.skin)
            self.canvas.oval(0.5 + side * self.rx * 0.99, self.y + 0.01, size * 0.4, size * 0.7, self.dark)
        self.canvas.polygon(self.outline(), self.skin)

    def features(self) -> None:
        if self.identity.freckles:
            for side in (-1, 1):
                for dx, dy in ((0.06, 0.05), (0.09, 0.035), (0.085, 0.07), (0.12, 0.055), (0.11, 0.085)):
                    self.canvas.oval(0.5 + side * dx, self.y + dy, 0.0085, 0.0085, _shade(self.skin, 0.66))
        self._eyes()
        self._nose()
        self._mouth()

    def _eyes(self) -> None:
        person, gap = self.identity, 0.075 + 0.035 * self.identity.eye_gap
        size, y = 0.026 + 0.018 * self.identity.eye_size, self.y - 0.03
        open_wide = 1.3 if self.scene.expression == "surprised" else 1.0
        lift = {"surprised": -0.035, "sad": -0.005}.get(self.scene.expression, 0.0)
        sadness = 0.022 if self.scene.expression == "sad" else 0.0
        brow = _shade(person.hair_color, 0.7)
        for side in (-1, 1):
            x = 0.5 + side * gap
            self.canvas.oval(x, y, size * 1.35, size * open_wide, (250, 250, 250))
            self.canvas.oval(x, y, size * 0.82, size * 0.82 * min(open_wide, 1.1), person.eye_color)
            self.canvas.oval(x, y, size * 0.4, size * 0.4, (16, 14, 14))
            tilt = 0.026 * (person.brow_tilt - 0.5)
            inner, outer = y - 0.058 + lift + tilt - sadness, y - 0.058 + lift - tilt + sadness * 0.6
            self.canvas.line(
                [(x - side * size * 1.3, inner), (x + side * size * 1.3, outer)],
                0.01 + 0.02 * person.brow_thickness,
                brow,
            )
        if person.glasses != "none":
            r = max(size * 1.75, 0.058)
            for side in (-1, 1):
                x = 0.5 + side * gap
                frame = _arc(x, y, r, r * 0.95, 0, 360) if person.glasses == "round" else _square(x, y, r, r * 0.8)
                self.canvas.line(frame, 0.014, (30, 30, 34))
                self.canvas.line([(x + side * r, y - 0.01), (0.5 + side * self.rx, y - 0.015)], 0.012, (30, 30, 34))
            self.canvas.line([(0.5 - gap + r, y - 0.005), (0.5 + gap - r, y - 0.005)], 0.014, (30, 30, 34))

    def _nose(self) -> None:
        size, y = 0.8 + 0.5 * self.identity.nose_size, self.y + 0.055
        if self.identity.nose == "button":
            self.canvas.oval(0.5, y, 0.026 * size, 0.022 * size, self.dark)
        elif self.identity.nose == "long":
            self.canvas.line([(0.497, y - 0.06 * size), (0.484, y + 0.02), (0.512, y + 0.024)], 0.013, self.dark)
        elif self.identity.nose == "wide":
            self.canvas.oval(0.5, y, 0.046 * size, 0.018 * size, self.dark)
        else:
            self.canvas.polygon(
                [(0.5, y - 0.06 * size), (0.5 + 0.034 * size, y + 0.02), (0.5 - 0.034 * size, y + 0.02)], self.dark
            )

    def _mouth(self) -> None:
        person, y = self.identity, self.y + 0.138
        width, lip = 0.05 + 0.035 * person.mouth_width, 0.013 + 0.014 * person.lip_thickness
        color = _blend(_shade(self.skin, 0.6), (190, 44, 56), 0.25 + 0.75 * person.lip_redness)
        if self.scene.expression == "smiling":
            self.canvas.oval(0.5, y - 0.012, width * 1.2, 0.052, color, 0, 180)
            self.canvas.oval(0.5, y - 0.008, width * 1.0, 0.024, (252, 252, 250), 0, 180)
        elif self.scene.expression == "sad":
            self.canvas.line(_arc(0.5, y + 0.032, width, 0.034, 200, 340), lip, color)
        elif self.scene.expression == "surprised":
            self.canvas.oval(0.5, y + 0.012, width * 0.62 + lip * 0.5, 0.042 + lip * 0.5, color)
            self.canvas.oval(0.5, y + 0.012, width * 0.62 - lip * 0.4, 0.042 - lip * 0.4, (70, 20, 26))
        else:
            self.canvas.line([(0.5 - width, y), (0.5 + width, y)], lip, color)

    def beard(self) -> None:
        color, y = _shade(self.identity.hair_color, 0.9), self.y + 0.138
        if self.identity.beard == "full":
            lower = self.outline(0.012)
            self.canvas.polygon([point for point in lower if point[1] > self.y + 0.055], color)
            self.canvas.oval(0.5, y + 0.005, 0.1, 0.05, self.skin)
        elif self.identity.beard == "goatee":
            self.canvas.polygon(_arc(0.5, self.y + self.ry - 0.03, 0.062, 0.055, 0, 360), color)
        if self.identity.beard in ("moustache", "full"):
            for side in (-1, 1):
                self.canvas.polygon(
                    [
                        (0.5, y - 0.052),
                        (0.5 + side * 0.095, y - 0.02),
                        (0.5 + side * 0.05, y - 0.018),
                        (0.5, y - 0.028),
                    ],
                    color,
                )

    def hair_in_front(self) -> None:
        style, color = self.identity.hair_style, self.identity.hair_color
        rx, top, y = self.rx + 0.012, self.top - 0.02, self.y
        if style == "bald":
            return
        if style == "mohawk":
            if self.scene.hat == "none":
                self.canvas.polygon(
                    [(0.44, y - 0.13), (0.42, top - 0.09), (0.5, top - 0.13), (0.58, top - 0.09), (0.56, y - 0.13)],
                    color,
                )
            return
        line = {
            "crop": -0.135,
            "parted": -0.11,
            "long": -0.12,
            "curly": -0.13,
            "bun": -0.145,
            "bob": -0.085,
            "spiky": -0.125,
        }[style]
        side = {"crop": -0.03, "parted": 0.0, "long": 0.1, "curly": 0.02, "bun": -0.05, "bob": 0.14, "spiky": -0.04}[
            style
        ]
        crown = _arc(0.5, y, rx, y - top, 180, 360)
        if style == "parted":
            fringe = [
                (0.5 + rx * 0.9, y - 0.1),
                (0.6, y + line - 0.03),
                (0.42, y + line - 0.075),
                (0.5 - rx * 0.85, y - 0.02),
            ]
        elif style == "bob":
            fringe = [(0.5 + rx * 0.8, y + line), (0.5 - rx * 0.8, y + line)]
        else:
            fringe = [
                (0.5 + rx * 0.82, y - 0.08),
                *_arc(0.5, y + line + 0.03, rx * 0.7, 0.05, 0, -180, 12),
                (0.5 - rx * 0.82, y - 0.08),
            ]
        self.canvas.polygon([(0.5 - rx, y + side), *crown, (0.5 + rx, y + side), *fringe], color)
        if style == "curly" and self.scene.hat == "none":
            for angle in range(200, 341, 20):
                self.canvas.oval(
                    0.5 + rx * 0.8 * math.cos(math.radians(angle)),
                    y - 0.03 + (y - top) * 0.85 * math.sin(math.radians(angle)),
                    0.058,
                    0.055,
                    color,
                )
        elif style == "spiky" and self.scene.hat == "none":
            for x in np.linspace(0.5 - rx * 0.75, 0.5 + rx * 0.75, 5):
                base = y - (y - top) * math.sqrt(max(0.0, 1 - ((x - 0.5) / rx) ** 2))
                self.canvas.polygon(
                    [(x - 0.05, base + 0.045), (x + (x - 0.5) * 0.35, base - 0.085), (x + 0.05, base + 0.045)], color
                )

    def hat(self) -> None:
        color, y = COLORS[self.scene.hat], self.y - 0.125
        crown = self.top - 0.075
        self.canvas.polygon(
            [
                (0.5 - self.rx - 0.012, y),
                *_arc(0.5, y - 0.03, self.rx + 0.012, y - 0.03 - crown, 180, 360),
                (0.5 + self.rx + 0.012, y),
            ],
            color,
        )
        self.canvas.oval(0.5, y, self.rx + 0.1, 0.032, _shade(color, 0.8))
        self.canvas.line(
            [(0.5 - self.rx - 0.008, y - 0.045), (0.5 + self.rx + 0.008, y - 0.045)], 0.022, _shade(color, 0.6)
        )


def _square(x, y, rx, ry) -> list[tuple[float, float]]:
    return [(x - rx, y - ry), (x + rx, y - ry), (x + rx, y + ry), (x - rx, y + ry), (x - rx, y - ry)]


def draw_portrait(identity_seed: int, prompt: str = "a person", size: int = 128) -> Image.Image:
    """The person with number ``identity_seed`` in the scene that ``prompt`` names (the rest of the scene is the usual
    one)."""
    named = parse_prompt(prompt)
    return draw(Identity.sample(np.random.default_rng(identity_seed)), Scene(**named), size)
