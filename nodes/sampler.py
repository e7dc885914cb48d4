"""KSampler, guided."""

from __future__ import annotations

import comfy.samplers
from comfy_api.latest import io, ui

from ..rectifid_core.report import Report as RunReport
from ..rectifid_core.solver import GRADIENTS, RULES
from .host.progress import Progress
from .host.sampler import sample
from .types import Energy, Identity, Report


class AnchoredRectifiedSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="AnchoredRectifiedSampler",
            display_name="Anchored Rectified Sampler",
            category="RectifID",
            description="KSampler (euler) for flow models, which also gives the picture an identity: it draws the "
            "picture several times, and each time moves the path from noise to picture a little towards the reference, "
            "while it stays anchored to what the model would draw by itself.",
            inputs=[
                io.Model.Input("model", tooltip="A rectified flow, best one distilled to few steps."),
                io.Conditioning.Input("positive", tooltip="What the picture shall show."),
                io.Conditioning.Input("negative", tooltip="What it shall not show; unused at cfg 1."),
                io.Latent.Input("latent_image", tooltip="The latent to start from; an empty one for a new picture."),
                io.Vae.Input("vae", tooltip="The VAE of the model: guidance looks at the decoded picture."),
                io.MultiType.Input(
                    "guidance", [Identity, Energy], tooltip="Whom or what the picture shall show: a reference identity."
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
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of the latent to draw anew; below 1 it keeps the structure of latent_image.",
                ),
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
                    tooltip="The size of a correction. More is faster and rougher.",
                ),
                io.Combo.Input(
                    "update_rule",
                    options=list(RULES),
                    default=RULES[0],
                    tooltip="accumulated: as the authors published it. fixed_point: the paper's equation, which "
                    "converges if the scale is small. noise and unanchored: without the anchor, for comparison.",
                ),
                io.Float.Input(
                    "damping",
                    default=0.5,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="fixed_point only: how far to go towards each new solution. 1 goes all the way.",
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
                    tooltip="windowed needs memory for one step at a time; full for all, and computes each only once. "
                    "Same picture.",
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
                    options=["best", "last"],
                    default="best",
                    tooltip="Return each picture's most similar iteration, or the last one.",
                ),
            ],
            outputs=[
                io.Latent.Output(tooltip="The latent of the guided picture."),
                io.Image.Output(tooltip="The guided picture, decoded."),
                Report.Output(display_name="report", tooltip="All numbers of the run, for Plot Convergence."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        vae,
        guidance,
        views,
        update_rule,
        guidance_scale,
        stop_at_similarity,
        keep,
        **settings,
    ) -> io.NodeOutput:
        discriminator = guidance.discriminator
        report = RunReport(
            {
                "model": type(model.model).__name__,
                "discriminator": discriminator.name,
                "digest": discriminator.digest,
                "views": views,
                "update_rule": update_rule,
                "guidance_scale": guidance_scale,
                "stop_at_similarity": stop_at_similarity,
                "keep": keep,
                **settings,
            }
        )
        progress = Progress(settings["iterations"], cls.hidden.unique_id)

        def on_iterate(iterate, best) -> bool:
            report.append(iterate)
            progress.show(iterate)
            similarity = (best if keep == "best" else iterate).similarity
            return stop_at_similarity < 1 and bool((similarity >= stop_at_similarity).all())

        latent, image = sample(
            model,
            vae,
            positive,
            negative,
            latent_image,
            guidance.energy(views, settings["seed"]),
            [discriminator.patcher],
            rule=update_rule,
            scale=guidance_scale,
            keep=keep,
            on_iterate=on_iterate,
            **settings,
        )
        progress.say(report.text())
        return io.NodeOutput(latent, image.movedim(1, -1).cpu(), report, ui=ui.PreviewText(report.text()))
