"""Several guidances as one."""

from __future__ import annotations

from comfy_api.latest import io

from ..rectifid_core.guidance import combine
from ..rectifid_core.several import Share
from .types import Guidance, Identity

SOCKETS = 4


class CombineGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        numbers = range(1, SOCKETS + 1)
        sockets = [
            io.MultiType.Input(
                f"guidance_{number}",
                [Identity, Guidance],
                optional=number > 1,
                tooltip="An identity or any guidance. Two identities are two people: each gets a face of its own.",
            )
            for number in numbers
        ]
        shares = [
            [
                io.Float.Input(
                    f"weight_{number}",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip=f"How much guidance_{number} counts beside the others; 0 leaves it out.",
                ),
                io.Int.Input(
                    f"start_{number}",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip=f"The iteration from which on guidance_{number} acts; 0: from the first.",
                ),
            ]
            for number in numbers
        ]
        return io.Schema(
            node_id="CombineGuidance",
            display_name="Combine Guidance",
            category="RectifID",
            description="Several guidances as one: identities of several people or things, and whatever else shall "
            "guide the same picture. Several of these nodes may follow each other.",
            inputs=[*sockets, *(each for share in shares for each in share)],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, **inputs) -> io.NodeOutput:
        connected = {
            f"guidance_{number}": (guidance, Share(inputs[f"weight_{number}"], inputs[f"start_{number}"]))
            for number in range(1, SOCKETS + 1)
            if (guidance := inputs.get(f"guidance_{number}")) is not None
        }
        return io.NodeOutput(combine(connected))
