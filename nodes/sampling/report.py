"""What happened in a run."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ...rectifid_core.report.plot import plot_report
from ..schema import search_aliases
from ..types import Report


class PlotConvergence(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PlotConvergence",
            display_name="Plot Convergence",
            category="RectifID/sampling",
            **search_aliases("chart", "filmstrip", "similarity"),
            description="Draws the similarity, the energy and the residual over the iterations of a guided run.",
            inputs=[Report.Input("report", tooltip="From the Anchored Rectified Sampler.")],
            outputs=[io.Image.Output(tooltip="The three curves, with a line for each picture of the batch.")],
        )

    @classmethod
    def execute(cls, report) -> io.NodeOutput:
        return io.NodeOutput(torch.from_numpy(plot_report(report)).float()[None] / 255)
