"""The guided samplers: one like KSampler, and one for the host's custom sampling."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import Any

import comfy.samplers
from comfy_api.latest import io, ui
from torch import Tensor

from ...rectifid_core.guidance.base import Guidance as AnyGuidance
from ...rectifid_core.guidance.base import NoGuidance, check_guidance
from ...rectifid_core.report.report import Report as AnyReport
from ...rectifid_core.solver.best import Best
from ...rectifid_core.solver.state import RunState
from ..host.run.monitor import IF_MISSING, RunMonitor
from ..host.run.sampler import GuidedSampler, sample
from ..host.run.settings import SamplerSettings
from ..schema import search_aliases
from ..types import Guidance, Report, Settings

host_nodes: Any = import_module("nodes")  # of ComfyUI; a type checker takes our own folder for it


class AnchoredRectifiedSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AnchoredRectifiedSampler",
            display_name="Anchored Rectified Sampler (RectifID)",
            category="RectifID/sampling",
            **search_aliases(
                "face", "likeness", "character", "pulid", "instantid", "insightface", "face swap", "identity"
            ),
            description="KSampler (euler) for flow models, which also gives the picture an identity: it draws the "
            "picture several times, and each time moves the path from noise to picture a little towards the reference, "
            "while it stays anchored to what the model would draw by itself.",
            inputs=[
                io.Model.Input("model", tooltip="A rectified flow, best one distilled to few steps."),
                io.Conditioning.Input("positive", tooltip="What the picture is to show."),
                io.Conditioning.Input("negative", tooltip="What it is not to show; unused at cfg 1."),
                io.Latent.Input("latent_image", tooltip="The latent to start from; an empty one for a new picture."),
                *_sockets(),
                Report.Input(
                    "continue_from",
                    optional=True,
                    tooltip="The report of another sampler: goes on where that one ended, for so many iterations more. "
                    "The other inputs as there.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Draws the noise, as in KSampler, and the views.",
                ),
                io.Int.Input(
                    "steps", default=4, min=1, max=100, tooltip="Steps of the model for one drawing of the picture."
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Classifier-free guidance. Distilled models want 1, which also takes half the time.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    default="simple",
                    tooltip="How the noise falls from step to step.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent to draw anew; below 1 it keeps the structure of latent_image, and "
                    "0 returns it as it is, as KSampler does.",
                ),
                *_widgets(),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            outputs=[
                io.Latent.Output(tooltip="The latent of the guided picture."),
                io.Image.Output(tooltip="The guided picture, decoded."),
                Report.Output(display_name="report", tooltip="All numbers of the run, for Plot Convergence."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        vae,
        seed,
        steps,
        cfg,
        scheduler,
        denoise,
        guidance=None,
        settings=None,
        continue_from=None,
        **widgets,
    ) -> io.NodeOutput:
        drawn = {"seed": seed, "steps": steps, "cfg": cfg, "scheduler": scheduler, "denoise": denoise}
        guidance, chosen = _guided(guidance, settings, widgets)
        earlier = _earlier(continue_from)
        run = RunMonitor(guidance, {**drawn, **chosen}, continue_from)
        if denoise == 0:
            (picture,) = host_nodes.VAEDecode().decode(vae, latent_image)
            return io.NodeOutput(latent_image, picture, run.report, ui=_shown(cls, picture, run.report.text()))
        sampler = _sampler(vae, guidance, lambda: run, earlier=earlier, **chosen)
        latent = sample(model, positive, negative, latent_image, sampler, **drawn)
        picture = run.image.movedim(1, -1).cpu()
        shown = _shown(cls, picture, run.text()) | {"rectifid": [run.shown()]}
        return io.NodeOutput(latent, picture, run.report, ui=shown)


class AnchoredSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AnchoredSampler",
            display_name="Anchored Sampler (RectifID)",
            category="RectifID/sampling",
            **search_aliases("face", "likeness", "character", "pulid", "instantid", "insightface", "face swap"),
            description="The Anchored Rectified Sampler for custom sampling: a SAMPLER for SamplerCustomAdvanced, with "
            "any guider, noise and sigmas. What it does is shown on the node that runs it.",
            inputs=[*_sockets(), *_widgets()],
            outputs=[io.Sampler.Output(tooltip="For the sampler input of SamplerCustomAdvanced or SamplerCustom.")],
        )

    @classmethod
    def execute(cls, vae, guidance=None, settings=None, **widgets) -> io.NodeOutput:
        guidance, chosen = _guided(guidance, settings, widgets)
        # each run begins anew: one sampler may serve several nodes, and a node several times
        return io.NodeOutput(_sampler(vae, guidance, lambda: RunMonitor(guidance, chosen), **chosen))


def _earlier(report: AnyReport | None) -> tuple[RunState, Best] | None:
    """Where the run of the report stands; ValueError for one that cannot go on."""
    if report is None:
        return None
    if report.state is None or not report.state.begun or report.best is None:
        raise ValueError(
            "continue_from: this run cannot go on, since it drew nothing, or in a single pass. Connect the report of "
            "one with iterations, by another update rule (Sampler Settings)."
        )
    return report.state, report.best


def _shown(cls: type[io.ComfyNode], picture: Tensor, text: str) -> dict:
    """What the node shows, also where the run comes out of the host's cache."""
    return ui.PreviewImage(picture, cls=cls).as_dict() | ui.PreviewText(text).as_dict()


def _guided(
    guidance: AnyGuidance | None, settings: SamplerSettings | None, widgets: dict[str, Any]
) -> tuple[AnyGuidance, dict[str, Any]]:
    """The guidance, and all values by name; without guidance those of KSampler, which draws the picture once."""
    chosen = {**widgets, **asdict(settings or SamplerSettings())}
    if guidance is None:
        return NoGuidance(), {**chosen, "iterations": 0}
    return check_guidance(guidance), chosen


def _sampler(vae, guidance, observe, *, update_rule, guidance_scale, stop_at_similarity, if_missing, preview, **chosen):
    """The host's SAMPLER of these values; it knows nothing of those that are the `RunMonitor`'s."""
    return GuidedSampler(vae, guidance, observe, rule=update_rule, scale=guidance_scale, **chosen)


def _sockets() -> list[io.Input]:
    return [
        io.Vae.Input("vae", tooltip="The VAE of the model: guidance looks at the decoded picture."),
        Guidance.Input(
            "guidance",
            optional=True,
            tooltip="Whom or what the picture is to show: an identity, Identity Guidance with its options, or more of "
            "them by Combine Guidance. Without any, this is KSampler.",
        ),
        Settings.Input(
            "settings",
            optional=True,
            tooltip="All that few need to change, from Sampler Settings. Without any, its preset balanced.",
        ),
    ]


def _widgets() -> list[io.Input]:
    return [
        io.Int.Input(
            "iterations",
            default=20,
            min=0,
            max=1000,
            tooltip="How often to draw the picture and correct it, at most: it ends earlier where nothing moves any "
            "more. 20 for a good likeness, 40 for the best. 0 is KSampler.",
        ),
        io.Float.Input(
            "guidance_scale",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="How much the likeness counts against the picture that the model draws by itself. 1 is good for "
            "faces and things; less keeps more of the prompt. For the published rules: the size of a correction.",
        ),
        io.Float.Input(
            "stop_at_similarity",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Stop when every picture of the batch is this similar to the reference. 1 never stops.",
        ),
        io.Combo.Input(
            "if_missing",
            options=list(IF_MISSING),
            default=IF_MISSING[0],
            tooltip="If the unguided picture has no face (or whatever the identity is of): stop with an error, "
            "or return that picture as it is, with a warning.",
        ),
    ]
