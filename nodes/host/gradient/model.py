"""The MODEL of a running guider, so that a gradient runs through it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.hooks
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.samplers import CFGGuider
from torch import nn

from .autograd import attribute
from .patches import functions_in, overrides_carried

_CACHES = ("easycache", "lazycache")  # they reuse one step's output, with its graph, in another


def differentiable_options(model_options: dict[str, Any], network: nn.Module) -> dict[str, Any]:
    """A copy of a run's options with which the forward of this diffusion model can be differentiated."""
    options = create_model_options_clone(model_options)
    transformer = options.setdefault("transformer_options", {})
    chosen = transformer.get("optimized_attention_override")

    def attention(host_attention, *args, **kwargs):
        if torch.is_grad_enabled():  # the host's faster kernels have no backward, or a silently wrong one
            return attention_pytorch(*args, **kwargs)
        return chosen(host_attention, *args, **kwargs) if chosen else host_attention(*args, **kwargs)

    transformer["optimized_attention_override"] = attention
    # a UNet adds a ControlNet's output in place to skips that autograd has saved
    skips = transformer.setdefault("patches", {}).setdefault("input_block_patch_after_skip", [])
    skips.append(lambda h, transformer_options: h.clone())
    options.pop("multigpu_clones", None)  # the host runs the other devices under no_grad
    if hasattr(network, "_kv_cache_entries"):
        # HiDream-O1 hands keys and values of the prompt, graph and all, to the next step, unless blocks are replaced
        transformer.setdefault("patches_replace", {}).setdefault("dit", {})["double_block", -1] = None
    for wrappers in transformer.get("wrappers", {}).values():
        for cache in _CACHES:
            wrappers.pop(cache, None)
    return options


def has_patches(model_options: dict[str, Any]) -> bool:
    """Whether other nodes have put functions into the model, which may hold tensors that nobody knows of.

    Its own compiled network is none of them, and would be compiled anew under a watch over its operands.
    """
    return next(functions_in(model_options), None) is not None


@contextmanager
def resident_model(guider: CFGGuider) -> Iterator[None]:
    """Inside, the guider, which the host is running, runs the twin of its model whose weights stay in place."""
    patcher = resident(guider.model_patcher)
    if patcher is guider.model_patcher:
        yield
        return
    with (
        overrides_carried(guider.model_patcher.model, patcher.model),
        attribute(guider, "model_patcher", patcher),
        attribute(guider, "inner_model", patcher.model),
    ):
        patcher.pre_run()
        try:
            yield
        finally:
            patcher.cleanup()


def resident(patcher: ModelPatcher) -> ModelPatcher:
    """The patcher, or its twin whose weights stay in place: pages that come and go cannot be saved for a backward."""
    paging: Any = patcher  # older hosts do not page weights, and have none of what follows
    if not (hasattr(paging, "is_dynamic") and paging.is_dynamic()):
        return patcher
    if paging.cached_patcher_init is None:
        raise ValueError(
            f"{type(patcher.model).__name__} came from a loader that lets ComfyUI page its weights in and out, and "
            "guidance needs them in one place. Load it with one of ComfyUI's own loader nodes, or start ComfyUI with "
            "--disable-dynamic-vram."
        )
    return paging.get_non_dynamic_delegate()


def is_plain(guider: CFGGuider) -> bool:
    """Whether it combines a positive and a negative prompt, as cfg does, and nothing else."""
    return type(guider).predict_noise is CFGGuider.predict_noise


def refuse_changing_weights(guider: CFGGuider) -> None:
    """Raises ValueError where the host would exchange weights between two model calls of one gradient."""
    used = [guider.conds["positive"]] if is_plain(guider) and math.isclose(guider.cfg, 1.0) else guider.conds.values()
    hooks = {entry.get("hooks") for conditioning in used for entry in conditioning}
    weight_hooks = [hook for group in hooks if group for hook in group.get_type(comfy.hooks.EnumHookType.Weight)]
    if weight_hooks and (len(hooks) > 1 or any(len(hook.hook_keyframe.keyframes) > 1 for hook in weight_hooks)):
        raise ValueError(
            "These conditionings switch LoRA weights on and off (by hooks that differ between prompts, or that are "
            "scheduled), which guidance cannot follow. Use the same LoRA hook for all prompts, or load the LoRA into "
            "the model."
        )
