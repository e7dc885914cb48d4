"""The shapes that places, things and pets are drawn of, in units of a panel's side; y = 0.8 is the ground."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from portrait import COLORS, Scene, _arc, _blend, _Canvas, _shade, _square, parts

if TYPE_CHECKING:
    from .render import Person, Place, Subject

EDGE = 0.014  # width of outlines


class Canvas(_Canvas):
    """The portraits' canvas, which can mirror what is drawn, and draws shapes with an outline and a pattern."""

    def __init__(self, size: int):
        self.mirrored = False
        super().__init__(size, (255, 255, 255))

    def _place(self, points) -> list[tuple[float, float]]:
        points = np.asarray(points, dtype=float)
        return super()._place(points * (-1, 1) + (1, 0) if self.mirrored else points)

    def shape(self, points, color, pattern: str = "plain", second=(0, 0, 0)) -> None:
        """A polygon with a dark outline, and a pattern inside that keeps to parts of its box."""
        points = [tuple(point) for point in points]
        self.polygon(points, color)
        if pattern != "plain":
            before, mask = self.image.copy(), Image.new("1", self.image.size)
            ImageDraw.Draw(mask).polygon(self._place(points), fill=1)
            for part in _pattern(pattern, np.array(points)):
                self.polygon(part, second)
            inside = self.image.copy()
            self.image.paste(before)
            self.image.paste(inside, mask=mask)
        self.line([*points, points[0]], EDGE, _shade(color, 0.5))


def _pattern(pattern: str, points: np.ndarray) -> list:
    (left, top), (right, bottom) = points.min(0), points.max(0)
    width, height = right - left, bottom - top
    if pattern == "stripes":
        edges = [left + width * (i + 0.5) / 6 for i in range(6)]
        return [[(a, top), (b, top), (b, bottom), (a, bottom)] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    if pattern == "dots":
        grid = [(x, y) for y in (0.25, 0.75) for x in (0.15, 0.5, 0.85)] + [(0.33, 0.5), (0.67, 0.5)]
        return [_arc(left + width * x, top + height * y, 0.03, 0.03, 0, 360) for x, y in grid]
    return [_arc(left + 0.7 * width, top + 0.3 * height, 0.36 * width, 0.4 * height, 0, 360)]


# --- places ---------------------------------------------------------------------------------------------------------

HORIZON = 0.6


def paint_place(canvas: Canvas, place: Place) -> None:
    canvas.pose(0.0, 0.0, 0.0, 1.0)
    {
        "beach": _beach,
        "meadow": _meadow,
        "snow": _snow,
        "night": _night,
        "room": _room,
        "kitchen": _kitchen,
    }[place.place](canvas)


def _band(canvas: Canvas, top: float, bottom: float, color) -> None:
    canvas.polygon([(0, top), (1, top), (1, bottom), (0, bottom)], color)


def _beach(canvas: Canvas) -> None:
    _band(canvas, 0, 0.4, (158, 212, 242))
    _band(canvas, 0.4, HORIZON, (58, 142, 196))
    _band(canvas, HORIZON - 0.02, HORIZON, (226, 240, 244))
    _band(canvas, HORIZON, 1, (238, 214, 162))


def _meadow(canvas: Canvas) -> None:
    _band(canvas, 0, HORIZON, (176, 220, 244))
    canvas.oval(0.2, HORIZON, 0.42, 0.2, (92, 154, 84))
    canvas.oval(0.85, HORIZON, 0.4, 0.14, (92, 154, 84))
    _band(canvas, HORIZON, 1, (126, 190, 90))
    for x, y in ((0.08, 0.7), (0.25, 0.92), (0.62, 0.94), (0.92, 0.72), (0.88, 0.9)):
        canvas.oval(x, y, 0.018, 0.018, (250, 240, 150))


def _snow(canvas: Canvas) -> None:
    _band(canvas, 0, HORIZON, (196, 208, 222))
    for x, tall in ((0.1, 0.34), (0.32, 0.26), (0.72, 0.3), (0.93, 0.38)):
        canvas.polygon([(x - 0.1, HORIZON + 0.02), (x, HORIZON - tall), (x + 0.1, HORIZON + 0.02)], (52, 96, 88))
    _band(canvas, HORIZON, 1, (242, 246, 250))


def _night(canvas: Canvas) -> None:
    _band(canvas, 0, HORIZON, (30, 36, 78))
    for x, y in ((0.08, 0.12), (0.25, 0.3), (0.42, 0.08), (0.6, 0.22), (0.78, 0.1), (0.92, 0.34)):
        canvas.oval(x, y, 0.014, 0.014, (250, 250, 220))
    _band(canvas, HORIZON, 1, (62, 66, 92))


def _room(canvas: Canvas) -> None:
    _band(canvas, 0, HORIZON, (230, 204, 184))
    for x in (0.2, 0.8):
        canvas.polygon(_square(x, 0.24, 0.13, 0.14), (120, 84, 60))
        canvas.polygon(_square(x, 0.24, 0.1, 0.11), (182, 214, 226))
    _band(canvas, HORIZON, 1, (160, 106, 68))
    for y in (0.72, 0.86):
        canvas.line([(-0.1, y), (1.1, y)], 0.01, (130, 84, 52))


def _kitchen(canvas: Canvas) -> None:
    _band(canvas, 0, HORIZON, (206, 226, 222))
    for step in range(6):
        canvas.line([(step / 5, -0.1), (step / 5, HORIZON)], 0.01, (168, 196, 192))
    for y in (0.15, 0.3, 0.45):
        canvas.line([(-0.1, y), (1.1, y)], 0.01, (168, 196, 192))
    _band(canvas, HORIZON, 1, (212, 206, 200))
    _band(canvas, HORIZON, HORIZON + 0.03, (150, 146, 142))


# --- subjects -------------------------------------------------------------------------------------------------------

GROUND = {"beach": (206, 180, 130), "meadow": (92, 150, 68), "snow": (206, 214, 226)}
GROUND |= {"night": (40, 44, 66), "room": (122, 78, 48), "kitchen": (172, 166, 160)}


def _stand(canvas: Canvas, subject: Subject, place: Place) -> None:
    shift = {"left": -0.15, "center": 0.0, "right": 0.15}[place.position]
    canvas.pose(
        shift + 0.02 * place.shift_x,
        0.03 + 0.03 * place.shift_y,
        math.radians(4 * place.tilt),
        1.1 + 0.1 * place.scale,
    )
    canvas.mirrored = place.mirrored and not subject.rigid


def paint_shadow(canvas: Canvas, subject: Subject, place: Place) -> None:
    _stand(canvas, subject, place)
    canvas.oval(0.5, 0.8, 0.3, 0.045, GROUND[place.place])
    canvas.mirrored = False


def paint_subject(canvas: Canvas, subject: Subject, place: Place) -> None:
    _stand(canvas, subject, place)
    painter = _Painter(canvas, subject)
    if subject.rigid:
        {"mug": painter.mug, "car": painter.car, "robot": painter.robot, "boat": painter.boat}[subject.kind]()
    elif subject.kind == "duck":
        painter.duck(place.pose == "lying")
    else:
        painter.pet(place.pose == "lying")
    canvas.mirrored = False


def paint_person(canvas: Canvas, person: Person, place: Place) -> None:
    """As in a portrait, before the place."""
    accidents = {name: getattr(place, name) for name in ("position", "shift_x", "shift_y", "tilt", "scale")}
    for _, paint in parts(canvas, person.identity, Scene(person.expression, shirt=person.shirt, **accidents)):
        paint()


class _Painter:
    """One subject around x = 0.5, on the ground at y = 0.8."""

    def __init__(self, canvas: Canvas, subject: Subject):
        self.canvas, self.subject = canvas, subject
        self.main, self.second, self.accent = (COLORS[getattr(subject, x)] for x in ("main", "second", "accent"))
        self.wide, self.tall = subject.width - 0.5, subject.height - 0.5

    def body(self, points) -> None:
        self.canvas.shape(points, self.main, self.subject.pattern, self.second)

    def box(self, left, top, right, bottom) -> list:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]

    def mug(self) -> None:
        half, top = 0.17 + 0.07 * self.wide, 0.4 - 0.12 * self.tall
        middle, right = (top + 0.8) / 2, 0.47 + half
        handle = {
            0: _arc(right, middle, 0.12, 0.11, -90, 90),
            1: [
                (right, middle - 0.1),
                (right + 0.12, middle - 0.1),
                (right + 0.12, middle + 0.1),
                (right, middle + 0.1),
            ],
            2: [(right, middle - 0.12), (right + 0.15, middle - 0.08), (right, middle + 0.12)],
        }[self.subject.part]
        self.canvas.line(handle, 0.065, _shade(self.accent, 0.5))
        self.canvas.line(handle, 0.042, self.accent)
        left = 0.47 - half
        self.body([(left, top), (right, top), (right, 0.77), *_arc(0.47, 0.77, half, 0.035, 0, 180)])
        self.canvas.oval(0.47, top, half + 0.007, 0.042, _shade(self.main, 0.5))
        self.canvas.oval(0.47, top, half - 0.01, 0.03, self.accent)

    def car(self) -> None:
        half, top = 0.28 + 0.07 * self.wide, 0.56 - 0.07 * self.tall
        roof = top - 0.15 - 0.05 * self.tall
        cabin = {
            0: _arc(0.5, top + 0.02, 0.18, top + 0.02 - roof, 180, 360),
            1: [(0.34, top + 0.02), (0.37, roof), (0.63, roof), (0.66, top + 0.02)],
            2: [(0.5 - half, top + 0.02), (0.5 - half, roof), (0.5, roof), (0.5, top + 0.02)],
        }[self.subject.part]
        self.canvas.shape(cabin, self.main)
        middle = 0.5 if self.subject.part < 2 else 0.5 - half / 2
        self.canvas.polygon(_square(middle, (top + roof) / 2 + 0.015, 0.085, (top - roof) / 2 - 0.035), (206, 232, 244))
        self.body(
            [
                *_arc(0.5 - half, 0.63, 0.05, 0.63 - top, 180, 270),
                *_arc(0.5 + half, 0.65, 0.05, 0.65 - top, 270, 360),
                (0.55 + half, 0.73),
                (0.45 - half, 0.73),
            ]
        )
        for x in (0.5 - 0.62 * half, 0.5 + 0.62 * half):
            self.canvas.oval(x, 0.725, 0.085, 0.085, (38, 38, 42))
            self.canvas.oval(x, 0.725, 0.052, 0.052, self.accent)

    def robot(self) -> None:
        half, top = 0.16 + 0.06 * self.wide, 0.47 - 0.05 * self.tall
        head = 0.15 + 0.06 * self.tall
        crown, dark = top - 0.02 - head, _shade(self.accent, 0.5)
        feelers = {
            0: [[(0.5, crown), (0.5, crown - 0.09)]],
            1: [[(0.44, crown), (0.38, crown - 0.09)], [(0.56, crown), (0.62, crown - 0.09)]],
            2: [],
        }[self.subject.part]
        for feeler in feelers:
            self.canvas.line(feeler, 0.022, (70, 72, 78))
            self.canvas.oval(*feeler[1], 0.034, 0.034, self.accent)
        if self.subject.part == 2:
            self.canvas.shape([(0.4, crown), (0.5, crown - 0.11), (0.6, crown)], self.accent)
        for side in (-1, 1):
            x = 0.5 + side * (half + 0.045)
            self.canvas.line([(x, top + 0.05), (x + side * 0.02, top + 0.2)], 0.06, dark)
            self.canvas.line([(x, top + 0.05), (x + side * 0.02, top + 0.2)], 0.036, self.accent)
            self.canvas.shape(
                self.box(0.5 + side * half * 0.55 - 0.05, 0.72, 0.5 + side * half * 0.55 + 0.05, 0.8), self.accent
            )
        self.body(self.box(0.5 - half, top, 0.5 + half, 0.735))
        self.canvas.shape(self.box(0.5 - half * 0.8, crown, 0.5 + half * 0.8, top - 0.015), self.main)
        for side in (-1, 1):
            self.canvas.oval(0.5 + side * half * 0.38, crown + head * 0.42, 0.032, 0.032, (252, 252, 248))
            self.canvas.oval(0.5 + side * half * 0.38, crown + head * 0.42, 0.017, 0.017, (30, 30, 34))

    def boat(self) -> None:
        half, deck, top = 0.27 + 0.07 * self.wide, 0.64, 0.22 - 0.12 * self.tall
        self.canvas.line([(0.5, deck), (0.5, top)], 0.024, (96, 66, 44))
        right = [(0.52, top + 0.02), (0.52, deck - 0.04), (0.52 + half * 0.85, deck - 0.04)]
        left = [(0.48, top + 0.08), (0.48, deck - 0.04), (0.48 - half * 0.7, deck - 0.04)]
        sails = {
            0: [right],
            1: [right, left],
            2: [self.box(0.5 - half * 0.62, top + 0.04, 0.5 + half * 0.62, deck - 0.06)],
        }[self.subject.part]
        for sail in sails:
            self.canvas.shape(sail, self.accent)
        self.body([(0.5 - half - 0.05, deck), (0.55 + half, deck), (0.5 + half * 0.7, 0.8), (0.5 - half * 0.7, 0.8)])

    def pet(self, lying: bool) -> None:
        """A cat, a dog or a rabbit: they differ in ears, tail and muzzle."""
        kind, fat = self.subject.kind, 0.05 * self.wide
        head = 0.13 + 0.04 * self.tall
        if lying:
            body, x, y = _arc(0.54, 0.69, 0.27 + fat, 0.115 + 0.4 * fat, 0, 360), 0.3, 0.56
            tail = [(0.79, 0.7), (0.88, 0.62), (0.9, 0.52)]
        else:
            body, x, y = _arc(0.53, 0.64, 0.17 + fat, 0.17, 0, 360), 0.5, 0.42 - 0.04 * self.tall
            tail = [(0.66, 0.74), (0.78, 0.68), (0.82, 0.54)]
        dark = _shade(self.main, 0.5)
        if kind == "rabbit":
            self.canvas.oval(tail[0][0] + 0.04, tail[0][1], 0.062, 0.062, dark)
            self.canvas.oval(tail[0][0] + 0.04, tail[0][1], 0.05, 0.05, (250, 248, 244))
        else:
            self.canvas.line(tail, 0.075 if kind == "cat" else 0.06, dark)
            self.canvas.line(tail, 0.05 if kind == "cat" else 0.036, self.main)
        self.body(body)
        paws = ((0.38, 0.78), (0.52, 0.79)) if lying else ((0.44, 0.78), (0.6, 0.78))
        for px, py in paws:
            self.canvas.oval(px, py, 0.065, 0.036, dark)
            self.canvas.oval(px, py, 0.053, 0.025, self.main)
        behind = kind != "dog"
        if behind:
            self.ears(x, y, head)
        self.canvas.shape(_arc(x, y, head * 1.08, head, 0, 360), self.main)
        if not behind:
            self.ears(x, y, head)
        self.collar(x, y, head)
        if kind == "dog":
            self.canvas.oval(x, y + 0.45 * head, 0.5 * head, 0.4 * head, _blend(self.main, (255, 255, 255), 0.55))
        for side in (-1, 1):
            self.eye(x + side * 0.42 * head, y - 0.08 * head)
        nose = (240, 150, 160) if kind != "dog" else (36, 32, 34)
        self.canvas.oval(x, y + 0.32 * head, 0.028, 0.02, nose)

    def eye(self, x: float, y: float) -> None:
        self.canvas.oval(x, y, 0.033, 0.036, (252, 252, 248))
        self.canvas.oval(x, y, 0.021, 0.027, (28, 26, 30))

    def collar(self, x: float, y: float, head: float) -> None:
        self.canvas.line(_arc(x, y + 0.1 * head, 0.8 * head, 0.92 * head, 35, 145, 16), 0.05, _shade(self.accent, 0.5))
        self.canvas.line(_arc(x, y + 0.1 * head, 0.8 * head, 0.92 * head, 35, 145, 16), 0.032, self.accent)

    def ears(self, x: float, y: float, head: float) -> None:
        kind, part = self.subject.kind, self.subject.part
        for side in (-1, 1):
            if kind == "cat":
                tip = {0: (0.95, -1.55), 1: (0.6, -1.2), 2: (1.5, -1.15)}[part]
                corners = [(0.25, -0.85), tip, (1.0, -0.2)]
            elif kind == "dog":
                corners = {
                    0: [(0.6, -0.85), (1.35, -0.6), (1.4, 0.5), (0.95, 0.55)],
                    1: [(0.3, -0.8), (0.8, -1.45), (1.0, -0.3)],
                    2: [(0.4, -0.9), (1.0, -1.25), (1.4, -0.75), (0.95, -0.4)],
                }[part]
            else:
                corners = {
                    0: [(0.15, -0.7), (0.2, -1.9), (0.5, -2.1), (0.75, -1.8), (0.65, -0.6)],
                    1: [(0.5, -0.8), (1.2, -0.75), (1.6, 0.4), (1.3, 0.7), (0.95, 0.0)],
                    2: [(0.2, -0.7), (0.55, -1.35), (1.4, -1.6), (1.25, -1.25), (0.8, -0.5)],
                }[part]
            color = self.second if kind == "dog" else self.main
            self.canvas.shape([(x + side * a * head, y + b * head) for a, b in corners], color)
            if kind != "dog":
                a, b = np.mean(corners, axis=0)
                inner = [(x + side * (a + 0.5 * (u - a)) * head, y + (b + 0.5 * (v - b)) * head) for u, v in corners]
                self.canvas.polygon(inner, self.second)

    def duck(self, lying: bool) -> None:
        fat, head = 0.04 * self.wide, 0.11 + 0.03 * self.tall
        x, y = (0.33, 0.56) if lying else (0.36, 0.4 - 0.05 * self.tall)
        if not lying:
            self.canvas.shape(self.box(x - 0.055, y, x + 0.075, 0.62), self.main)
        body = 0.69 if lying else 0.65
        self.canvas.shape([(0.7, body - 0.06), (0.9 + fat, body - 0.16), (0.8, body + 0.06)], self.main)
        self.body(_arc(0.54, body, 0.25 + fat, 0.12 + 0.5 * fat, 0, 360))
        self.canvas.line(_arc(0.58, body - 0.03, 0.1, 0.07, 10, 170, 16), 0.024, _shade(self.main, 0.5))
        if not lying:
            for leg in (0.46, 0.6):
                self.canvas.line([(leg, 0.76), (leg, 0.8), (leg - 0.06, 0.8)], 0.034, self.accent)
        crest = {
            0: [],
            1: [[(-0.35, -0.85), (0.1, -1.9), (0.45, -0.8)]],
            2: [[(0.5, -0.75), (1.7, -1.1), (0.95, -0.2)]],
        }[self.subject.part]
        for corners in crest:
            self.canvas.shape([(x + a * head, y + b * head) for a, b in corners], self.second)
        self.canvas.shape(_arc(x, y, head, head, 0, 360), self.main)
        self.canvas.shape(
            [(x - 0.75 * head, y - 0.15 * head), (x - 1.95 * head, y + 0.25 * head), (x - 0.7 * head, y + 0.55 * head)],
            self.accent,
        )
        self.eye(x - 0.25 * head, y - 0.25 * head)
