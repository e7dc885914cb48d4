"""The anchored fixed-point solver of RectifID (arXiv 2405.14677).

A rectified flow carries the noise z_0 through K windows to the image latent z_K; F_k is its map over window k.
Guidance adds an offset d_k at the end of each window; without offsets this is the unguided, reference trajectory:

    (1)  z_(k+1) = F_k(z_k) + d_k
    (2)  g_k = gradient of energy(decode(z_K)) with respect to z_k, the START of window k

The gradient runs through all later windows, with the offsets as constants.  With the scale s, the flow's window
weights w_k and clip(g) = g / max(1, |g|) per sample and window, an iterate follows from the one before it by

    (3)  accumulated     d_k <- d_k - s w_k clip(g_k)                              as in the published code
    (4)  fixed_point     d_k <- (1 - a) d_k + a G_k(d),  G_k(d) = -s w_k g_k       the paper's, damped by a
    (5)  adaptive        as (4), a_n <= a from the last iterates in place of a      see `AdaptiveDamping`
    (6)  single_pass     d_k <- d_k - s w_k clip(g^_k), on the way                  see `single_pass`
    (7)  fully_anchored  z_(k+1) <- z_(k+1) - s w_k clip(g_k)                      as published for 2-rectified flow
    (8)  noise           z_0 <- z_0 - s clip(g_0)                                  no offset moves, only the noise
    (9)  unanchored      z_(k+1) <- z_k + v(z_(k+1), t_(k+1)) dt - s w_k g_k       no reference trajectory

With a = 1, (4) is a contraction where s L < 1, L being the Lipschitz constant of w g as a function of d; a smaller a
goes further, and (5) as far as it must.  The fixed point is anchored: there the energy's pull balances the distance to
the reference trajectory.  In (3) to (6) a window starts from the guided state; in (7) its end stays tied to that of the
unguided trajectory.  All but (6) start again from the noise in each iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..interfaces import Decoder, EndVelocityFlow, Energy, Flow, Observation, PredictingFlow
from .batched import clipped, expand_like, norm
from .damping import AdaptiveDamping
from .gradient import LossScaling, full, observe, trajectory, windowed
from .single_pass import share_out, single_pass
from .straight import straight

RULES = ("accumulated", "fixed_point", "adaptive", "single_pass", "fully_anchored", "noise", "unanchored")
CLIPPED = ("accumulated", "single_pass", "fully_anchored", "noise")  # by habit
SETTLING = ("fixed_point", "adaptive")  # the residual is the distance that is left to go, see `settling`
_DIFFERENTIATE = {"windowed": windowed, "full": full, "straight": straight}
GRADIENTS = tuple(_DIFFERENTIATE)


@dataclass(frozen=True)
class Iterate:
    """One trajectory of the solver and what was seen at its end; detached.

    number: 0 is the unguided reference.
    latent: ``(B, ...)``, z_K.
    image: ``(B, 3, H, W)`` in [0, 1].
    energy, similarity: ``(B,)``, as the energy observed them.
    residual: ``(B,)``, the norm over all windows of the update that follows; for `fixed_point` and `adaptive` of
        G(d) - d, the undamped one; for `unanchored` of the trajectory's change.  nan for the last iterate: nothing
        follows.
    contraction: ``(B,)``, this residual over the previous one: the rate at which the iteration converges, if below 1.
        nan for the first and the last iterate, and once the residual is exactly 0.
    diverging: ``(B,)`` bool, the residual is larger than the first that was not 0 and has grown three times in a row.
    crop: ``(B, 3, h, w)`` in [0, 1], the region that the energy looked at, or None.
    found: ``(B,)`` bool, whether the energy found what it compares in this image.
    terms: by name, what each energy of a sum observed.
    predicted: the latent is where the flow would end if it went straight on, and not yet where it does (`single_pass`).
    """

    number: int
    latent: Tensor
    image: Tensor
    energy: Tensor
    similarity: Tensor
    residual: Tensor
    contraction: Tensor
    diverging: Tensor
    crop: Tensor | None
    found: Tensor
    terms: Mapping[str, Observation] = field(default_factory=dict)
    predicted: bool = False


def solve(
    flow: Flow,
    decode: Decoder,
    energy: Energy,
    z0: Tensor,
    *,
    rule: str = "accumulated",
    scale: float = 1.0,
    damping: float = 0.5,
    iterations: int = 20,
    gradient: str | Callable = "windowed",
    last_offset: bool = True,
    clip: bool | None = None,
    loss_scale: float = 1.0,
) -> Iterator[Iterate]:
    """Guide ``flow`` from the noise ``z0``, ``(B, ...)``; yields ``iterations + 1`` iterates.

    rule: one of `RULES`; scale: s; damping: a in (0, 1], of `fixed_point`, and of `adaptive` the largest.
    gradient: "windowed" keeps the K states and recomputes one window at a time under autograd; "full" keeps one graph
        of everything: no recomputation, the memory of all windows.  Both give the same gradient.  "straight" is an
        approximation that no window runs under autograd for, see `straight`.  For `single_pass` they are all the same.
        A callable takes the place of one of these functions.
    iterations: trajectories, each followed by an update; for `single_pass` updates, shared out to the windows of one.
    last_offset: False leaves the last window unguided, so that the flow has the last word on the image.
    clip: None for each rule's own habit: on for those that are published with it (`CLIPPED`), off for the fixed points.
    loss_scale: >= 1, by which the energy is multiplied for the backward, for networks in float16 (1024 is usual); where
        the gradient overflows, it is halved for the rest of the run and the iterate repeated.  Does not change g_k.

    Samples never mix.  The last iterate costs no gradient; with ``iterations=0`` autograd is not used at all.
    What happens between iterates (progress, interrupt, stopping) is the caller's, and so is leaving inference mode.

    Raises, at the first iterate, ValueError or TypeError for settings that cannot work; later
    `gradient.NonFiniteGradientError`, which names the window.
    """
    _check_settings(flow, rule, damping, iterations, gradient, last_offset, loss_scale)
    differentiate = LossScaling(_DIFFERENTIATE.get(gradient, gradient), loss_scale)
    adapt = AdaptiveDamping(damping)
    clips = rule in CLIPPED if clip is None else clip
    windows = range(len(flow))
    weights = [scale * flow.weight(k) for k in windows]  # s w_k
    if not last_offset:
        weights[-1] = 0.0

    z0 = z0.detach()
    residuals: list[Tensor] = []
    if rule == "single_pass" and iterations:  # (6)
        updates = share_out(iterations, len(flow), last=last_offset)
        steps = single_pass(flow, decode, energy, z0, weights, updates, differentiate, clips=clips)
        for number, (z, image, seen, update, predicted) in enumerate(steps):
            residuals += [] if update is None else [norm(update)]
            yield _iterate(number, z, image, seen, residuals, followed=update is not None, predicted=predicted)
        return

    offsets = [torch.zeros_like(z0) for _ in windows]
    for number in range(iterations):
        states, image, seen, g = differentiate(flow, decode, energy, z0, offsets, number)  # (1), (2)
        if clips:
            g = [clipped(g_k) for g_k in g]

        if rule == "accumulated":  # (3)
            update = [-weights[k] * g[k] for k in windows]
            offsets = [offsets[k] + update[k] for k in windows]
        elif rule == "fixed_point":  # (4)
            update = [-weights[k] * g[k] - offsets[k] for k in windows]
            offsets = [offsets[k] + damping * update[k] for k in windows]
        elif rule == "adaptive":  # (5)
            update = [-weights[k] * g[k] - offsets[k] for k in windows]
            a = adapt(torch.stack(offsets, dim=1), torch.stack(update, dim=1))
            offsets = [(offsets[k] + expand_like(a, update[k]) * update[k]).to(update[k].dtype) for k in windows]
        elif rule == "fully_anchored":  # (7)
            update = [-weights[k] * g[k] for k in windows]
            offsets = _through(flow, z0, [states[k + 1] + update[k] for k in windows])
        elif rule == "noise":  # (8)
            update = [-scale * g[0]]
            z0 = z0 + update[0]
        else:  # (9)
            ends = _unanchored(flow, states, weights, g)
            update = [ends[k] - states[k + 1] for k in windows]
            offsets = _through(flow, z0, ends)

        residuals.append(norm(torch.stack(update, dim=1)))
        yield _iterate(number, states[-1], image, seen, residuals, followed=True)

    with torch.no_grad():
        z = trajectory(flow, z0, offsets)[-1]
        image, seen = observe(decode, energy, z, iterations)
    yield _iterate(iterations, z, image, seen, residuals, followed=False)


@torch.no_grad()
def _unanchored(flow: EndVelocityFlow, states: list[Tensor], weights: list[float], g: list[Tensor]) -> list[Tensor]:
    """(9): the windows' new ends."""
    ends = [states[0]]
    for k, weight in enumerate(weights):
        ends.append(ends[k] + flow.end_displacement(k, states[k + 1]) - weight * g[k])
    return ends[1:]


@torch.no_grad()
def _through(flow: Flow, z0: Tensor, ends: list[Tensor]) -> list[Tensor]:
    """The offsets with which (1) runs through the given ends of the windows."""
    return [end - flow.step(k, z) for k, (z, end) in enumerate(zip([z0, *ends], ends, strict=False))]


def _iterate(
    number, latent, image, seen: Observation, residuals: list[Tensor], *, followed: bool, predicted=False
) -> Iterate:
    """``residuals``: all so far; this iterate's is the last of them if an update follows it."""
    unknown = torch.full((len(latent),), torch.nan, device=latent.device)
    first = _first(residuals) if residuals else unknown
    recent = [unknown] * 4 + residuals
    # Three in a row, and past the first: views make residuals noisy, and a saturated clip wavers by a rounding error.
    growing = [recent[-i] > 1.001 * recent[-i - 1] for i in (1, 2, 3)]
    return Iterate(
        number,
        latent,
        image,
        seen.energy,
        seen.similarity,
        residual=recent[-1] if followed else unknown,
        contraction=recent[-1] / recent[-2] if followed else unknown,
        diverging=growing[0] & growing[1] & growing[2] & (recent[-1] > first),
        crop=seen.crop,
        found=torch.ones_like(unknown, dtype=torch.bool) if seen.found is None else seen.found,
        terms=seen.terms,
        predicted=predicted,
    )


def _first(residuals: list[Tensor]) -> Tensor:
    """Of each sample the first residual that is not 0: a guidance may begin to act later."""
    each = torch.stack(residuals)
    return each.gather(0, (each != 0).int().argmax(dim=0, keepdim=True))[0]


def _check_settings(flow, rule, damping, iterations, gradient, last_offset, loss_scale) -> None:
    if rule not in RULES:
        raise ValueError(f"unknown update rule {rule!r}; choose one of {', '.join(RULES)}")
    if gradient not in GRADIENTS and not callable(gradient):
        raise ValueError(f"unknown gradient mode {gradient!r}; choose one of {', '.join(GRADIENTS)}")
    if iterations < 0:
        raise ValueError(f"the number of iterations must be 0 or more, not {iterations}")
    if not loss_scale >= 1:
        raise ValueError(f"the loss scale must be 1 or more, not {loss_scale}")
    if not 0 < damping <= 1:
        raise ValueError(f"damping must be above 0 and at most 1 (1: undamped), not {damping}")
    if len(flow) < 1:
        raise ValueError("the flow has no window; use at least one step")
    if len(flow) == 1 and not last_offset and rule != "noise":
        raise ValueError("with one step the last offset is the only one; switch it on, or use more steps")
    if rule == "fully_anchored" and not last_offset:
        raise ValueError("'fully_anchored' changes the image by the last offset alone; switch it on")
    if rule == "unanchored" and not isinstance(flow, EndVelocityFlow):
        raise TypeError("this flow cannot be read at a window's end, as 'unanchored' needs; choose another update rule")
    if rule == "single_pass" and not isinstance(flow, PredictingFlow):
        raise TypeError("this flow cannot foresee its end, as 'single_pass' needs; choose another update rule")


class Best:
    """The best iterate so far, for each sample its own: the highest similarity, that of the plain image.

    Images in which nothing was found come last, however similar the place may be where it was before; predicted ones do
    not count.

    After the first `update`: latent ``(B, ...)``, image ``(B, 3, H, W)``, similarity ``(B,)``, number ``(B,)`` int.
    """

    latent: Tensor
    image: Tensor
    similarity: Tensor
    number: Tensor | None = None
    _rank: Tensor

    def update(self, iterate: Iterate) -> None:
        if iterate.predicted:
            return
        number = torch.full_like(iterate.similarity, iterate.number, dtype=torch.long)
        rank = iterate.similarity.where(iterate.found, -torch.inf)
        new = [iterate.latent, iterate.image, iterate.similarity, number, rank]
        if self.number is not None:
            better = rank > self._rank
            old = [self.latent, self.image, self.similarity, self.number, self._rank]
            new = [torch.where(expand_like(better, x), x, y) for x, y in zip(new, old, strict=True)]
        self.latent, self.image, self.similarity, self.number, self._rank = new
