"""An identity as guidance, with its options."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..checks import checked_identity
from ..masks import one_mask
from ..schema import ADVANCED, search_aliases
from ..types import Guidance


class IdentityGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="IdentityGuidance",
            display_name="Identity Guidance",
            category="RectifID/guidance",
            **search_aliases("face", "likeness", "character", "pulid", "instantid", "insightface", "face swap"),
            description="Sets options of an identity. Without this node, or with it bypassed, the identity guides by "
            "the usual ones.",
            inputs=[
                Guidance.Input(
                    "identity",
                    optional=True,
                    tooltip="From Encode Reference Identity or Load Identity. Without one, there is no guidance.",
                ),
                io.Int.Input(
                    "detect_every",
                    default=1,
                    min=1,
                    max=100,
                    tooltip="Look for the face anew at every n-th iteration only; its place stays in between. Saves "
                    "time where the detector is slow.",
                    **ADVANCED,
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
                io.Boolean.Input(
                    "color_first",
                    default=True,
                    tooltip="In the first iterations also bring the colour of the face, or thing, nearer to the "
                    "reference's, without which some pictures never become alike. Off for a painted face, or coloured "
                    "light.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the new picture the identity belongs, in a mask of its shape, at any size: only "
                    "faces whose middle it covers count. For two people: left and right.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, detect_every, pixels, color_first=True, identity=None, mask=None) -> io.NodeOutput:
        if identity is None:
            return io.NodeOutput(None)
        guidance = checked_identity(identity, "Identity Guidance")
        mask = one_mask(mask, "where the identity belongs")
        mask = guidance.mask if mask is None else mask
        return io.NodeOutput(
            replace(guidance, detect_every=detect_every, pixels=pixels, mask=mask, color_first=color_first)
        )
