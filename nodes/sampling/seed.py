"""Starting well: the seed whose unguided picture is nearest to what is asked for."""

from __future__ import annotations

import logging
import math

import comfy.samplers
from comfy_api.latest import io, ui
from torch import Tensor

from ...rectifid_core.guidance.base import NoGuidance, check_guidance
from ...rectifid_core.solver.best import Best
from ...rectifid_core.solver.iterate import Iterate
from ..host.run.progress import Progress
from ..host.run.sampler import GuidedSampler, sample
from ..host.run.settings import SamplerSettings
from ..host.run.watching import Observer
from ..schema import search_aliases
from ..types import Guidance, Settings

SEEDS = 2**64
FINISHED = 2  # of the seeds: so many of the best are drawn to their end


class FindSeed(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FindSeed",
            display_name="Find Seed",
            category="RectifID/sampling",
            **search_aliases("best seed", "likeness"),
            description="Foresees the unguided pictures of several seeds, which costs a step of a flow model each, "
            "draws the best two, and gives the seed of the one that is most like the reference. Guidance that starts "
            "there has less far to go. Connect it to the seed of the sampler.",
            inputs=[
                io.Model.Input("model", tooltip="That of the sampler, as all of the following."),
                io.Conditioning.Input("positive", tooltip="What the picture is to show."),
                io.Conditioning.Input("negative", tooltip="What it is not to show; unused at cfg 1."),
                io.Latent.Input("latent_image", tooltip="The latent to start from. A batch is judged by its mean."),
                io.Vae.Input("vae", tooltip="The VAE of the model."),
                Guidance.Input(
                    "guidance",
                    optional=True,
                    tooltip="Whom or what the picture is to show. Without any, the first seed is taken.",
                ),
                Settings.Input("settings", optional=True, tooltip="As of the sampler, where it has any."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=SEEDS - 1,
                    control_after_generate=True,
                    tooltip="The first seed to try; the others follow it.",
                ),
                io.Int.Input(
                    "count",
                    default=8,
                    min=1,
                    max=1000,
                    tooltip="How many seeds to try.",
                ),
                io.Int.Input("steps", default=4, min=1, max=100, tooltip="As in the sampler."),
                io.Float.Input(
                    "cfg", default=1.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="As in the sampler."
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.KSampler.SCHEDULERS,
                    default="simple",
                    tooltip="As in the sampler.",
                ),
                io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01, tooltip="As in the sampler."),
            ],
            outputs=[
                io.Int.Output(display_name="seed", tooltip="For the seed of the sampler."),
                io.Image.Output(display_name="unguided", tooltip="The unguided picture of that seed."),
            ],
        )

    @classmethod
    def execute(
        cls, model, positive, negative, latent_image, vae, seed, count, guidance=None, settings=None, **drawn
    ) -> io.NodeOutput:
        settings = settings or SamplerSettings()
        guidance, count = (NoGuidance(), 1) if guidance is None else (check_guidance(guidance), count)
        progress = Progress(count + min(count, FINISHED))

        def look(seed: int, *, foreseen: bool) -> Iterate:
            unguided = _Unguided()
            sampler = GuidedSampler(
                vae,
                guidance,
                lambda: unguided,
                views=settings.views,
                scale=1.0,
                family=settings.family,
                rule="anchored",
                iterations=0,
                keep="last",
                foreseen=foreseen,
            )
            sample(model, positive, negative, latent_image, sampler, seed=seed, **drawn)
            return unguided.iterate

        foreseen: list[tuple[float, int]] = []
        for number in range(count):
            candidate = (seed + number) % SEEDS
            iterate = look(candidate, foreseen=True)
            foreseen.append((_energy(iterate), number))
            progress.show(iterate, number, f"seed {candidate} foreseen")
        best: tuple[int, Tensor] | None = None
        least = math.inf
        for step, (_, number) in enumerate(sorted(foreseen)):
            if step >= FINISHED and best is not None:
                break  # the best are drawn; where none of them shows it, the others are drawn, too
            candidate = (seed + number) % SEEDS
            iterate = look(candidate, foreseen=False)
            if (energy := _energy(iterate)) < least:
                best, least = (candidate, iterate.image), energy
            progress.show(iterate, min(count + step, count + FINISHED - 1), f"seed {candidate}")
        if best is None:
            raise ValueError(
                f"In none of the {count} pictures there is what the guidance is about. Ask for it in the prompt, try "
                "more or other seeds, or a larger picture."
            )
        chosen, image = best
        text = f"seed {chosen}, of {count} tried"
        logging.info("RectifID %s", text)
        progress.finish(image, text)
        shown = ui.PreviewText(text).as_dict() | {"rectifid": [progress.shown]}
        return io.NodeOutput(chosen, image.movedim(1, -1).cpu(), ui=shown)


class _Unguided(Observer):
    """Of a run without iterations."""

    iterate: Iterate

    def on_iterate(self, iterate: Iterate, kept: Best | Iterate) -> bool:
        self.iterate = iterate
        return True


def _energy(iterate: Iterate) -> float:
    """The mean over the batch; infinite where there is nothing to compare in one of its pictures."""
    return iterate.energy.mean().item() if iterate.found.all() else math.inf
