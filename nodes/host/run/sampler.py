"""The solver in the place of one of the host's samplers.

The host's guider prepares everything (weights, hooks, ControlNets, masks, regions, wrappers) and then runs it as it
runs `euler`, so that all of it passes through.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider
from comfy.sd import VAE
from torch import Tensor, nn

from ....rectifid_core.guidance.base import Guidance, Network
from ....rectifid_core.interfaces import Energy, Flow
from ....rectifid_core.solver.batched import expand_like
from ....rectifid_core.solver.best import Best
from ....rectifid_core.solver.candidates import draw, foresee, nearest, shuffled
from ....rectifid_core.solver.convergence import PATIENCE
from ....rectifid_core.solver.iterate import Iterate
from ....rectifid_core.solver.rules import RULES, SinglePass
from ....rectifid_core.solver.solve import solve
from ....rectifid_core.solver.state import RunState
from ..flows.family import AUTO, STRAIGHT_FAMILIES, family_of, flow_of, sigmas_of
from ..flows.flow import Denoiser
from ..gradient.autograd import attribute, differentiable, normal
from ..gradient.cfg_gradient import conditional_gradient
from ..gradient.decoder import VAEDecoder, refuse_other_vaes
from ..gradient.failures import enough_memory, is_out_of_memory
from ..gradient.memory import (
    CONDITIONAL,
    GRADIENTS,
    STRAIGHT,
    UNGUIDED,
    GradientPlan,
    Needs,
    OutOfMemoryFallback,
    load_together,
    plans_of,
)
from ..gradient.model import (
    differentiable_options,
    has_patches,
    is_plain,
    refuse_changing_weights,
    resident,
    resident_model,
)
from ..gradient.operands import CloneInferenceOperands
from ..networks.discriminators import fully_loaded
from .refusals import prompts_of_this_model
from .watching import KEEP, Observer, StuckError, watched

LOSS_SCALE = 1024.0  # for float16, at first
SCALE_UNITS = ("latent", "published")
_RATIOS = ("downscale_ratio_spacial", "downscale_ratio_temporal")  # newer hosts put them into an empty latent

_TOO_LITTLE_MEMORY = (
    "There is too little memory to guide this picture, even with the gradient that needs least. Make the picture or "
    "the batch smaller, or choose fewer views, cfg 1, or a smaller file of the model (fp8, GGUF); close other programs "
    "that use the graphics card."
)


class GuidedSampler(comfy.samplers.Sampler):
    """A SAMPLER of the host, for any of its guiders; it keeps nothing of a run, and may serve several.

    observe: gives each run an observer of its own.
    views, and the run's seed: of `Guidance.energy`; keep: "best" or "last" iterate.
    family: one of `FAMILIES`, or `AUTO`; a flow or diffusion model runs as by the host's `euler`, a consistency model
        as by `lcm`.  With ``iterations=0`` the latent is the host's, for a flow to the bit.
    scale, scale_unit: the solver's scale; "latent" makes it mean the same for a latent of any size, see
        `UpdateRule.scale_for`; "published" takes it as it is.
    gradient: one of `GRADIENTS`; "auto" takes the rule's own, which is exact for a model that is no straight flow;
        "conditional" is exact under a guider that is not plain cfg.
    restarts: how often samples that are stuck, see `convergence.stuck`, begin again from another noise.
    earlier: where another run stands, and the best of it; this one goes on from there, whatever its noise is.
    foreseen: only foresees the unguided picture, for one evaluation of a flow's model; with ``iterations=0``.
    candidates: so many unguided pictures are foreseen, and each sample starts from the noise of the nearest one.
    settings: the others of the solver.

    Raises torch.OutOfMemoryError, with advice, where there is too little even for the smallest gradient, and
    ValueError, with advice, for what cannot be guided: at once for a VAE that is none or a discriminator
    that the host cannot load, in a run for a VAE, latent or sigmas that do not go with it.
    """

    def __init__(
        self,
        vae: VAE | None,
        guidance: Guidance,
        observe: Callable[[], Observer],
        *,
        views: int,
        scale: float,
        scale_unit: str = SCALE_UNITS[0],
        keep: str = KEEP[0],
        family: str = AUTO,
        gradient: str = GRADIENTS[0],
        candidates: int = 1,
        restarts: int = 0,
        earlier: tuple[RunState, Best] | None = None,
        foreseen: bool = False,
        **settings: Any,
    ):
        if vae is None:
            raise ValueError(
                "There is no VAE. If it comes from a checkpoint loader, this checkpoint has none: use a Load VAE node."
            )
        self._vae = vae
        self._guidance, self._views = guidance, views
        self._networks = [network for each in guidance.networks for network in _networks(each)]
        self._observe = observe
        self._scale, self._scale_unit = scale, scale_unit
        self._keep = keep
        self._family = family
        self._rule = RULES[settings["rule"]]
        self._gradient = STRAIGHT.name if self._rule is SinglePass else gradient  # which has no other
        self._candidates, self._restarts = candidates, 0 if earlier else restarts
        self._earlier, self._foreseen = earlier, foreseen
        self._settings = settings
        self._guided = settings["iterations"] > 0

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        """What the host's guider, ``model_wrap``, calls; the noise in, the latent out, as of its other samplers."""
        guider, steps = model_wrap, len(sigmas) - 1
        if steps < 1:
            raise ValueError(
                "These sigmas have no step, so there is nothing to draw. Use more steps, or let SplitSigmas split "
                "earlier."
            )
        refuse_other_vaes(self._vae, guider.model_patcher)
        _refuse_other_latents(noise, guider.model_patcher)
        family = family_of(guider.model_patcher, steps, self._family)
        if self._guided:
            _refuse_unfinished(sigmas)
            refuse_changing_weights(guider)
        try:
            plans = self._plans(family, steps)
            with self._ready(guider, extra_args["model_options"], noise.shape, plans) as (options, decoder, gradient):
                if self._guided:
                    guider.conds = normal(guider.conds)
                    sigmas, noise, latent_image, denoise_mask = normal((sigmas, noise, latent_image, denoise_mask))
                extra_args = {**extra_args, "model_options": options}

                def hosted(run: Callable[..., Tensor], noise: Tensor) -> Tensor:
                    """What the host's samplers return for such a sampler function."""
                    arguments = (guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
                    return comfy.samplers.KSAMPLER(run).sample(*arguments)

                seed, given = extra_args.get("seed") or 0, noise
                noise, chosen = self._nearest(family, decoder, hosted, noise, seed)
                for attempt in itertools.count():  # the last one is not given up, however stuck
                    run = partial(self._run, family, decoder, gradient, chosen, attempt < self._restarts)
                    try:
                        return hosted(run, noise)
                    except StuckError as stuck:
                        other = shuffled(given, seed, self._candidates + attempt)
                        noise = torch.where(expand_like(stuck.samples, noise), other, noise)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # only here, after the except block, has what has filled the memory no holder
        raise torch.OutOfMemoryError(_TOO_LITTLE_MEMORY)

    def _nearest(
        self, family: str, decoder: nn.Module, hosted: Callable[..., Tensor], noise: Tensor, seed: int
    ) -> tuple[Tensor, dict[str, Any]]:
        """The noise that each sample starts from, and which of the candidates it is, for the report."""
        if not self._guided or self._candidates == 1 or self._earlier:
            return noise, {}

        def look(number: int, to_end: bool) -> Iterate:
            seen: list[Iterate] = []

            def run(model, x, sigmas, *, extra_args, **unused):
                asked = self._asked(family, decoder, model, x, sigmas, extra_args)
                seen.append((draw if to_end else foresee)(*asked))
                return x

            hosted(run, shuffled(noise, seed, number))
            return seen[0]

        chosen = nearest(look, self._candidates).tolist()
        noises = [shuffled(noise, seed, number)[sample] for sample, number in enumerate(chosen)]
        return torch.stack(noises), {"candidate": chosen}

    def _asked(
        self,
        family: str,
        decoder: nn.Module,
        model: comfy.samplers.KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any],
    ) -> tuple[Flow, VAEDecoder, Energy, Tensor]:
        """What the solver wants to know: flow, decoder, energy and the noise that it starts from."""
        denoiser = Denoiser(model, sigmas, extra_args)
        decode = VAEDecoder(self._vae, decoder, model.inner_model.inner_model, denoiser.end_mask)
        energy = self._guidance.energy(self._views, extra_args.get("seed") or 0)
        return flow_of(family, denoiser, x), decode, energy, x / denoiser.scale(sigmas[0])

    def _run(
        self,
        family: str,
        decoder: nn.Module,
        gradient: OutOfMemoryFallback,
        chosen: dict[str, Any],
        restarts: bool,
        model: comfy.samplers.KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        *,
        extra_args: dict[str, Any],
        **unused: Any,  # a callback for each step and a bar, in whose place is the observer
    ) -> Tensor:
        """What the host calls as a sampler function, with its model under the mask: the noisy latent to the clean."""
        guider = model.inner_model
        network = guider.inner_model
        observer = self._observe()
        observer.on_start(
            {
                "model": type(network).__name__,
                "family": family,
                "seed": extra_args.get("seed") or 0,
                "steps": len(sigmas) - 1,
                "gradient": f"{CONDITIONAL}, {gradient.name}" if self._conditional(guider) else gradient.name,
                "device": str(x.device),
                "types": sorted(str(each).removeprefix("torch.") for each in self._computed_in(network)),
                **chosen,
            }
        )
        asked = self._asked(family, decoder, model, x, sigmas, extra_args)
        if self._foreseen:
            return watched(iter([foresee(*asked)]), observer, Best(), self._keep, waits=True, restarts=False).latent
        state, best = self._earlier or (RunState(), Best())
        state, best = state.to(x.device), best.to(x.device)
        iterates = solve(
            *asked,
            scale=self._scale_for(x),
            gradient=gradient,
            loss_scale=LOSS_SCALE if torch.float16 in self._computed_in(network) else 1.0,
            state=state,
            **self._settings,
        )
        waits = any(change > PATIENCE for change in getattr(self._guidance, "changes", []))
        latent = watched(iterates, observer, best, self._keep, waits=waits, restarts=restarts).latent
        observer.on_end(state.to("cpu"), best.to("cpu"))
        return latent

    @contextmanager
    def _ready(
        self, guider: CFGGuider, options: dict[str, Any], shape: torch.Size, plans: list[GradientPlan]
    ) -> Iterator[tuple[dict[str, Any], nn.Module, OutOfMemoryFallback]]:
        """Inside, all networks are loaded, and differentiable if the run is guided.

        The options to run the model with, the VAE's network, and the gradient that fits beside them.
        """
        with ExitStack() as stack:
            autoencoder, patched = self._vae.patcher, has_patches(options)
            if self._guided:
                autoencoder = resident(autoencoder)
                stack.enter_context(resident_model(guider))
                network = guider.inner_model.diffusion_model
                options = differentiable_options(options, network)
                stack.enter_context(
                    attribute(guider, "model_options", differentiable_options(guider.model_options, network))
                )
                if self._conditional(guider):
                    options = conditional_gradient(options)
            needs = Needs(guider, self._vae, shape, share=0.5 if self._conditional(guider) else 1)
            load_together(guider, [autoencoder, *self._networks], needs.of(plans[0]), needs.of(plans[-1]))
            for network in self._networks:
                fully_loaded(network)
            patchers = [guider.model_patcher, *guider.loaded_models, autoencoder, *self._networks]
            networks = [patcher.model for patcher in patchers]
            if self._guided:
                stack.enter_context(differentiable(networks))
                if patched:  # the watch over all operands takes time
                    stack.enter_context(CloneInferenceOperands())
            plan = needs.fitting(plans, guider.model_patcher.load_device)
            yield options, autoencoder.model, OutOfMemoryFallback(plan, networks)

    def _plans(self, family: str, steps: int) -> list[GradientPlan]:
        if not self._guided:
            return [UNGUIDED]
        straight = self._rule.gradient == STRAIGHT.name and family in STRAIGHT_FAMILIES
        return plans_of(STRAIGHT.name if self._gradient == AUTO and straight else self._gradient, steps)

    def _conditional(self, guider: CFGGuider) -> bool:
        return self._guided and self._gradient == CONDITIONAL and is_plain(guider)

    def _scale_for(self, latents: Tensor) -> float:
        return self._scale if self._scale_unit == "published" else self._rule.scale_for(self._scale, latents)

    def _computed_in(self, model: BaseModel) -> set[torch.dtype]:
        """In which types the networks of a gradient compute."""
        discriminators = {parameter.dtype for each in self._networks for parameter in each.model.parameters()}
        return {model.manual_cast_dtype or model.get_dtype(), self._vae.vae_dtype, *discriminators}


def sample(
    model: ModelPatcher,
    positive: list,
    negative: list,
    latent: dict[str, Any],
    sampler: comfy.samplers.Sampler,
    *,
    seed: int,
    steps: int,
    cfg: float,
    scheduler: str,
    denoise: float,
) -> dict[str, Any]:
    """The host's KSampler with ``sampler`` in the place of the one that it would make by a name."""
    samples = comfy.sample.fix_empty_latent_channels(
        model, latent["samples"], **{ratio: latent[ratio] for ratio in _RATIOS if ratio in latent}
    )
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    sigmas = sigmas_of(model, steps, scheduler, denoise)
    with prompts_of_this_model(), enough_memory("load this model: choose a smaller file of it (fp8, GGUF)"):
        samples = comfy.sample.sample_custom(
            model, noise, cfg, sampler, sigmas, positive, negative, samples, latent.get("noise_mask"), seed=seed
        )
    latent = {key: value for key, value in latent.items() if key not in _RATIOS}
    return {**latent, "samples": samples}


def _networks(discriminator: Network) -> list[ModelPatcher]:
    """What the host is to load of it; ValueError for one that it cannot."""
    patchers = getattr(discriminator, "patchers", None)
    if patchers is None:
        raise ValueError(
            f"The discriminator {discriminator.name} of the identity is not loaded (any more). Run the node that loads "
            "it again: change one of its settings, or restart ComfyUI."
        )
    return patchers


def _refuse_other_latents(latents: Tensor, model: ModelPatcher) -> None:
    """Raises ValueError unless the latents are images of this model."""
    if latents.ndim not in (4, 5) or (latents.ndim == 5 and latents.shape[2] > 1):
        raise ValueError("This latent is a video or a sound; guidance works on images. Use a latent of one frame.")
    if not len(latents):
        raise ValueError("This latent is a batch of no pictures: give it at least one.")
    latent_format: Any = model.get_model_object("latent_format")
    if latents.ndim != latent_format.latent_dimensions + 2:
        raise ValueError(
            f"This latent is one of a video model, of the shape {tuple(latents.shape)}, and the model draws pictures. "
            "Use an empty latent for this model, or encode the image with its VAE."
        )
    channels = latent_format.latent_channels
    if latents.shape[1] != channels:
        raise ValueError(
            f"The latent has {latents.shape[1]} channels and the model works on {channels}. Encode the image with the "
            "VAE that belongs to the model, or use an empty latent."
        )


def _refuse_unfinished(sigmas: Tensor) -> None:
    if sigmas[-1] > 0:
        raise ValueError(
            f"These sigmas end at {float(sigmas[-1]):.3g}, before the picture is finished, and guidance looks at "
            "finished pictures. Give this sampler sigmas that end at 0, such as the low_sigmas of SplitSigmas, and let "
            "another sampler draw the part before."
        )
