"""A clone of a MODEL through which a gradient runs."""

from __future__ import annotations

import math

import comfy.hooks
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider

_CACHES = ("easycache", "lazycache")
_CACHE_HOOKS = (
    WrappersMP.OUTER_SAMPLE,
    WrappersMP.CALC_COND_BATCH,
    WrappersMP.DIFFUSION_MODEL,
    WrappersMP.PREDICT_NOISE,
)


def differentiable_clone(model: ModelPatcher) -> ModelPatcher:
    """A clone of MODEL whose forward can be differentiated: its weights are shared, its options are its own."""
    model = resident(model).clone()
    options = model.model_options["transformer_options"]
    chosen = options.get("optimized_attention_override")

    def attention(host_attention, *args, **kwargs):
        if torch.is_grad_enabled():  # the host's faster kernels have no backward, or a silently wrong one
            return attention_pytorch(*args, **kwargs)
        return chosen(host_attention, *args, **kwargs) if chosen else host_attention(*args, **kwargs)

    options["optimized_attention_override"] = attention
    # a UNet adds a ControlNet's output in place to skips that autograd has saved
    model.set_model_input_block_patch_after_skip(lambda h, transformer_options: h.clone())
    model.set_additional_models("multigpu", [])  # the host runs the other devices under no_grad
    for cache in _CACHES:  # they reuse one step's output, with its graph, in another
        for hook in _CACHE_HOOKS:
            model.remove_wrappers_with_key(hook, cache)
    return model


def resident(patcher: ModelPatcher) -> ModelPatcher:
    """The patcher, or its twin whose weights stay in place: pages that come and go cannot be saved for a backward."""
    if not (hasattr(patcher, "is_dynamic") and patcher.is_dynamic()):
        return patcher
    if patcher.cached_patcher_init is None:
        raise ValueError(
            f"{type(patcher.model).__name__} came from a loader that lets ComfyUI page its weights in and out, and "
            "guidance needs them in one place. Load it with one of ComfyUI's own loader nodes, or start ComfyUI with "
            "--disable-dynamic-vram."
        )
    return patcher.get_non_dynamic_delegate()


def refuse_changing_weights(guider: CFGGuider) -> None:
    """Raises ValueError where the host would exchange weights between two model calls of one gradient."""
    used = [guider.conds["positive"]] if math.isclose(guider.cfg, 1.0) else guider.conds.values()
    hooks = {entry.get("hooks") for conditioning in used for entry in conditioning}
    weight_hooks = [hook for group in hooks if group for hook in group.get_type(comfy.hooks.EnumHookType.Weight)]
    if weight_hooks and (len(hooks) > 1 or any(len(hook.hook_keyframe.keyframes) > 1 for hook in weight_hooks)):
        raise ValueError(
            "These conditionings switch LoRA weights on and off (by hooks that differ between prompts, or that are "
            "scheduled), which guidance cannot follow. Use the same LoRA hook for all prompts, or load the LoRA into "
            "the model."
        )
