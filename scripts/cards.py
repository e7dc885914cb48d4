"""Thumbnails of templates with large models: what goes in and what comes out, drawn by the demo's renderer."""

from __future__ import annotations

import textwrap

from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from demo.portrait import draw_portrait

from .layout import NOTE

SIZE, SIDE, LEFT, TOP = (768, 480), 216, 24, 212
DRAWN = "A drawing of the idea: the model itself was not at hand."
SCENES = (  # of the pictures that come out, one after the other
    "a smiling person in a red hat, yellow background",
    "a person in a green hat and a white shirt, purple background",
    "a smiling person in a blue hat, pink background",
    "a person in a yellow hat and a red shirt, green background",
    "a surprised person in a white hat, orange background",
)


def card(graph: dict, number: int) -> Image.Image:
    """The template's title and first sentences beside a picture of what it does, each with a person of its own."""
    (note,) = (node for node in graph["nodes"] if node["type"] == NOTE)
    head, _, rest = note["widgets_values"][0].removeprefix("# ").partition("\n")
    title, _, subtitle = head.partition(": ")
    first = rest.strip().partition("\n")[0].replace("*", "")
    page = Image.new("RGB", SIZE, "#20232a")
    pen = ImageDraw.Draw(page)
    pen.text((LEFT, 18), title, fill="white", font=ImageFont.load_default(34))
    first = "" if first[:1].isdigit() else first  # the first of several steps
    lines = textwrap.wrap(subtitle[:1].upper() + subtitle[1:] or first, 66)[:3]
    pen.text((LEFT, 70), "\n".join(lines), fill="#c3cad6", font=ImageFont.load_default(22), spacing=6)
    for i, (caption, picture) in enumerate(tiles(graph, number)):
        left = LEFT + i * (SIDE + 24)
        pen.text((left, TOP - 32), caption, fill="#9aa4b2", font=ImageFont.load_default(20))
        page.paste(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, TOP))
    pen.text((LEFT, TOP + SIDE + 8), DRAWN, fill="#9aa4b2", font=ImageFont.load_default(18))
    return page


def tiles(graph: dict, number: int) -> list[tuple[str, Image.Image]]:
    """Captions and pictures: the reference, what else goes in, what comes out."""
    types = {node["type"] for node in graph["nodes"]}
    scene = SCENES[number % len(SCENES)]
    if "LoadSubjectDiscriminator" in types:
        return [("your photograph", mug("#d8d2c4")), ("the picture", mug("#3f7d58"))]
    person = 5_000_100 + number
    reference, picture = ("your photograph", draw_portrait(person, size=256)), draw_portrait(person, scene, 256)
    if "Canny" in types:
        drawing = draw_portrait(person + 1, scene, 256).convert("L")
        outlines = ImageOps.autocontrast(drawing.filter(ImageFilter.FIND_EDGES))
        return [reference, ("the outlines", outlines), ("the picture", picture)]
    if "StyleModelApply" in types:
        look = draw_portrait(person + 1, scene, 256)
        return [reference, ("the look", look), ("the picture", picture)]
    return [reference, ("the picture", picture)]


def mug(background: str) -> Image.Image:
    """The same striped mug before any background."""
    picture = Image.new("RGB", (256, 256), background)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((150, 90, 222, 180), outline="#c0392b", width=18)
    pen.rounded_rectangle((64, 64, 176, 208), 16, fill="#c0392b")
    pen.rectangle((64, 110, 176, 134), fill="#f4d44a")
    pen.ellipse((64, 50, 176, 80), fill="#7b241c")
    return picture
