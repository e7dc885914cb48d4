"""An identity as a picture."""

from __future__ import annotations

import math

import numpy as np

from ..images.figure import INCHES, drawn, new_figure
from .identity import Identity

_CROPS_IN_A_ROW = 8
_MOST_NUMBERS = 10  # on an axis; of more references the similarities are colors only


def plot_identity(identity: Identity) -> np.ndarray:
    """The crops, the embeddings as strips of color, and the similarity of each two references: ``(H, W, 3)`` uint8."""
    references = len(identity.crops)
    rows = math.ceil(references / _CROPS_IN_A_ROW)
    heights = [1.2 * rows, min(0.6 + 0.2 * references, 3.0)] + ([3.0] if references > 1 else [])
    figure = new_figure(INCHES[0], sum(heights) + 1.0)
    figure.suptitle(
        f"{references} reference{'s' if references > 1 else ''}, by {identity.recogniser.name}", fontsize=11
    )
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_crops(parts[0], identity, rows)
    _draw_embeddings(parts[1], identity)
    if references > 1:
        _draw_similarities(parts[2], identity)
    return drawn(figure)


def _draw_crops(part, identity: Identity, rows: int) -> None:
    crops = identity.crops.float().clamp(0, 1).cpu().movedim(1, -1).numpy()
    grid = part.subplots(rows, _CROPS_IN_A_ROW if rows > 1 else max(len(crops), 4), squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for number, (axes, crop, weight) in enumerate(zip(grid, crops, identity.weights.tolist(), strict=False)):
        axes.imshow(crop)
        axes.set_title(f"{number}" if weight == 1 else f"{number} (weight {weight:.2g})", fontsize=8)


def _draw_embeddings(part, identity: Identity) -> None:
    embeddings = identity.embeddings.float().cpu().numpy()
    axes = part.subplots()
    bound = abs(embeddings).max()
    axes.imshow(embeddings, aspect="auto", cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
    axes.set_title(
        f"embedding, {embeddings.shape[1]} numbers from {-bound:.2f} (blue) to {bound:.2f} (red)", fontsize=8
    )
    axes.set_yticks(_every(len(embeddings)))
    axes.tick_params(labelsize=7)


def _draw_similarities(part, identity: Identity) -> None:
    embeddings = identity.embeddings.float().cpu()
    similarity = (embeddings @ embeddings.T).numpy()
    axes = part.subplots()
    axes.imshow(similarity, cmap="viridis", vmin=-1, vmax=1)
    if len(similarity) <= _MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(similarity):
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value < 0.4 else "k"
            )
    axes.set_title("similarity of each two references", fontsize=8)
    axes.set_xticks(_every(len(similarity)))
    axes.set_yticks(_every(len(similarity)))
    axes.tick_params(labelsize=7)


def _every(references: int) -> range:
    """The numbers to write on an axis: all, or every n-th."""
    return range(0, references, math.ceil(references / _MOST_NUMBERS))
