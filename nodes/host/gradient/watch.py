"""Notices a model whose gradient does not come back, or that answers the same question in two ways.

Both pass without an error, and guidance would do nothing, or something else than it seems: another node's patch runs
the network under `torch.no_grad` or `torch.inference_mode`, or detaches what it said; another one remembers earlier
calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from ....rectifid_core.interfaces import CutGradientError

_SAME = 0.01  # of the answer's norm: kernels and batches round in other ways with a graph than without
_on_purpose = ContextVar("on_purpose", default=False)


@contextmanager
def without_gradient() -> Iterator[None]:
    """`torch.no_grad` that is meant: inside, nobody waits for a gradient of the model."""
    token = _on_purpose.set(True)
    try:
        with torch.no_grad():
            yield
    finally:
        _on_purpose.reset(token)


class ModelWatch:
    """Over the calls of one run's model.

    sampling: its `model_sampling`, which each network is asked to make its input: the model, and its ControlNets.
    patches: the names of what may be at fault.
    """

    def __init__(self, sampling: nn.Module, patches: list[str]) -> None:
        self._sampling = sampling
        self._patches = patches
        self._answers: dict[float, tuple[Tensor, Tensor]] = {}
        self._warned: set[str] = set()

    @contextmanager
    def gradient_expected(self, x: Tensor) -> Iterator[None]:
        """Around a call of the model with ``x``: the backward that comes to ``x`` has to come through the model.

        Raises CutGradientError then, if it came through no network at all; warns if through some of them.
        """
        inputs: list[_Input] = []
        make: Callable[[Tensor, Tensor], Tensor] = cast(Any, self._sampling).calculate_input

        def calculate_input(sigma: Tensor, noise: Tensor) -> Tensor:
            made = make(sigma, noise)
            if _on_purpose.get():
                return made
            inputs.append(_Input())
            return _Mark.apply(made, inputs[-1])

        before = vars(self._sampling).get("calculate_input")
        vars(self._sampling)["calculate_input"] = calculate_input
        try:
            yield
        finally:
            del vars(self._sampling)["calculate_input"]
            if before is not None:
                vars(self._sampling)["calculate_input"] = before
        x.register_hook(lambda gradient: self._check(inputs))

    def compare(self, x: Tensor, sigma: Tensor, answer: Tensor) -> None:
        """Warns if this ``answer`` is another one than that to the same latent at the same sigma before."""
        if isinstance(answer, FakeTensor):  # of a count of what a run costs: there is no content to compare
            return
        key, x, answer = float(sigma), x.detach(), answer.detach()
        if key in self._answers and self._answers[key][0].shape == x.shape:
            known_x, known_answer = self._answers[key]
            difference, size = (
                torch.linalg.vector_norm(each.float()) for each in (answer - known_answer, known_answer)
            )
            if ((known_x == x).all() & (difference > _SAME * size)).item():
                self._warn(
                    "this model gives two answers to the same latent: something in it remembers earlier steps or draws "
                    "at random, so that the gradient is only roughly right. It may be one of these: {}. Choose the "
                    "gradient full or straight, or take it away."
                )
        self._answers[key] = x, answer

    def _check(self, inputs: list[_Input]) -> None:
        lost = [each for each in inputs if not each.has_gradient]
        if inputs and len(lost) == len(inputs):
            raise CutGradientError(
                "No gradient comes through the model, so that guidance would do nothing: something runs it without "
                f"autograd, or detaches what it says. It may be one of these: {self._named()}. Take it away, or choose "
                "the gradient straight, which does not run through the model."
            )
        if lost:
            self._warn(
                "a part of the gradient does not come through the model or its ControlNet: something runs it without "
                "autograd, or leaves out what it says. It may be one of these: {}."
            )

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logging.warning("RectifID: %s", message.format(self._named()))

    def _named(self) -> str:
        return ", ".join(self._patches) or "a changed ComfyUI, for no patch is known"


class _Input:
    """What a network was given, and whether a gradient has come to it."""

    has_gradient = False


class _Mark(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mark: _Input) -> Tensor:
        ctx.mark = mark
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.mark.has_gradient = True
        return gradient, None
