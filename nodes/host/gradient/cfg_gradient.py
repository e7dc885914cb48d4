"""The gradient of a cfg step through the positive prompt's pass alone.

With the predictions p and n of the two prompts and their Jacobians J_p and J_n, cfg and its gradient are

    D = n + c (p - n)        J_D = J_n + c (J_p - J_n) = J_p + (c - 1) (J_p - J_n)

A prompt changes what is drawn more than how the drawing answers to a change of the latent: J_p and J_n are near each
other, and J_p is taken for J_D, which is off by |c - 1| |J_p - J_n|.  The value stays that of cfg; the negative
prompt's pass has no graph and no backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from .watch import without_gradient


def conditional_gradient(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run under the host's CFGGuider, changed to that; at cfg 1 nothing changes."""
    add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "rectifid", _separately, options, is_model_options=True)
    options["sampler_post_cfg_function"] = [*options.get("sampler_post_cfg_function", []), _of_the_positive_prompt]
    return options


def _separately(calculate: Callable, model: Any, conds: list, x: Tensor, *arguments: Any) -> list[Tensor]:
    if not x.requires_grad or len(conds) != 2 or conds[1] is None:
        return calculate(model, conds, x, *arguments)
    positive, negative = conds
    with without_gradient():
        _, n = calculate(model, [None, negative], x, *arguments)
    p, _ = calculate(model, [positive, None], x, *arguments)
    return [p, n]


def _of_the_positive_prompt(step: dict[str, Any]) -> Tensor:
    denoised, p = step["denoised"], step["cond_denoised"]
    if step["uncond"] is None or not p.requires_grad:
        return denoised
    return denoised.detach() + (p - p.detach())
