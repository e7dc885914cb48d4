"""KSampler, guided."""

from __future__ import annotations

import logging

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui
from torch import Tensor

from ..rectifid_core.guidance import as_guidance
from ..rectifid_core.report import Report as RunReport
from ..rectifid_core.solver import GRADIENTS, RULES
from .host.discriminator import HostedDiscriminator
from .host.family import AUTO, FAMILIES, family_of
from .host.progress import Progress
from .host.sampler import SCALE_UNITS, sample
from .types import Guidance, Identity, Report


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
                    "guidance",
                    [Identity, Guidance],
                    tooltip="Whom or what the picture shall show: an identity, Identity Guidance with its options, or "
                    "several by Combine Guidance.",
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
                    tooltip="The size of a correction. More is faster and rougher: 1 for faces, 1 to 2 for things, 2 "
                    "for the demo model.",
                ),
                io.Combo.Input(
                    "update_rule",
                    options=list(RULES),
                    default=RULES[0],
                    tooltip="accumulated: as the authors published it. fixed_point: the paper's equation, which "
                    "converges if the scale is small. fully_anchored: as published for 2-rectified flow. noise and "
                    "unanchored: without the anchor, for comparison.",
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
                io.Combo.Input(
                    "if_missing",
                    options=["error", "unguided"],
                    default="error",
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
        if_missing,
        family,
        **settings,
    ) -> io.NodeOutput:
        family = family_of(model, settings["steps"], family)
        guidance = as_guidance(guidance)
        discriminators = guidance.discriminators
        networks = _networks(discriminators)
        report = RunReport(
            {
                "model": type(model.model).__name__,
                "family": family,
                "discriminators": {each.name: each.digest for each in discriminators},
                "views": views,
                "update_rule": update_rule,
                "guidance_scale": guidance_scale,
                "stop_at_similarity": stop_at_similarity,
                "keep": keep,
                "if_missing": if_missing,
                **settings,
            }
        )
        progress = Progress(settings["iterations"], cls.hidden.unique_id)

        def on_iterate(iterate, best) -> bool:
            report.append(iterate)
            progress.show(iterate)
            if iterate.number == 0 and settings["iterations"] > 0:
                if not iterate.found.all():
                    noun = " or ".join(sorted({each.noun for each in discriminators if hasattr(each, "locate")}))
                    missing = _missing(iterate.found, noun)
                    if if_missing == "error":
                        raise ValueError(missing)
                    logging.warning("RectifID: %s", missing)
                    if not iterate.found.any():
                        return True
                for name, part in iterate.parts.items():
                    if part.found is not None and not part.found.all():
                        logging.warning("RectifID: %s", _without(part.found, name))
            similarity = (best if keep == "best" else iterate).similarity
            return stop_at_similarity < 1 and bool((similarity >= stop_at_similarity).all())

        latent, image = sample(
            model,
            vae,
            positive,
            negative,
            latent_image,
            guidance.energy(views, settings["seed"]),
            networks,
            rule=update_rule,
            scale=guidance_scale,
            family=family,
            keep=keep,
            on_iterate=on_iterate,
            **settings,
        )
        text = f"family: {family}\n{report.text()}"
        progress.say(text)
        return io.NodeOutput(latent, image.movedim(1, -1).cpu(), report, ui=ui.PreviewText(text))


def _networks(discriminators: list[HostedDiscriminator]) -> list[ModelPatcher]:
    """What the host shall load; ValueError for a discriminator that it cannot."""
    for each in discriminators:
        if not hasattr(each, "patchers"):
            raise ValueError(
                f"The discriminator {each.name} of the identity is not loaded (any more). Run the node that loads it "
                "again: change one of its settings, or restart ComfyUI."
            )
    return [patcher for each in discriminators for patcher in each.patchers]


def _without(found: Tensor, name: str) -> str:
    """What to tell a user where one of several is missing; found: ``(B,)`` bool."""
    return (
        f"What {name} shall guide is not in {_which(found)}; the others are guided without it. Ask in the prompt for "
        "as many people or things as there are identities. With a mask, it counts only where the mask is."
    )


def _which(found: Tensor) -> str:
    """The pictures in which it was not found."""
    missing = [str(i) for i, each in enumerate(found.tolist()) if not each]
    return "the unguided picture" if len(found) == 1 else f"the unguided pictures {', '.join(missing)} of the batch"


def _missing(found: Tensor, noun: str) -> str:
    """What to tell a user whose unguided pictures lack what shall be guided; found: ``(B,)`` bool."""
    return (
        f"There is no {noun} in {_which(found)}, so there is nothing to guide. Ask for one in the prompt ('close-up "
        f"portrait photo of a person', not 'a crowd'), try another seed or a larger picture, or lower the {noun} "
        "detection threshold of the discriminator. With a mask, it counts only where the mask is. To get the unguided "
        "picture instead of this error, set if_missing to unguided."
    )
