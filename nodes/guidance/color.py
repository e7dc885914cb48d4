"""The colours of a picture as guidance."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ...rectifid_core.guidance.color import ColorGuidance as GuidanceByColor
from ...rectifid_core.images.validation import as_rgb
from ..checks import checked_images
from ..host.networks.discriminators import as_channels_first
from ..masks import one_mask
from ..schema import search_aliases
from ..types import Guidance


class ColorGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="ColorGuidance",
            display_name="Color Guidance",
            category="RectifID/guidance",
            **search_aliases("palette", "colour"),
            description="Gives the new picture the colours of another one: which there are and how much of each, not "
            "where they are. Needs no file.",
            inputs=[
                io.Image.Input("image", tooltip="The picture with the colours; its size does not matter."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the new picture the colours belong, in a mask of its shape, at any size. "
                    "Without one: everywhere.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, image, mask=None) -> io.NodeOutput:
        image = checked_images(image, "Color Guidance")
        if len(image) != 1:
            raise ValueError(
                f"Color Guidance takes the colours of one image, and there are {len(image)}; choose one with Image "
                "From Batch"
            )
        mask = one_mask(mask, "where the colours belong")
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            (reference,) = as_rgb([as_channels_first(image[0], "cpu")], "image")
        return io.NodeOutput(GuidanceByColor(reference, mask))
