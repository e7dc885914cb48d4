"""Lets autograd run through models that the host loaded for inference, and leaves them as they were.

Nodes run under ``torch.inference_mode``: the parameters of MODEL and VAE, and every conditioning, are inference
tensors, which autograd refuses to save.  `differentiable` puts normal tensors over the same storage in the parameters'
place, for as long as it lasts and without a copy; conditionings are small, and cloned (`normal`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.conds
import comfy.hooks
import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider
from torch import Tensor, nn

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


@contextmanager
def differentiable(models: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, autograd runs through ``models``, which the host has loaded; afterwards they are as they were."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if hasattr(comfy.model_management, "in_training"):
            stack.enter_context(_attribute(comfy.model_management, "in_training", True))
        # streamed weights share a buffer, which the next layer overwrites
        stack.enter_context(_attribute(comfy.model_management, "NUM_STREAMS", 0))
        for model in models:
            for module in model.modules():
                _prepare(module, stack)
            if hasattr(model, "latent_format"):
                _put_normal_tensors(vars(model.latent_format), stack)
        yield


def _prepare(module: nn.Module, stack: ExitStack) -> None:
    for tensors in (module._parameters, module._buffers, vars(module)):
        _put_normal_tensors(tensors, stack)
    if isinstance(module, nn.LayerNorm):  # Flux adds in place to what the norm has saved
        handle = module.register_forward_pre_hook(_clone_input)
        stack.callback(handle.remove)
    if getattr(module, "_full_precision_mm", True) is False and not hasattr(comfy.model_management, "in_training"):
        # a product of quantised numbers rounds its input, which has no gradient; newer hosts bring their own
        stack.enter_context(_attribute(module, "_full_precision_mm", True))


def _clone_input(module: nn.Module, args: tuple) -> tuple | None:
    return (args[0].clone(), *args[1:]) if torch.is_grad_enabled() else None


def _put_normal_tensors(tensors: dict[str, Any], stack: ExitStack) -> None:
    for name, tensor in list(tensors.items()):
        if isinstance(tensor, Tensor) and (tensor.is_inference() or tensor.requires_grad):
            alias = _alias(tensor)
            tensors[name] = alias
            stack.callback(_put_back, tensors, name, alias, tensor)


def _put_back(tensors: dict[str, Any], name: str, alias: Tensor, original: Tensor) -> None:
    if tensors.get(name) is alias:  # else the host has changed the weight meanwhile, and knows better
        tensors[name] = original


def _alias(tensor: Tensor) -> Tensor:
    """A normal, frozen tensor over the storage of ``tensor``."""
    if hasattr(tensor, "__tensor_flatten__"):  # the host's quantised tensors hold plain ones
        parts, context = tensor.__tensor_flatten__()
        parts = {part: _alias(getattr(tensor, part)) for part in parts}
        alias = type(tensor).__tensor_unflatten__(parts, context, tensor.shape, tensor.stride())
    else:
        alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        alias.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    if isinstance(tensor, nn.Parameter):
        alias = nn.Parameter(alias, requires_grad=False)
    for name, value in vars(tensor).items():  # the host keeps notes on its weights
        vars(alias).setdefault(name, value)
    return alias


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def normal(value: Any) -> Any:
    """``value`` with its inference tensors cloned: a tensor, or the host's conditionings, nested as they are."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, comfy.conds.CONDRegular):
        return value._copy_with(normal(value.cond))
    if type(value) is dict:
        return {key: normal(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(normal(each) for each in value)
    return value


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
