"""What happened in a run."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ...rectifid_core.report.filmstrip import filmstrip
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
            description="Draws the similarity, the energy and the residual over the iterations of a guided run, and a "
            "strip of its pictures.",
            inputs=[
                Report.Input("report", tooltip="From the Anchored Rectified Sampler."),
                io.Int.Input(
                    "every",
                    default=5,
                    min=0,
                    max=1000,
                    tooltip="The strip shows the first picture, the best, the last, and every n-th; 0 only those "
                    "three.",
                ),
            ],
            outputs=[
                io.Image.Output(tooltip="The three curves, with a line for each picture of the batch."),
                io.Image.Output(display_name="filmstrip", tooltip="The pictures on the way, under their similarities."),
            ],
        )

    @classmethod
    def execute(cls, report, every) -> io.NodeOutput:
        plots = (plot_report(report), filmstrip(report, every))
        return io.NodeOutput(*(torch.from_numpy(plot.copy()).float()[None] / 255 for plot in plots))
