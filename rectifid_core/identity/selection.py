"""Which of several regions of a reference image shows the one that is meant."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..images.masks import check_mask
from ..images.regions import Region

STRATEGIES = ("only", "largest", "central", "leftmost", "index")


def choose(
    regions: list[Region],
    noun: str,
    size: tuple[int, int],
    *,
    by: str = "only",
    index: int = 0,
    mask: Tensor | None = None,
) -> Region:
    """One of ``regions``, numbered from 0 as they come.

    noun: for messages, "face"; size: of the image, (height, width).
    by: "only" wants that there is just one; "largest"; "central", the nearest to the image's middle; "leftmost";
        "index", the one with the number ``index``.
    mask: ``(height, width)``, takes the place of ``by``: the region of which it covers most.

    Raises ValueError, in a user's words, where there is no such region.
    """
    if by not in STRATEGIES:
        raise ValueError(f"unknown choice {by!r}; choose one of {', '.join(STRATEGIES)}")
    if not regions:
        raise ValueError(
            f"no {noun} found; use a picture in which it is well lit, whole and at least 64 pixels wide, or lower the "
            "detection threshold"
        )
    if mask is not None:
        return _under(mask, regions, noun, size)
    if by == "only":
        if len(regions) > 1:
            raise ValueError(
                f"{len(regions)} {noun}s found, and none chosen: {_list(regions)}. Choose the largest, the most "
                "central or the leftmost, one by its number (index), or paint a mask over it"
            )
        return regions[0]
    if by == "index":
        if index >= len(regions):
            raise ValueError(f"there is no {noun} number {index}; found were {_list(regions)}")
        return regions[index]
    height, width = size
    measure: dict[str, Callable[[Region], float]] = {
        "largest": lambda region: -region.area,
        "central": lambda region: (region.centre[0] - width / 2) ** 2 + (region.centre[1] - height / 2) ** 2,
        "leftmost": lambda region: region.centre[0],
    }
    return min(regions, key=measure[by])


def _under(mask: Tensor, regions: list[Region], noun: str, size: tuple[int, int]) -> Region:
    check_mask(mask, size)

    def covered(region: Region) -> float:
        left, top, right, bottom = (max(round(edge), 0) for edge in region.box)
        inside = mask[top:bottom, left:right]
        return float(inside.float().mean()) if inside.numel() else 0.0

    best = max(regions, key=covered)
    if covered(best) == 0:
        raise ValueError(f"the mask covers no {noun}; found were {_list(regions)}")
    return best


def _list(regions: list[Region]) -> str:
    return ", ".join(
        f"number {i} at ({region.centre[0]:.0f}, {region.centre[1]:.0f}), {region.width:.0f} pixels wide"
        for i, region in enumerate(regions)
    )
