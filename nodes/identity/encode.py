"""Who or what the pictures shall show."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ...rectifid_core.identity.identity import MATCHINGS
from ...rectifid_core.identity.identity import Identity as EncodedIdentity
from ...rectifid_core.identity.plot import plot_identity
from ...rectifid_core.identity.selection import STRATEGIES
from ...rectifid_core.images.drawing import draw_regions, on_one_size
from ..host.networks.discriminators import encode_images
from ..host.run.progress import tell
from ..types import Discriminator, Identity


class EncodeReferenceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EncodeReferenceIdentity",
            display_name="Encode Reference Identity",
            category="RectifID/identity",
            description="Remembers who or what the reference images show, and displays what it found in them, what it "
            "took, and the embeddings.",
            is_input_list=True,  # a list of images of different sizes is one identity, not several
            inputs=[
                Discriminator.Input("discriminator", tooltip="The recogniser that shall tell the identity."),
                io.Image.Input(
                    "images",
                    tooltip="Pictures of one person or thing, as a batch or a list; several make a steadier identity.",
                ),
                io.Combo.Input(
                    "which",
                    options=list(STRATEGIES),
                    default=STRATEGIES[0],
                    tooltip="Which of several faces is meant. only: there is just one, else an error lists them. "
                    "largest; central: nearest to the middle; leftmost; index: by its number. A mask goes before.",
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
                    tooltip="With several references: mean compares with their average, nearest with the most similar.",
                ),
                io.String.Input(
                    "weights",
                    default="",
                    tooltip="How much each reference counts: numbers with commas between, such as '1, 0.5'. Empty: all "
                    "the same.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="One for each image, of its size: takes the face under it; without a detector, takes what "
                    "it covers.",
                ),
            ],
            outputs=[
                Identity.Output(display_name="identity", tooltip="For the guidance input of the sampler."),
                io.Image.Output(display_name="crops", tooltip="What the recogniser saw of each image."),
                io.Image.Output(
                    display_name="boxes",
                    tooltip="The images with all that was found in them, numbered; what was taken is green.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, discriminator, images, which, index, text, matching, weights, mask=None) -> io.NodeOutput:
        identity = encode_images(
            discriminator[0],
            [image for batch in images for image in batch],
            None if mask is None else [each for batch in mask for each in batch.reshape(-1, *batch.shape[-2:])],
            by=which[0],
            index=index[0],
            text=text[0],
            matching=matching[0],
            weights=_numbers(weights[0]),
        )
        for doubt in identity.doubts:
            logging.warning("RectifID: %s", doubt)
        boxes = [draw_regions(each.image, each.regions, each.chosen) for each in identity.seen]
        shown = _show(cls, [*boxes, *identity.crops, _plot(identity)], _taken(identity))
        return io.NodeOutput(identity, identity.crops.movedim(1, -1), on_one_size(boxes).movedim(1, -1), ui=shown)


def _numbers(text: str) -> list[float] | None:
    if not text.strip():
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"the weights {text!r} are not numbers with commas between; write one for each reference, such as '1, 0.5'"
        ) from error


def _taken(identity: EncodedIdentity) -> str:
    """A line for each reference, and the warnings."""
    noun = identity.discriminator.noun
    lines = []
    for number, each in enumerate(identity.seen, 1):
        one = next(i for i, region in enumerate(each.regions) if region is each.chosen)
        what = f"{noun} number {one} of {len(each.regions)} found" if len(each.regions) > 1 else f"the {noun}"
        size = f"{each.chosen.width:.0f} x {each.chosen.height:.0f} pixels"
        lines.append(f"reference image {number}: took {what}, {size}")
    return "\n".join([*lines, *(f"Warning: {doubt}" for doubt in identity.doubts)])


def _plot(identity: EncodedIdentity) -> Tensor:
    return torch.from_numpy(plot_identity(identity)).movedim(-1, 0).float() / 255


def _show(cls: type[io.ComfyNode], pictures: list[Tensor], text: str) -> dict:
    """Previews of pictures ``(3, H, W)`` of any sizes, and a text."""
    previews = ui.PreviewImage([picture.movedim(0, -1) for picture in pictures], cls=cls)
    return previews.as_dict() | tell(text, cls.hidden.unique_id)
