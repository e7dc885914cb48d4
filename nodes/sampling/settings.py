"""What the samplers can be told beyond their own widgets."""

from __future__ import annotations

from comfy_api.latest import io

from ...rectifid_core.solver.rules import RULES
from ..host.flows.family import AUTO, FAMILIES
from ..host.gradient.memory import GRADIENTS
from ..host.run.progress import PREVIEWS
from ..host.run.sampler import SCALE_UNITS
from ..host.run.settings import CUSTOM, PRESETS, SamplerSettings, preset
from ..host.run.watching import KEEP
from ..schema import ADVANCED, search_aliases
from ..types import Settings

DEFAULTS = SamplerSettings()


class AnchoredSamplerSettings(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AnchoredSamplerSettings",
            display_name="Sampler Settings (RectifID)",
            category="RectifID/sampling",
            **search_aliases("update rule", "preset", "gradient", "views"),
            description="What few need to change of the Anchored Rectified Sampler and the Anchored Sampler: a preset, "
            "or every setting of its own. Connect it to their settings.",
            inputs=[
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, CUSTOM],
                    default=next(iter(PRESETS)),
                    tooltip="balanced: what the sampler does without this node. fast: in one trajectory, for flow "
                    "models. best: for 100 iterations. as published: as in the authors' code. custom: what is "
                    "chosen below; the others heed only family and preview of it.",
                ),
                io.Combo.Input(
                    "update_rule",
                    options=list(RULES),
                    default=DEFAULTS.update_rule,
                    tooltip="anchored: settles where likeness and the model's own picture balance, by the guidance "
                    "scale. accumulated: as in the authors' code. fixed_point: the paper's equation, which converges "
                    "if the scale is small. single_pass: on the way, in one trajectory. fully_anchored: as published "
                    "for 2-rectified flow. noise and unanchored: without the anchor, to compare.",
                ),
                io.Int.Input(
                    "views",
                    default=DEFAULTS.views,
                    min=0,
                    max=32,
                    tooltip="In how many slightly changed ways the recogniser looks at each picture, so that no trick "
                    "of single pixels fools it. 0 looks at the plain picture, as published.",
                ),
                io.Combo.Input(
                    "gradient",
                    options=list(GRADIENTS),
                    default=DEFAULTS.gradient,
                    tooltip="straight leaves the model out of the gradient: half the time, little memory. exact keeps "
                    "what fits: full all steps, windowed one, checkpointed one block of one. conditional: exact "
                    "without the negative prompt. auto: straight for flows and the rule anchored, else exact.",
                ),
                io.Boolean.Input(
                    "last_offset",
                    default=DEFAULTS.last_offset,
                    tooltip="Also correct the finished picture itself, after the last step. Off leaves the model the "
                    "last word, for cleaner pictures and a little less likeness.",
                ),
                io.Combo.Input(
                    "keep",
                    options=list(KEEP),
                    default=DEFAULTS.keep,
                    tooltip="Return each picture's most similar iteration, or the last one.",
                ),
                io.Combo.Input(
                    "scale_unit",
                    options=list(SCALE_UNITS),
                    default=DEFAULTS.scale_unit,
                    tooltip="latent: the guidance scale means the same for every model and picture size. published: as "
                    "in the authors' code, where it is weaker the larger the picture is.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "family",
                    options=[AUTO, *FAMILIES],
                    default=DEFAULTS.family,
                    tooltip="How the model draws. auto reads it from the model and the number of steps. flow: SD3, "
                    "FLUX, Z-Image and the like. perflow: set by its own node. consistency: Turbo, LCM, PCM, "
                    "Lightning. diffusion: any other; slow.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "preview",
                    options=list(PREVIEWS),
                    default=DEFAULTS.preview,
                    tooltip="auto: shows each iteration's picture, unless ComfyUI was told to show no previews. "
                    "always: shows it all the same.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "candidates",
                    default=DEFAULTS.candidates,
                    min=1,
                    max=64,
                    tooltip="Foresees so many unguided pictures, and starts from the one most like the reference. 8 "
                    "makes a failed likeness rare, for the time of a few iterations.",
                ),
                io.Int.Input(
                    "restarts",
                    default=DEFAULTS.restarts,
                    min=0,
                    max=8,
                    tooltip="How often a picture that is stuck after ten iterations, where it is not alike, starts "
                    "again, from another noise. Without, the report says that it is.",
                ),
            ],
            outputs=[Settings.Output(display_name="settings", tooltip="For the settings input of either sampler.")],
        )

    @classmethod
    def execute(cls, **widgets) -> io.NodeOutput:
        name = widgets.pop("preset")
        return io.NodeOutput(preset(name, **widgets))
