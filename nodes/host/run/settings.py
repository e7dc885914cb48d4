"""What a sampler is told beside its own widgets: how to correct, what to keep, how to look at the model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....rectifid_core.solver.rules import RULES
from ..flows.family import AUTO
from ..gradient.memory import GRADIENTS
from .progress import PREVIEWS
from .sampler import SCALE_UNITS
from .watching import KEEP


@dataclass(frozen=True)
class SamplerSettings:
    """The values of *Sampler Settings*; these are what the samplers use without that node.

    update_rule: one of `RULES`; last_offset: of `solve`.
    views: in how many ways the recogniser looks at a picture, 0 or more.
    gradient, keep, family, scale_unit, candidates, restarts: as `GuidedSampler` takes them;
    preview: as `Progress` does.
    """

    update_rule: str = next(iter(RULES))
    views: int = 4
    gradient: str = GRADIENTS[0]
    last_offset: bool = True
    keep: str = KEEP[0]
    scale_unit: str = SCALE_UNITS[0]
    family: str = AUTO
    preview: str = PREVIEWS[0]
    candidates: int = 1
    restarts: int = 0


CUSTOM = "custom"
PRESETS = {
    "balanced": SamplerSettings(),
    "fast (single pass)": SamplerSettings(update_rule="single_pass"),
    "best": SamplerSettings(views=8, candidates=8, restarts=2),
    "as published": SamplerSettings("accumulated", views=0, gradient="full", scale_unit="published", keep="last"),
}
OF_THE_MACHINE = ("family", "preview")  # what no preset decides


def preset(name: str, **chosen: object) -> SamplerSettings:
    """The settings of that name; of ``chosen`` values it takes all for `CUSTOM`, else those `OF_THE_MACHINE`."""
    if name == CUSTOM:
        return replace(SamplerSettings(), **chosen)
    return replace(PRESETS[name], **{field: chosen[field] for field in OF_THE_MACHINE if field in chosen})
