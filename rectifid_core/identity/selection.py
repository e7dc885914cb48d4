"""Which of the regions found in a reference image shows the one that is meant."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..discriminators.base import Discriminator
from ..images.masks import check_mask
from ..images.regions import Region

STRATEGIES = ("only", "largest", "central", "leftmost", "index")


def find_regions(discriminator: Discriminator, image: Tensor, query: Tensor | None) -> list[Region]:
    """The regions of an image ``(3, H, W)`` of which the discriminator is sure, the best first; query: see `locate`."""
    found = discriminator.locate(image[None], query, thorough=True)[0]
    return [region for region in found if region.score >= discriminator.threshold]


def select_region(
    regions: list[Region],
    noun: str,
    size: tuple[int, int],
    *,
    strategy: str = "only",
    index: int = 0,
    mask: Tensor | None = None,
    by_words: bool = False,
) -> int:
    """The index of one of ``regions``, from 0.

    noun: for messages, "face"; size: of the image, (height, width).
    strategy: "only" wants that there is just one; "largest"; "central", the nearest to the image's middle; "leftmost";
        "index", the one with the number ``index``.
    mask: ``(height, width)``, takes the place of ``strategy``: the region of which it covers most.
    by_words: they were found by words, which may fit more than one box around the same thing: then "only" is the best.

    Raises ValueError, with advice, where there is no such region.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}")
    if not regions:
        raise ValueError(
            f"no {noun} found; use a picture in which it is well lit, whole and at least 64 pixels wide, crop "
            "a large one to it, or lower the detection threshold"
        )
    if mask is not None:
        return _under(mask, regions, noun, size)
    if strategy == "only":
        if len(regions) > 1 and not by_words:
            raise ValueError(
                f"{len(regions)} {noun}s found, and none chosen: {_list(regions)}. Choose the largest, the most "
                "central or the leftmost, one by its number (index), or paint a mask over it"
            )
        return 0
    if strategy == "index":
        if not 0 <= index < len(regions):
            raise ValueError(f"there is no {noun} number {index}; found were {_list(regions)}")
        return index
    height, width = size
    measure: dict[str, Callable[[Region], float]] = {
        "largest": lambda region: -region.area,
        "central": lambda region: (region.centre[0] - width / 2) ** 2 + (region.centre[1] - height / 2) ** 2,
        "leftmost": lambda region: region.centre[0],
    }
    return min(range(len(regions)), key=lambda i: measure[strategy](regions[i]))


def _under(mask: Tensor, regions: list[Region], noun: str, size: tuple[int, int]) -> int:
    check_mask(mask, size)

    def covered(region: Region) -> float:
        left, top, right, bottom = (max(round(edge), 0) for edge in region.box)
        inside = mask[top:bottom, left:right]
        return float(inside.float().mean()) if inside.numel() else 0.0

    shares = [covered(region) for region in regions]
    if not max(shares) > 0:
        raise ValueError(f"the mask covers no {noun}; found were {_list(regions)}")
    return shares.index(max(shares))


def _list(regions: list[Region]) -> str:
    return ", ".join(
        f"number {i} at ({region.centre[0]:.0f}, {region.centre[1]:.0f}), {region.width:.0f} pixels wide"
        for i, region in enumerate(regions)
    )
