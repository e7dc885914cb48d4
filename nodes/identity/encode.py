"""Who or what the reference images show."""

from __future__ import annotations

import logging

from comfy_api.latest import io

from ...rectifid_core.guidance.identity import IdentityGuidance as GuidanceByIdentity
from ...rectifid_core.identity.identity import MATCHINGS, Identity
from ...rectifid_core.identity.selection import STRATEGIES
from ...rectifid_core.images.drawing import draw_regions, on_one_size
from ..checks import checked_discriminator, checked_images
from ..host.networks.discriminators import encode_images
from ..masks import masks_of
from ..schema import ADVANCED, search_aliases
from ..types import Discriminator, Guidance
from .display import show

_NAME = "Encode Reference Identity"


class EncodeReferenceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EncodeReferenceIdentity",
            display_name="Encode Reference Identity (Character, Face)",
            category="RectifID/identity",
            **search_aliases(
                "face", "likeness", "character", "pulid", "instantid", "insightface", "face swap", "reference image"
            ),
            description="Remembers who or what the reference images show, and shows what it found in them and "
            "what it took.",
            is_input_list=True,  # a list of images of different sizes is one identity
            inputs=[
                Discriminator.Input("discriminator", tooltip="The recogniser that is to tell the identity."),
                io.Image.Input(
                    "images",
                    tooltip="Pictures of one person or thing, as a batch or a list; more of them make a steadier "
                    "identity.",
                ),
                io.Combo.Input(
                    "which",
                    options=list(STRATEGIES),
                    default=STRATEGIES[0],
                    tooltip="Which face is meant, where an image has more than one. only: there is just one, else an "
                    "error lists them. largest; central: nearest to the middle; leftmost; index: by its number. A mask "
                    "goes before.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=999,
                    tooltip="For 'index': the number that the boxes picture shows, from 0.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    tooltip="What to look for in the images, such as 'a dog'. Only for subject discriminators with a "
                    "detector; leave it empty for faces.",
                ),
                io.Combo.Input(
                    "matching",
                    options=list(MATCHINGS),
                    default=MATCHINGS[0],
                    tooltip="Of many references: mean compares with their average, nearest with the most similar.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "weights",
                    default="",
                    tooltip="How much each reference counts: numbers with commas between, such as '1, 0.5'. Empty: all "
                    "the same.",
                    **ADVANCED,
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="One for each image, of its size: takes the face under it; without a detector, takes what "
                    "it covers.",
                ),
            ],
            outputs=[
                Guidance.Output(
                    display_name="identity", tooltip="For the guidance input of the sampler, or for Identity Guidance."
                ),
                io.Image.Output(display_name="crops", tooltip="What the recogniser looked at in each image."),
                io.Image.Output(
                    display_name="boxes",
                    tooltip="The images with all that was found in them, numbered; what was taken is green.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, discriminator, images, which, index, text, matching, weights, mask=None) -> io.NodeOutput:
        discriminator = checked_discriminator(discriminator[0], _NAME)
        identity = encode_images(
            discriminator,
            [image for batch in images for image in checked_images(batch, _NAME)],
            None if mask is None else [each for batch in mask for each in masks_of(batch, "what is meant")],
            strategy=which[0],
            index=index[0],
            text=text[0],
            matching=matching[0],
            weights=_numbers(weights[0]),
        )
        for doubt in identity.doubts:
            logging.warning("RectifID: %s", doubt)
        boxes = [draw_regions(each.image, each.regions, each.index) for each in identity.references]
        shown = show(cls, [*boxes, *identity.crops], _taken(identity, discriminator.noun))
        crops = identity.crops.movedim(1, -1)
        return io.NodeOutput(
            GuidanceByIdentity(identity, discriminator), crops, on_one_size(boxes).movedim(1, -1), ui=shown
        )


def _numbers(text: str) -> list[float] | None:
    if not text.strip():
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"the weights {text!r} are not numbers with commas between; write one for each reference, such as '1, 0.5'"
        ) from error


def _taken(identity: Identity, noun: str) -> str:
    """A line for each reference, and the warnings."""
    lines = []
    for number, each in enumerate(identity.references, 1):
        what = f"{noun} number {each.index} of {len(each.regions)} found" if len(each.regions) > 1 else f"the {noun}"
        size = f"{each.chosen.width:.0f} x {each.chosen.height:.0f} pixels"
        lines.append(f"reference image {number}: took {what}, {size}")
    return "\n".join([*lines, *(f"Warning: {doubt}" for doubt in identity.doubts)])
