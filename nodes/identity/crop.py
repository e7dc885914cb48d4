"""Where a face or a thing is in a picture, cut out to be drawn larger."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ...rectifid_core.identity.selection import STRATEGIES, select_region
from ...rectifid_core.images.cropping import Crop, crop_around, cut_and_scale, soft_mask
from ...rectifid_core.images.regions import Region, size_of
from ..checks import checked_discriminator, checked_images
from ..host.networks.discriminators import find_in_image
from ..schema import search_aliases
from ..types import Discriminator
from .display import show

_NAME = "Crop Around Subject"
_MULTIPLE = 16  # pixels; what autoencoders want, so that none crops the picture once more


class CropAroundSubject(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CropAroundSubject",
            display_name="Crop Around Subject (Face Detailer)",
            category="RectifID/identity",
            **search_aliases("facedetailer", "adetailer", "detailer", "face crop", "find face", "bounding box"),
            description="Finds a face or a thing in a picture and cuts it out with a margin, at the size at which it "
            "is to be drawn anew. Image Composite Masked puts it back.",
            inputs=[
                Discriminator.Input("discriminator", tooltip="What finds it: best the one of the identity."),
                io.Image.Input("image", tooltip="The picture, one."),
                io.Combo.Input(
                    "which",
                    options=list(STRATEGIES),
                    default="largest",
                    tooltip="Which face is meant, where an image has more than one. only: there is just one, else an "
                    "error lists them. largest; central: nearest to the middle; leftmost; index: by its number.",
                ),
                io.Int.Input("index", default=0, min=0, max=999, tooltip="For 'index': its number, the surest is 0."),
                io.String.Input(
                    "text",
                    default="",
                    tooltip="What to look for in the image, such as 'a dog'. Only for subject discriminators with a "
                    "detector; leave it empty for faces.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=64,
                    max=16384,
                    step=_MULTIPLE,
                    tooltip="Of the crop, in pixels: what your model draws well. 512 for Stable Diffusion 1.5, 1024 "
                    "for most others.",
                ),
                io.Int.Input(
                    "height",
                    default=512,
                    min=64,
                    max=16384,
                    step=_MULTIPLE,
                    tooltip="Of the crop, in pixels; the part that is cut out has the same proportions.",
                ),
                io.Float.Input(
                    "margin",
                    default=0.5,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="How much around the face is cut out on each side, as a share of its longer side. A model "
                    "draws a head better with hair and neck around it.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="crop", tooltip="The part, scaled to width and height: for VAE Encode."),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="As large as the crop, soft at its edges but for those of the picture: for Image Composite "
                    "Masked.",
                ),
                io.Int.Output(display_name="x", tooltip="Where the part begins, from the left."),
                io.Int.Output(display_name="y", tooltip="Where the part begins, from the top."),
                io.Int.Output(display_name="width", tooltip="How wide the part is in the picture, in pixels."),
                io.Int.Output(display_name="height", tooltip="How high the part is in the picture, in pixels."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, discriminator, image, which, index, text, width, height, margin) -> io.NodeOutput:
        discriminator = checked_discriminator(discriminator, _NAME)
        images = checked_images(image, _NAME)
        if len(images) != 1:
            raise ValueError(
                f"{len(images)} images arrive at {_NAME}, and each would have a place of its own: connect one, by "
                "Image From Batch"
            )
        if width % _MULTIPLE or height % _MULTIPLE:
            raise ValueError(
                f"{_NAME}: width and height are {width} and {height}, and must be multiples of {_MULTIPLE}, or the VAE "
                "would cut a part away"
            )
        picture, regions = find_in_image(discriminator, images[0], text)
        size, drawn = size_of(picture), (height, width)
        if not regions:
            raise ValueError(
                f"{_NAME} found no {discriminator.noun} in the picture of {size[1]} x {size[0]} pixels. Lower the "
                "detection_threshold of the discriminator's loader, draw the picture with another seed, or mute this "
                "node where a picture has none"
            )
        try:
            chosen = {"strategy": which, "index": index, "by_words": bool(text)}
            number = select_region(regions, discriminator.noun, size, **chosen)
            crop = crop_around(regions[number], size, drawn, margin)
        except ValueError as error:
            raise ValueError(f"{_NAME}, of the {discriminator.noun} in the image: {error}") from error
        cut = cut_and_scale(picture, crop, drawn)
        mask = soft_mask(crop, size, drawn)
        shown = show(cls, [cut], _said(discriminator.noun, number, regions, crop, width))
        return io.NodeOutput(cut.movedim(0, -1)[None], mask[None], *crop, ui=shown)


def _said(noun: str, number: int, regions: list[Region], crop: Crop, width: int) -> str:
    """What was taken, and a warning where nothing is gained by it."""
    larger = width / crop.width
    what = f"{noun} number {number} of {len(regions)}" if len(regions) > 1 else f"the {noun}"
    text = f"{what}: {crop.width} x {crop.height} at ({crop.x}, {crop.y}), drawn {larger:.2g} times as large"
    if larger < 1:
        doubt = f"the {noun} loses detail, since it is drawn smaller than it is: make width and height larger"
        logging.warning("RectifID: %s: %s", _NAME, doubt)
        text += f"\nWarning: {doubt}"
    return text
