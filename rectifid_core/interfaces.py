"""The three things that the solver knows: a flow, a decoder, an energy.

Each is a small protocol, so that a few lines of any code base can stand behind it.  Shapes: ``B`` samples, a
latent ``z`` of shape ``(B, C, h, w)`` (or any ``(B, ...)``), an image of shape ``(B, 3, H, W)`` with values in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from .scope import GuidanceScope


@runtime_checkable
class Flow(Protocol):
    """``K`` windows; ``step(k, z)`` is the paper's map F_k from the state at the start of window k to its end."""

    def __len__(self) -> int:
        """The number of windows, K >= 1."""
        ...

    def step(self, k: int, z: Tensor) -> Tensor:
        """F_k(z): ``(B, ...) -> (B, ...)``, differentiable in ``z``; samples do not mix."""
        ...

    def weight(self, k: int) -> float:
        """w_k, the guidance weight of window k (1 for a plain flow)."""
        ...


@runtime_checkable
class EndVelocityFlow(Flow, Protocol):
    """A flow that can also be read at a window's end; only the `unanchored` ablation needs it."""

    def end_displacement(self, k: int, z: Tensor) -> Tensor:
        """The displacement that window k would make with the velocity v(z, t_(k+1)) of its END."""
        ...


@runtime_checkable
class PredictingFlow(Flow, Protocol):
    """A flow that foresees where it ends; only the rule `single_pass` needs it."""

    def predict(self, k: int, z: Tensor) -> tuple[Tensor, Tensor]:
        """F_k(z), and z_K if the velocity stayed what it is: z + v(z, t_k) (t_K - t_k); by one evaluation."""
        ...


class Decoder(Protocol):
    """Latent to image, differentiable: ``(B, ...) -> (B, 3, H, W)`` in [0, 1]."""

    def __call__(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Observation:
    """What an energy saw in a batch of images.

    energy: ``(B,)``, carries the graph; lower is better.
    similarity: ``(B,)``, detached, the plain image's cosine to the reference in [-1, 1] (no views); nan for an image
        in which there is nothing to compare.
    found: ``(B,)`` bool, whether what is compared was found in this very image; ``None``: always.  Where it was not,
        the similarity is that of the place where it was last, and says nothing of the picture.
    terms: by name, what each energy of a sum observed; all of it detached.
    by_scope: of a sum, the energy by what it may change, each ``(B,)`` with its graph; together they are ``energy``.
        None for what does not act in this iteration.  Without it, ``energy`` may change everything.
    """

    energy: Tensor
    similarity: Tensor
    found: Tensor | None = None
    terms: Mapping[str, Observation] = field(default_factory=dict)
    by_scope: Mapping[GuidanceScope, Tensor | None] | None = None


class CutGradientError(RuntimeError):
    """A network is in the way of the gradient; the message says which, and what to do."""


class Energy(Protocol):
    """Image to energy: -log p(c | z) of the paper up to a constant.

    ``iteration`` numbers the iterate, so that random views depend on (seed, iteration, sample) and nothing else.
    """

    def __call__(self, image: Tensor, iteration: int) -> Observation: ...
