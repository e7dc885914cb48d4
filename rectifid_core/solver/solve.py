"""The anchored fixed-point solver of RectifID (arXiv 2405.14677).

A rectified flow carries the noise z_0 through K windows to the image latent z_K; F_k is its map over window k.
Guidance adds an offset d_k at the end of each window; without offsets this is the unguided, reference trajectory:

    (1)  z_(k+1) = F_k(z_k) + d_k
    (2)  g_k = gradient of energy(decode(z_K)) with respect to z_k, the START of window k

The gradient runs through all later windows, with the offsets as constants.  With the scale s, the flow's window
weights w_k and clip(g) = g / max(1, |g|) per sample and window, an iterate follows from the one before it by

    (3)  anchored        to the fixed point of (5), by a descent                   the default, see `descent`
    (4)  accumulated     d_k <- d_k - s w_k clip(g_k)                              as in the published code
    (5)  fixed_point     d_k <- (1 - a) d_k + a G_k(d),  G_k(d) = -s w_k g_k       the paper's, damped by a
    (6)  single_pass     d_k <- d_k - s w_k clip(g^_k), on the way                 see `single_pass`
    (7)  fully_anchored  z_(k+1) <- z_(k+1) - s w_k clip(g_k)                      as published for 2-rectified flow
    (8)  noise           z_0 <- z_0 - s clip(g_0)                                  no offset moves, only the noise
    (9)  unanchored      z_(k+1) <- z_k + v(z_(k+1), t_(k+1)) dt - s w_k g_k       no reference trajectory

With a = 1, (5) is a contraction where s L < 1, L being the Lipschitz constant of w g as a function of d; a smaller a
goes further, and (3) arrives whatever s is.  The fixed point is anchored: there the energy's pull balances the distance
to the reference trajectory.  In (3) to (6) a window starts from the guided state; in (7) its end stays tied to that of
the unguided trajectory.  All but (6) start again from the noise in each iteration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from ..interfaces import Decoder, Energy, Flow, PredictingFlow
from .batched import clipped
from .gradient import GRADIENTS, Gradient, LossScaling
from .iterate import Iterate, Residuals
from .rules import RULES, SinglePass, UpdateRule
from .single_pass import single_pass
from .state import RunState
from .trajectory import observe, run_flow


def solve(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    *,
    rule: str = "anchored",
    scale: float | None = None,
    damping: float = 0.5,
    iterations: int = 20,
    gradient: str | Gradient | None = None,
    last_offset: bool = True,
    clip: bool | None = None,
    loss_scale: float = 1.0,
    state: RunState | None = None,
) -> Iterator[Iterate]:
    """Guide ``flow`` from the noise ``z0``, ``(B, ...)``; yields ``iterations + 1`` iterates.

    rule: one of `RULES`; damping: a in (0, 1], of `fixed_point`.
    scale: s; None: that of the guidance scale 1, see `UpdateRule.scale_for`.
    gradient: one of `GRADIENTS`, or any other `Gradient`.  "windowed" keeps the K states and recomputes one window at a
        time under autograd; "full" keeps one graph of everything: no recomputation, the memory of all windows.  Both
        give the same.  "straight" is an approximation.  None: the rule's own, see `UpdateRule.gradient`.  For
        `single_pass` they are all the same.
    iterations: trajectories, each followed by an update; for `single_pass` updates, divided among the windows of one.
    last_offset: False leaves the last window unguided, so that the flow has the last word on the image.
    clip: None clips the gradients of the rules that are published so, see `UpdateRule.clips`.
    loss_scale: >= 1, by which the energy is multiplied for the backward, for networks in float16 (1024 is usual); where
        the gradient overflows, it is halved for the rest of the run and the iterate repeated.  Does not change g_k.
    state: where the run stands, which is kept up to date in it.  From one that another run has filled this one goes on,
        for ``iterations`` more: as that one would have, if nothing else is changed.  Not for `single_pass`.

    Samples never mix.  The last iterate costs no gradient; with ``iterations=0`` autograd is not used at all.
    What happens between iterates (progress, interrupt, stopping) is the caller's, and so is leaving inference mode.

    Raises, at the first iterate, ValueError or TypeError for settings that cannot work; later
    `trajectory.NonFiniteError`, which names the network that gave nan or infinity.
    """
    kind = _check_settings(flow, rule, damping, iterations, gradient, last_offset, loss_scale)
    gradient = kind.gradient if gradient is None else gradient
    differentiate = LossScaling(GRADIENTS[gradient] if isinstance(gradient, str) else gradient, loss_scale)
    clips = kind.clips if clip is None else clip
    scale = kind.scale_for(1.0, z0) if scale is None else scale
    weights = [scale * flow.weight(k) for k in range(len(flow))]  # s w_k
    if not last_offset:
        weights[-1] = 0.0
    z0 = z0.detach()

    if issubclass(kind, SinglePass) and iterations:  # (6)
        if state is not None and state.begun:
            raise ValueError("'single_pass' draws one trajectory and cannot go on; choose another update rule")
        residuals = Residuals()
        straight = cast(PredictingFlow, flow)  # `SinglePass.check` has seen to it
        for number, step in enumerate(
            single_pass(straight, decode, energy, z0, weights, iterations, differentiate, clips=clips, last=last_offset)
        ):
            if step.update is not None:
                residuals.append([step.update])
            yield residuals.iterate(
                number,
                step.latent,
                step.image,
                step.observation,
                followed=step.update is not None,
                predicted=step.predicted,
            )
        return

    state = RunState() if state is None else state
    state.begin(kind, z0, weights, scale, damping)
    last = state.number + iterations
    while state.number < last:
        # (1), (2)
        number, path = state.number, state.path
        states, image, observation, g = differentiate(path.along(flow), decode, energy, path.z0, path.offsets, number)
        if clips:
            g = [clipped(g_k) for g_k in g]
        state.path, update = state.rule.update(flow, path, states, g)
        state.residuals.append(update)
        state.number += 1
        yield state.residuals.iterate(number, states[-1], image, observation, followed=True)

    with torch.no_grad():
        states = run_flow(state.path.along(flow), state.path.z0, state.path.offsets)
        image, observation = observe(decode, energy, states, last)
    yield state.residuals.iterate(last, states[-1], image, observation, followed=False)


def _check_settings(flow, rule, damping, iterations, gradient, last_offset, loss_scale) -> type[UpdateRule]:
    if rule not in RULES:
        raise ValueError(f"unknown update rule {rule!r}; choose one of {', '.join(RULES)}")
    if not (gradient is None or gradient in GRADIENTS or isinstance(gradient, Gradient)):
        raise ValueError(f"unknown gradient mode {gradient!r}; choose one of {', '.join(GRADIENTS)}")
    if iterations < 0:
        raise ValueError(f"the number of iterations must be 0 or more, not {iterations}")
    if not loss_scale >= 1:
        raise ValueError(f"the loss scale must be 1 or more, not {loss_scale}")
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be above 0 and at most 1 (1: undamped), not {damping}")
    if len(flow) < 1:
        raise ValueError("the flow has no window; use at least one step")
    RULES[rule].check(flow, last_offset)
    return RULES[rule]
