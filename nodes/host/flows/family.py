"""Which flow family a MODEL belongs to, and what follows from it."""

from __future__ import annotations

import logging

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST, EPS, StableCascadeSampling
from torch import Tensor

from ....rectifid_core.interfaces import Flow
from .flow import Denoiser, consistency, euler, perflow, straight
from .model_sampling import PeRFlowSampling

FAMILIES = ("flow", "perflow", "consistency", "diffusion")
STRAIGHT_FAMILIES = ("flow", "perflow")  # whose windows were trained to be straight
AUTO = "auto"
FEW_STEPS = 8  # a diffusion model that is run in so few is a distilled one


def family_of(model: ModelPatcher, steps: int, chosen: str = AUTO) -> str:
    """One of `FAMILIES`: the chosen one, or the one that MODEL's sampling and the number of steps tell.

    flow: a rectified flow as the host knows it, or by ModelSamplingRectifiedFlow; perflow: by ModelSamplingPeRFlow;
    consistency: a diffusion model distilled to few steps; diffusion: any other one, which works and is slow in many
    steps, and one that was distilled to steps without new noise in between, as PCM, which `auto` cannot tell.

    Raises ValueError for a MODEL that belongs to none, or not to the chosen one.
    """
    sampling = model.get_model_object("model_sampling")
    name = type(model.model).__name__
    if isinstance(sampling, PeRFlowSampling):
        known = "perflow"
    elif isinstance(sampling, CONST):
        known = "flow"
    elif isinstance(sampling, EPS) and not isinstance(sampling, StableCascadeSampling):
        known = "consistency" if steps <= FEW_STEPS else "diffusion"
    else:
        raise ValueError(
            f"{name} is neither a flow nor a diffusion model of pictures, so there is no path to guide. Use a flow "
            "model, best one distilled to few steps: SD3.5, FLUX, Z-Image, Qwen-Image, Lumina 2, AuraFlow, Chroma."
        )
    if chosen == AUTO:
        chosen = known
    if chosen != known and ("perflow" in (chosen, known) or chosen == "flow"):
        advice = {
            "flow": "put a ModelSamplingRectifiedFlow node behind its loader",
            "perflow": "put a ModelSamplingPeRFlow node behind its loader",
        }.get(chosen, "take away its ModelSamplingPeRFlow node")
        raise ValueError(f"{name} is read as {known}, not as {chosen}. If that is what it is, {advice}; else use auto.")
    if chosen == "diffusion" and steps > FEW_STEPS:
        logging.warning(
            "RectifID: %s is no few-step model: each iteration runs and differentiates all %d steps. A model distilled "
            "to 4 or 8 steps is as many times faster.",
            name,
            steps,
        )
    return chosen


def sigmas_of(model: ModelPatcher, steps: int, scheduler: str, denoise: float) -> Tensor:
    """KSampler's sigmas, ``(steps + 1,)``; a PeRFlow has times of its own, whatever the scheduler."""
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, PeRFlowSampling):
        return sampling.step_sigmas(steps, denoise)
    return comfy.samplers.KSampler(model, steps, model.load_device, "euler", scheduler, denoise).sigmas


def flow_of(family: str, denoise: Denoiser, noise: Tensor) -> Flow:
    """The flow of a family; ``noise``: as the latents, only its shape, type and device count."""
    if family == "perflow":
        return perflow(denoise)
    if family == "consistency":
        return consistency(denoise, noise)
    return straight(denoise) if family == "flow" else euler(denoise)
