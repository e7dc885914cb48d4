"""Fits a gradient into the memory that there is, of which the host plans for forwards only."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import comfy.model_management
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.sampler_helpers import estimate_memory
from comfy.samplers import CFGGuider
from comfy.sd import VAE
from torch import nn

from ....rectifid_core.solver.gradient import Gradient, StraightGradient, WindowedGradient
from ....rectifid_core.solver.trajectory import Trajectory
from .checkpoint import blocks_of, checkpointed
from .failures import is_change_of_saved_tensor, is_out_of_memory
from .saved import saved_tensors_may_change

# Estimates, counted by operators in real size (`benchmarks/counting.py`).  What a block keeps for its backward, as a
# part of what the host reserves for a whole forward on a GPU: 0.22 for SDXL and 0.23 for SD 1.5; 0.33 for SD3, 0.39 for
# Z-Image, 0.64 by an older host's reserve.  The same where blocks are checkpointed: 0.02 for SDXL, 0.07 for SD 1.5,
# 0.06 for SD3 and Z-Image.  What a KL decoder keeps, as a multiple of what the host reserves for a decode: 2.7 and 1.
_UNET_BLOCK, _BLOCK, _CHECKPOINTED_BLOCK = 0.25, 0.4, 0.07
_DECODER, _CHECKPOINTED_DECODER = 3, 1
_SHARE = 0.9  # of the free memory, which is planned with


@dataclass(frozen=True)
class GradientPlan:
    """A way to the gradient.

    graph_windows: how many windows' graphs it holds at once, beside the decoder's; 0: one or the decoder's; None: the
        decoder's alone.
    smaller: the one to take where there is too little memory for this.
    """

    name: str
    gradient: Gradient
    graph_windows: int | None = 0
    checkpointed: bool = False
    smaller: GradientPlan | None = None


STRAIGHT = GradientPlan(
    "straight",
    StraightGradient(),
    graph_windows=None,
    smaller=GradientPlan(
        "straight, checkpointed", StraightGradient(checkpoint_decoder=True), graph_windows=None, checkpointed=True
    ),
)
CHECKPOINTED = GradientPlan(
    "checkpointed", WindowedGradient(checkpoint_decoder=True), checkpointed=True, smaller=STRAIGHT
)
WINDOWED = GradientPlan("windowed", WindowedGradient(), smaller=CHECKPOINTED)
UNGUIDED = GradientPlan("none", WindowedGradient())  # a run without iterations asks for no gradient
CONDITIONAL = "conditional"
AUTO, EXACT = "auto", "exact"
GRADIENTS = (AUTO, EXACT, "windowed", "full", "checkpointed", CONDITIONAL, "straight")


def plans_of(gradient: str, steps: int) -> list[GradientPlan]:
    """The ways to one of `GRADIENTS`, the fastest first: the first that fits is to be taken, or the last."""
    plain = [_with_graphs(count, steps) for count in reversed(range(1, steps + 1))]
    checkpointed = [_with_graphs(count, steps, checkpointed=True) for count in reversed(range(1, steps + 1))]
    fitting = [*plain, WINDOWED, *checkpointed, CHECKPOINTED]
    return {
        AUTO: fitting,
        EXACT: fitting,
        CONDITIONAL: fitting,
        "full": plain[:1],
        "windowed": [WINDOWED],
        "checkpointed": [CHECKPOINTED],
        "straight": [STRAIGHT, STRAIGHT.smaller],
    }[gradient]


def _with_graphs(count: int, steps: int, checkpointed: bool = False) -> GradientPlan:
    name = "full" if count == steps else f"{count} of {steps} steps kept"
    gradient = WindowedGradient(count, checkpoint_decoder=checkpointed)
    if not checkpointed:
        return GradientPlan(name, gradient, count, smaller=WINDOWED)
    return GradientPlan(f"{name}, checkpointed", gradient, count, checkpointed=True, smaller=CHECKPOINTED)


class Needs:
    """Estimates of the bytes beside the weights, for latents of this shape under a guider that the host has loaded.

    share: of a forward, which is of two prompts, that has a graph.
    """

    def __init__(self, guider: CFGGuider, vae: VAE, shape: torch.Size, share: float = 1.0):
        self._forward, _ = estimate_memory(guider.model_patcher, shape, guider.conds)
        network = guider.model_patcher.model.diffusion_model
        self._blocks = share * len(blocks_of(network)) * self._forward
        self._block = _UNET_BLOCK if isinstance(network, UNetModel) else _BLOCK
        decoded = [shape[0], vae.latent_channels, *([1] * (vae.latent_dim - 2)), *shape[-2:]]
        self._decode = vae.memory_used_decode(decoded, vae.vae_dtype)

    def of(self, plan: GradientPlan) -> float:
        if plan is UNGUIDED:
            return self._forward + self._decode
        window = self._blocks * (_CHECKPOINTED_BLOCK if plan.checkpointed else self._block)
        decoder = self._decode * (_CHECKPOINTED_DECODER if plan.checkpointed else _DECODER)
        if plan.graph_windows is None:
            return self._forward + decoder
        return self._forward + (plan.graph_windows * window + decoder if plan.graph_windows else max(window, decoder))

    def fitting(self, plans: list[GradientPlan], device: torch.device) -> GradientPlan:
        """The first of the plans that fits into what is free there, or the last."""
        free = _SHARE * cast(float, comfy.model_management.get_free_memory(device))
        return next((plan for plan in plans[:-1] if self.of(plan) <= free), plans[-1])


def load_together(guider: CFGGuider, others: list[ModelPatcher], wanted: float, needed: float) -> None:
    """Has the host load ``others`` (VAE, discriminator) beside what the guider runs, so that none evicts another.

    Bytes beside the weights: for those that are ``wanted`` the models of other nodes make place, and for those that are
    ``needed`` these too.
    """
    models = [guider.model_patcher, *guider.loaded_models, *others]
    load: Any = comfy.model_management.load_models_gpu  # whose defaults look as if it took whole bytes only
    load(models, memory_required=wanted, minimum_memory_required=needed)


class OutOfMemoryFallback(Gradient):
    """A gradient for `solve` by ``plan``, and by another way where that one fails, from then on.

    Where the memory runs out, on any device, by the plan's smaller ones.  Where something in the model changes in place
    what autograd has saved, with copies of that: no memory to speak of, half as much time again.

    networks: whose blocks are checkpointed where a plan says so.

    Raises torch.OutOfMemoryError where there is no smaller one.
    """

    def __init__(self, plan: GradientPlan, networks: Iterable[nn.Module]):
        super().__init__()
        self._plan, self._networks = plan, list(networks)
        self._copies = False

    @property
    def name(self) -> str:
        return self._plan.name

    def __call__(self, *arguments: Any) -> Trajectory:
        return self._fitting(lambda gradient: gradient(*arguments))

    def at_end(self, *arguments: Any) -> Trajectory:
        return self._fitting(lambda gradient: gradient.at_end(*arguments))

    def _fitting(self, method: Callable[[Gradient], Trajectory]) -> Trajectory:
        while True:
            try:
                with ExitStack() as stack:
                    if self._plan.checkpointed:
                        stack.enter_context(checkpointed(self._networks))
                    if self._copies:
                        stack.enter_context(saved_tensors_may_change())
                    return method(self._plan.gradient)
            except (RuntimeError, MemoryError) as error:
                out_of_memory, message = is_out_of_memory(error), str(error)
                if not out_of_memory and (self._copies or not is_change_of_saved_tensor(error)):
                    raise
            # only here, after the except block, has the failed graph no holder
            if out_of_memory:
                self._take_less(message)
            else:
                self._copies = True
                logging.info(
                    "RectifID: something in this model changes tensors in place that its gradient needs; they are "
                    "copied from now on, which makes the gradient slower by about a half."
                )

    def _take_less(self, message: str) -> None:
        failed, self._plan = self._plan, self._plan.smaller or self._plan
        if failed is self._plan:
            raise torch.OutOfMemoryError(message)
        gc.collect()
        comfy.model_management.soft_empty_cache()
        logging.warning(
            "RectifID: out of memory with gradient '%s'; trying again with '%s', which takes longer.",
            failed.name,
            self._plan.name,
        )
