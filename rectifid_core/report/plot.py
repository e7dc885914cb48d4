"""A report as a picture."""

from __future__ import annotations

import numpy as np

from ..images.figure import INCHES, drawn, new_figure
from .report import Report


def plot_report(report: Report) -> np.ndarray:
    """Similarity, energy and residual over the iterations, a line for each sample: ``(H, W, 3)`` uint8."""
    figure = new_figure(*INCHES)
    panels = figure.subplots(3, 1, sharex=True)
    for axes, name in zip(panels, ("similarity", "energy", "residual"), strict=True):
        measure = np.array(getattr(report, name), dtype=float)  # (N, B)
        if name == "residual":
            measure[measure == 0] = np.nan  # a logarithmic axis has no place for it
            known = measure[np.isfinite(measure)]
            if known.size and known.max() > 10 * known.min():
                axes.set_yscale("log")
            elif known.size:  # clipped updates are all of one size; their rounding errors are not to fill the panel
                axes.set_ylim(0, 1.2 * known.max())
        for sample, values in enumerate(measure.T):
            axes.plot(report.number, values, marker="." if len(values) < 50 else None, label=f"sample {sample}")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    if 1 < len(panels[0].lines) <= 10:
        panels[0].legend()
    panels[-1].set_xlabel("iteration")
    panels[-1].locator_params(axis="x", integer=True)
    figure.align_ylabels()
    return drawn(figure)
