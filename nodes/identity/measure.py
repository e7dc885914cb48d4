"""How similar pictures are to an identity."""

from __future__ import annotations

import logging
from typing import cast

from comfy_api.latest import io

from ...rectifid_core.identity.measuring import Measurement
from ..checks import checked_identity, checked_images
from ..host.networks.discriminators import HostedDiscriminator, measure_images
from ..host.run.progress import tell
from ..schema import search_aliases
from ..types import Guidance

_NAME = "Measure Identity"
NOTHING = "no identity is connected, so nothing was measured"


class MeasureIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="MeasureIdentity",
            display_name="Measure Identity (Likeness)",
            **search_aliases("face", "likeness", "similarity", "compare"),
            category="RectifID/identity",
            description="How similar pictures are to an identity: 1 is the same embedding, 0 has nothing in common.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to measure; in each, the most similar face counts."),
                Guidance.Input(
                    "identity",
                    optional=True,
                    tooltip="From Encode Reference Identity or Load Identity. To measure honestly, encode it with "
                    "another recogniser than the one that guides.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="similarity",
                    tooltip="The mean over the pictures in which something was found, from -1 to 1; 0 if in none.",
                ),
                io.String.Output(display_name="text", tooltip="A line for each picture."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, images, identity=None) -> io.NodeOutput:
        if identity is None:
            logging.warning("RectifID: %s", NOTHING)
            return io.NodeOutput(0.0, NOTHING, ui=tell(NOTHING, cls.hidden.unique_id))
        guidance = checked_identity(identity, _NAME)
        discriminator = cast(HostedDiscriminator, guidance.discriminator)  # the nodes make no other
        measured = measure_images(guidance.identity, discriminator, checked_images(images, _NAME))
        found = [each.similarity for each in measured if each]
        text = _measured(measured, discriminator.noun)
        return io.NodeOutput(sum(found) / max(len(found), 1), text, ui=tell(text, cls.hidden.unique_id))


def _measured(measured: list[Measurement | None], noun: str) -> str:
    lines = []
    for number, each in enumerate(measured, 1):
        if each is None:
            lines.append(f"image {number}: no {noun} found")
        else:
            x, y = each.region.centre
            place = f"{noun} at ({x:.0f}, {y:.0f}), {each.region.width:.0f} x {each.region.height:.0f} pixels"
            lines.append(f"image {number}: similarity {each.similarity:.3f}, {place}")
            if each.doubt:
                lines.append(f"Warning: image {number}: {each.doubt}")
    return "\n".join(lines)
