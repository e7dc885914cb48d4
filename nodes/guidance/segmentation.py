"""What is to be where in a picture, as guidance."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io

from ...rectifid_core.discriminators.segmenter import CLASSES, EXAMPLE, load_segmenter
from ...rectifid_core.guidance.segmentation import SegmentationGuidance as GuidanceBySegmentation
from ..folders import FOLDER, pretrained, state_of
from ..host.networks.demo import weights
from ..host.networks.discriminators import HostedDiscriminator
from ..masks import one_mask
from ..schema import search_aliases
from ..types import Guidance

EMBEDDED = "embedded"
SEGMENTERS = pretrained("segmenter", CLASSES, EXAMPLE)


class SegmentationGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        segmenters = [EMBEDDED, *SEGMENTERS.find()]
        return io.Schema(
            node_id="SegmentationGuidance",
            display_name="Segmentation Guidance",
            category="RectifID/guidance",
            **search_aliases("segformer", "mask2former", "region"),
            description="Draws one kind of thing, such as sky or a person, to where a mask is, and nowhere else, as a "
            f"segmenter sees it (SegFormer, Mask2Former), from a folder in models/{FOLDER} or in Hugging Face's cache. "
            "Nothing is downloaded; one for the demo model comes with the pack.",
            inputs=[
                io.Combo.Input(
                    "segmenter",
                    options=segmenters,
                    default=segmenters[0],
                    tooltip="Says what each pixel shows: a folder with SegFormer or Mask2Former, such as "
                    "nvidia/segformer-b0-finetuned-ade-512-512; 'embedded' knows the portraits of the demo model.",
                ),
                io.Mask.Input("mask", tooltip="Where it belongs, in a mask of the new picture's shape, at any size."),
                io.String.Input(
                    "label",
                    default="hat",
                    tooltip="What belongs there: one of the segmenter's labels; background, face, hair, beard, hat or "
                    "shirt of the embedded one. A name that it does not know gets a message with those that it knows.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def validate_inputs(cls, segmenter: str | None = None):
        """Instead of the host's own check, which cannot say where a missing folder comes from."""
        try:  # None: comes from another node
            if segmenter is not None:
                _folder(segmenter)
        except FileNotFoundError as error:  # NotThereError, or the pack's own weights
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, segmenter: str, **_):
        return state_of(_folder(segmenter))

    @classmethod
    def execute(cls, segmenter, mask, label) -> io.NodeOutput:
        mask = one_mask(mask, f"where {label} belongs")
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            loaded = HostedDiscriminator(load_segmenter(_folder(segmenter)))
        if mask is None:
            raise ValueError(f"Segmentation Guidance has no mask: connect one of where {label} belongs")
        return io.NodeOutput(GuidanceBySegmentation(loaded, label, mask))


def _folder(name: str) -> Path:
    return weights("segmenter/config.json").parent if name == EMBEDDED else SEGMENTERS.path(name)
