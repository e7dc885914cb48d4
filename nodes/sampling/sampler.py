"""The guided samplers: one like KSampler, and one for the host's custom sampling."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import comfy.samplers
from comfy_api.latest import io, ui

from ...rectifid_core.guidance.base import Guidance as AnyGuidance
from ...rectifid_core.guidance.base import NoGuidance, check_guidance
from ...rectifid_core.solver.rules import RULES
from ..host.flows.family import AUTO, FAMILIES
from ..host.gradient.memory import GRADIENTS
from ..host.run.monitor import IF_MISSING, RunMonitor
from ..host.run.progress import PREVIEWS
from ..host.run.sampler import KEEP, SCALE_UNITS, GuidedSampler, sample
from ..types import Guidance, Report

host_nodes: Any = import_module("nodes")  # of ComfyUI; a type checker takes our own folder for it


class AnchoredRectifiedSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AnchoredRectifiedSampler",
            display_name="Anchored Rectified Sampler",
            category="RectifID/sampling",
            description="KSampler (euler) for flow models, which also gives the picture an identity: it draws the "
            "picture several times, and each time moves the path from noise to picture a little towards the reference, "
            "while it stays anchored to what the model would draw by itself.",
            inputs=[
                io.Model.Input("model", tooltip="A rectified flow, best one distilled to few steps."),
                io.Conditioning.Input("positive", tooltip="What the picture is to show."),
                io.Conditioning.Input("negative", tooltip="What it is not to show; unused at cfg 1."),
                io.Latent.Input("latent_image", tooltip="The latent to start from; an empty one for a new picture."),
                *_sockets(),
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
        **widgets,
    ) -> io.NodeOutput:
        drawn = {"seed": seed, "steps": steps, "cfg": cfg, "scheduler": scheduler, "denoise": denoise}
        guidance, widgets = _guided(guidance, widgets)
        run = RunMonitor(guidance, {**drawn, **widgets})
        if denoise == 0:
            (picture,) = host_nodes.VAEDecode().decode(vae, latent_image)
            return io.NodeOutput(latent_image, picture, run.report, ui=ui.PreviewText(run.report.text()))
        sampler = _sampler(vae, guidance, lambda: run, **widgets)
        latent = sample(model, positive, negative, latent_image, sampler, **drawn)
        return io.NodeOutput(latent, run.image.movedim(1, -1).cpu(), run.report, ui=ui.PreviewText(run.text()))


class AnchoredSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AnchoredSampler",
            display_name="Anchored Sampler",
            category="RectifID/sampling",
            description="The Anchored Rectified Sampler for custom sampling: a SAMPLER for SamplerCustomAdvanced, with "
            "any guider, noise and sigmas. What it does is shown on the node that runs it.",
            inputs=[*_sockets(), *_widgets()],
            outputs=[io.Sampler.Output(tooltip="For the sampler input of SamplerCustomAdvanced or SamplerCustom.")],
        )

    @classmethod
    def execute(cls, vae, guidance=None, **widgets) -> io.NodeOutput:
        guidance, widgets = _guided(guidance, widgets)
        # each run begins anew: one sampler may serve several nodes, and a node several times
        return io.NodeOutput(_sampler(vae, guidance, lambda: RunMonitor(guidance, widgets), **widgets))


def _guided(guidance: AnyGuidance | None, widgets: dict[str, Any]) -> tuple[AnyGuidance, dict[str, Any]]:
    """The guidance and the widgets' values; without guidance those of KSampler, which draws the picture once."""
    if guidance is None:
        return NoGuidance(), {**widgets, "iterations": 0}
    return check_guidance(guidance), widgets


def _sampler(
    vae, guidance, observe, *, update_rule, guidance_scale, stop_at_similarity, if_missing, preview, **widgets
):
    """The host's SAMPLER of the widgets' values; it knows nothing of those that are the `RunMonitor`'s."""
    return GuidedSampler(vae, guidance, observe, rule=update_rule, scale=guidance_scale, **widgets)


def _sockets() -> list[io.Input]:
    return [
        io.Vae.Input("vae", tooltip="The VAE of the model: guidance looks at the decoded picture."),
        Guidance.Input(
            "guidance",
            optional=True,
            tooltip="Whom or what the picture is to show: an identity, Identity Guidance with its options, or more of "
            "them by Combine Guidance. Without any, this is KSampler.",
        ),
    ]


def _widgets() -> list[io.Input]:
    return [
        io.Int.Input(
            "iterations",
            default=20,
            min=0,
            max=1000,
            tooltip="How often to draw the picture and correct it: 20 for a good likeness, 100 for the best. "
            "0 is KSampler.",
        ),
        io.Float.Input(
            "guidance_scale",
            default=1.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="The size of a correction. More is faster and rougher: 1 for faces, 1 to 2 for things, 2 "
            "for the demo model.",
        ),
        io.Combo.Input(
            "update_rule",
            options=list(RULES),
            default=next(iter(RULES)),
            tooltip="accumulated: as the authors published it. anchored: settles where likeness and the model's own "
            "picture balance, by the guidance scale. fixed_point: the paper's equation, which converges if "
            "the scale is small; adaptive damps it by itself. single_pass: on the way, in one trajectory: the "
            "quickest. fully_anchored: as published for 2-rectified flow. noise and unanchored: without the anchor, to "
            "compare.",
        ),
        io.Float.Input(
            "damping",
            default=0.5,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="How far fixed_point goes towards each new solution, and adaptive at most. 1 goes all the way.",
        ),
        io.Int.Input(
            "views",
            default=4,
            min=0,
            max=32,
            tooltip="In how many slightly changed ways the recogniser looks at each picture, so that no trick "
            "of single pixels fools it. 0 looks at the plain picture, as published.",
        ),
        io.Combo.Input(
            "gradient",
            options=list(GRADIENTS),
            default=GRADIENTS[0],
            tooltip="Memory against time, for the same picture: full keeps all steps, windowed one, checkpointed one "
            "block of one step, and auto what fits. Nearly right and cheaper: conditional leaves out the negative "
            "prompt (with cfg above 1), straight leaves out the steps.",
        ),
        io.Boolean.Input(
            "last_offset",
            default=True,
            tooltip="Also correct the finished picture itself, after the last step. Off leaves the model the "
            "last word, for cleaner pictures and a little less likeness.",
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
            "keep",
            options=list(KEEP),
            default=KEEP[0],
            tooltip="Return each picture's most similar iteration, or the last one.",
        ),
        io.Combo.Input(
            "if_missing",
            options=list(IF_MISSING),
            default=IF_MISSING[0],
            tooltip="If the unguided picture has no face (or whatever the identity is of): stop with an error, "
            "or return that picture as it is, with a warning.",
        ),
        io.Combo.Input(
            "family",
            options=[AUTO, *FAMILIES],
            default=AUTO,
            tooltip="How the model draws. auto reads it from the model and the number of steps. flow: SD3, "
            "FLUX, Z-Image and the like. perflow: set by its own node. consistency: Turbo, LCM, PCM, "
            "Lightning. diffusion: any other; slow.",
        ),
        io.Combo.Input(
            "scale_unit",
            options=list(SCALE_UNITS),
            default=SCALE_UNITS[0],
            tooltip="latent: the guidance scale means the same for every model and picture size. published: as "
            "in the authors' code, where it is weaker the larger the picture is.",
        ),
        io.Combo.Input(
            "preview",
            options=list(PREVIEWS),
            default=PREVIEWS[0],
            tooltip="auto: shows each iteration's picture, unless ComfyUI was told to show no previews. always: shows "
            "it all the same.",
        ),
    ]
