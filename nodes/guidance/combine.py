"""Guidances as one, and when and where each of them acts."""

from __future__ import annotations

from comfy_api.latest import io

from ...rectifid_core.guidance.combination import combine, limit
from ...rectifid_core.guidance.weighted_sum import Schedule
from ...rectifid_core.scope import GuidanceScope
from ..masks import one_mask
from ..schema import search_aliases
from ..types import Guidance

SOCKETS = 4
TO_THE_END = 10000  # as of KSampler (Advanced)


class CombineGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        numbers = range(1, SOCKETS + 1)
        sockets = [
            Guidance.Input(
                f"guidance_{number}",
                optional=True,
                tooltip="An identity or any guidance. Two identities are two people: each gets a face of its own.",
            )
            for number in numbers
        ]
        weights = [
            io.Float.Input(
                f"weight_{number}",
                default=1.0,
                min=0.0,
                max=100.0,
                step=0.05,
                round=0.001,
                tooltip=f"How much guidance_{number} counts beside the others; 0 leaves it out.",
            )
            for number in numbers
        ]
        return io.Schema(
            node_id="CombineGuidance",
            display_name="Combine Guidance",
            category="RectifID/guidance",
            **search_aliases("two people", "several faces", "multiple characters"),
            description="Guidances as one: identities of different people or things, and whatever else is to guide the "
            "same picture. These nodes may follow each other.",
            inputs=[*sockets, *weights],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, **inputs) -> io.NodeOutput:
        connected = {
            f"guidance_{number}": (guidance, Schedule(inputs[f"weight_{number}"]))
            for number in range(1, SOCKETS + 1)
            if (guidance := inputs.get(f"guidance_{number}")) is not None
        }
        return io.NodeOutput(combine(connected) if connected else None)


class LimitGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LimitGuidance",
            display_name="Limit Guidance",
            category="RectifID/guidance",
            **search_aliases("schedule", "mask"),
            description="When a guidance acts, and what it may change: in some iterations only, in some steps only, "
            "under a mask only. A row of these nodes allows what all of them allow.",
            inputs=[
                Guidance.Input(
                    "guidance",
                    optional=True,
                    tooltip="An identity or any guidance; of a combination, all of it.",
                ),
                io.Int.Input(
                    "start_iteration",
                    default=0,
                    min=0,
                    max=TO_THE_END,
                    tooltip="The iteration from which on it acts; 0: from the first.",
                ),
                io.Int.Input(
                    "end_iteration",
                    default=TO_THE_END,
                    min=0,
                    max=TO_THE_END,
                    tooltip="The iteration from which on it no longer acts; more than there are: to the end.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="From where on it corrects the way from noise to picture, in each iteration: 0 from the "
                    "first step, 0.5 in the second half of the steps only, which changes details before composition.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="And up to where: 1 to the last step, 0.5 in the first half of the steps only, which "
                    "leaves the details to the model.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What it may change, in a mask of the new picture's shape, at any size; soft edges count. "
                    "The rest still changes a little where the model answers to it. Without one: everything.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(
        cls, start_iteration, end_iteration, start_percent, end_percent, guidance=None, mask=None
    ) -> io.NodeOutput:
        if guidance is None:
            return io.NodeOutput(None)
        mask = one_mask(mask, "what may change")
        scope = GuidanceScope((start_percent, end_percent), () if mask is None else (mask,))
        return io.NodeOutput(limit(guidance, start_iteration, end_iteration, scope))
