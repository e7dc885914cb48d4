"""Matplotlib figures as pixels, without its global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..packages import importing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES, DPI = (7.5, 7.5), 100


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; ImportError with advice where matplotlib is missing or broken."""
    with importing("matplotlib>=3.8", "plots"):
        from matplotlib.figure import Figure
    return Figure((width, height), dpi=DPI, layout="constrained")


def drawn(figure: Figure) -> np.ndarray:
    """The figure's pixels, ``(H, W, 3)`` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
