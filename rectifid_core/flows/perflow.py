"""PeRFlow (arXiv 2405.07510): a diffusion model whose path was straightened window by window.

Time t runs from 1 (noise) to 0, in W windows of equal length; abar(t) is the diffusion's signal level.  In the window
from t_s down to t_e the state moves on a straight line to the window's end, which the network's output eps predicts:

    (1)  z_(t_e) = lambda_c z_(t_c) + eta_c eps

    (2)  lambda_c = lambda (t_e - t_s) / D,   eta_c = eta (t_e - t_c) / D,   D = lambda (t_c - t_s) + (t_e - t_c)

    (3)  diff_eps   lambda = 1 / gamma,  eta = -sqrt(1 - gamma^2) / gamma,  gamma = sqrt(abar(t_s) / abar(t_e))
    (4)  ddim_eps   lambda = 1 / gamma,  eta = sqrt(1 - abar(t_e)) - sqrt(1 - abar(t_s)) / gamma

so that the velocity is (z_(t_e) - z_(t_c)) / (t_e - t_c); a network of the kind `velocity` returns it itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

PREDICTIONS = ("diff_eps", "ddim_eps", "velocity")
WEIGHTS = ("derived", "published")
TRAIN_STEPS = 1000
# The published code has this constant for diff_eps in every window, and calls it a bug.
_PUBLISHED_DIFF_EPS = 0.95796674


def times(steps: int, windows: int) -> list[float]:
    """The published times of ``steps`` steps, from 1 down to 0, ``(steps + 1,)``: evenly spread in each window.

    They are whole timesteps, cut off.  More steps than windows go to the first windows first; ValueError for fewer.
    """
    if steps < windows:
        raise ValueError(f"PeRFlow needs at least one step for each of its {windows} windows, not {steps}")
    timesteps: list[int] = []
    for window in range(windows):
        start, end = (windows - window) / windows, (windows - window - 1) / windows
        inside = steps // windows + (window < steps % windows)
        timesteps += (np.linspace(start, end, inside, endpoint=False) * TRAIN_STEPS).astype(int).tolist()
    return [timestep / TRAIN_STEPS for timestep in (*timesteps, 0)]


class PeRFlow:
    """The steps between ``times``, each a window of the solver.

    predict: ``(z, t) -> the network's output``, ``(B, ...)``, where the network is called at the timestep 1000 t.
    abar: ``(1000,)``, cumulative products of 1 - beta.
    times: falling, from at most 1 to 0; `times` gives the published ones.
    windows: W, of the model's training; prediction: one of `PREDICTIONS`.
    weights: of the guidance in each window: "derived" is |eta| / lambda, (3) and (4); "published" is what the authors'
        code has: one constant for diff_eps, and for ddim_eps the sum of the two roots in (4) in place of their
        difference.  1 for velocity.
    """

    def __init__(
        self,
        predict: Callable[[Tensor, float], Tensor],
        abar: Tensor,
        times: Sequence[float],
        *,
        windows: int = 4,
        prediction: str = "diff_eps",
        weights: str = "derived",
    ) -> None:
        if prediction not in PREDICTIONS:
            raise ValueError(f"unknown PeRFlow prediction {prediction!r}; choose one of {', '.join(PREDICTIONS)}")
        if weights not in WEIGHTS:
            raise ValueError(f"unknown PeRFlow weights {weights!r}; choose one of {', '.join(WEIGHTS)}")
        self._predict = predict
        self._abar = abar.double().tolist()
        self._times = list(times)
        self._windows = windows
        self._prediction = prediction
        self._weights = weights

    def __len__(self) -> int:
        return len(self._times) - 1

    def step(self, k: int, z: Tensor) -> Tensor:
        return z + self._velocity(z, self._times[k]) * (self._times[k + 1] - self._times[k])

    def weight(self, k: int) -> float:
        if self._prediction == "velocity":
            return 1.0
        start, end = self._window(self._times[k])
        signal, eta = self._line(start, end)
        if self._weights == "derived":
            return abs(eta) / signal
        if self._prediction == "diff_eps":
            return _PUBLISHED_DIFF_EPS
        return (math.sqrt(1 - self.abar(end)) + math.sqrt(1 - self.abar(start)) * signal) / signal

    def abar(self, t: float) -> float:
        """abar(t): the table's entry 1000 t - 1, clamped at 0."""
        return self._abar[max(int(TRAIN_STEPS * t - 1), 0)]

    def _velocity(self, z: Tensor, t: float) -> Tensor:
        output = self._predict(z, t)
        if self._prediction == "velocity":
            return output
        start, end = self._window(t)
        signal, eta = self._line(start, end)
        divisor = signal * (t - start) + (end - t)  # (2)
        signal_c, eta_c = signal * (end - start) / divisor, eta * (end - t) / divisor
        return (signal_c * z + eta_c * output - z) / (end - t)  # (1)

    def _window(self, t: float) -> tuple[float, float]:
        """t_s and t_e of the window in which t is; the border belongs to the later one."""
        number = math.ceil((t - 0.1 / TRAIN_STEPS) * self._windows)
        return number / self._windows, (number - 1) / self._windows

    def _line(self, start: float, end: float) -> tuple[float, float]:
        """lambda and eta of a window."""
        gamma = math.sqrt(self.abar(start) / self.abar(end))
        if self._prediction == "diff_eps":
            return 1 / gamma, -math.sqrt(1 - gamma**2) / gamma  # (3)
        return 1 / gamma, math.sqrt(1 - self.abar(end)) - math.sqrt(1 - self.abar(start)) / gamma  # (4)
