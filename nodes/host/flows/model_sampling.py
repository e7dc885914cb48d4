"""How a MODEL's output is to be read: the host's `model_sampling` for models that it does not know by itself."""

from __future__ import annotations

import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST, EPS, ModelSamplingDiscrete, ModelSamplingDiscreteFlow
from torch import Tensor, nn

from ....rectifid_core.flows.perflow import TRAIN_STEPS, times


class _OwnTimes(nn.Module):
    """The times of a sampling, as plain attributes, which the host neither moves nor exchanges.

    A host that pages weights keeps a model's buffers by name, and puts them into whatever bears the name later: a
    branch with another `model_sampling` would get ours, and we its.
    """

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        if name not in vars(self):
            with torch.inference_mode(False):  # the host's nodes run under it
                setattr(self, name, None if tensor is None else tensor.clone())


class RectifiedFlowSampling(_OwnTimes, ModelSamplingDiscreteFlow, CONST):
    """2-rectified flow on the SD 1.5 UNet: the output is data - noise, at the timestep 1000 sigma."""

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        return super().calculate_denoised(sigma, -model_output, model_input)


class PeRFlowSampling(_OwnTimes, ModelSamplingDiscrete, EPS):
    """PeRFlow: whatever the network predicts passes as eps, so that `flow.perflow` can take it out again.

    windows, prediction, weights: see `rectifid_core.perflow.PeRFlow`.
    """

    sigmas: Tensor
    windows: int
    prediction: str
    weights: str

    def timestep(self, sigma: Tensor) -> Tensor:
        # the model was trained at t = 1, 0.75 ..: one past the table's entry
        return super().timestep(sigma) + 1

    def sigma(self, timestep: Tensor) -> Tensor:
        return super().sigma(timestep - 1)

    def time(self, sigma: Tensor) -> float:
        """t in [0, 1], 0 for sigma = 0."""
        return int(self.timestep(sigma)) / TRAIN_STEPS if sigma > 0 else 0.0

    def step_sigmas(self, steps: int, denoise: float) -> Tensor:
        """The sigmas of the published times, ``(steps + 1,)``; below 1, ``denoise`` takes the last of more steps."""
        points = times(int(steps / denoise), self.windows)[-(steps + 1) : -1]
        indices = [round(TRAIN_STEPS * t) - 1 for t in points]
        return torch.cat([self.sigmas[indices], self.sigmas.new_zeros(1)])


def with_rectified_flow(model: ModelPatcher) -> ModelPatcher:
    """A clone of MODEL, read as a 2-rectified flow."""
    return _with_sampling(model, RectifiedFlowSampling())


def with_perflow(model: ModelPatcher, prediction: str, windows: int, weights: str) -> ModelPatcher:
    """A clone of MODEL, read as a PeRFlow."""
    sampling = PeRFlowSampling(model.model.model_config)
    sampling.prediction, sampling.windows, sampling.weights = prediction, windows, weights
    return _with_sampling(model, sampling)


def _with_sampling(model: ModelPatcher, sampling: nn.Module) -> ModelPatcher:
    model = model.clone()
    model.add_object_patch("model_sampling", sampling)
    return model
