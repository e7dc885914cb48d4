"""An identity as guidance, with its options."""

from __future__ import annotations

from comfy_api.latest import io

from ...rectifid_core.guidance.identity import IdentityGuidance as GuidanceByIdentity
from ..masks import one_mask
from ..types import Guidance, Identity


class IdentityGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="IdentityGuidance",
            display_name="Identity Guidance",
            category="RectifID/guidance",
            description="An identity as guidance, with options. The sampler also takes the identity itself.",
            inputs=[
                Identity.Input("identity", tooltip="Whom or what the picture shall show."),
                io.Int.Input(
                    "detect_every",
                    default=1,
                    min=1,
                    max=100,
                    tooltip="Look for the face anew at every n-th iteration only; its place stays in between. Saves "
                    "time where the detector is slow.",
                ),
                io.Float.Input(
                    "pixels",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How much the pixels themselves count: 1 for rigid things, as published; 0 for faces and "
                    "animals, which may move.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the new picture the identity shall be, in a mask of its shape, at any size: only "
                    "faces whose middle it covers count. For several people: left and right.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, identity, detect_every, pixels, mask=None) -> io.NodeOutput:
        mask = one_mask(mask, "where the identity shall be")
        return io.NodeOutput(GuidanceByIdentity(identity, detect_every, pixels, mask))
