"""Whether a gradient came through: a network that runs without autograd cuts it, and nothing else would say so."""

from __future__ import annotations

from torch import Tensor

from ..interfaces import Observation


class CutGradientError(RuntimeError):
    """A network is in the way of the gradient; the message says which, and what to do."""


def check_networks(image: Tensor, observation: Observation) -> None:
    """Of a latent in a graph: its image, and the energy of that, each by scope, ``(B,)``, have to be in it.

    Raises CutGradientError, which names the decoder or the energy.
    """
    if not image.requires_grad:
        raise CutGradientError(
            "the decoder cuts the gradient: it decodes without autograd (torch.no_grad, torch.inference_mode or detach "
            "in it). Use another VAE, or take away what changes it"
        )
    energies = [observation.energy] if observation.by_scope is None else observation.by_scope.values()
    if not all(energy.requires_grad for energy in energies if energy is not None):
        raise CutGradientError(
            "the recogniser or another network of the guidance cuts the gradient: it looks at the picture without "
            "autograd (torch.no_grad, torch.inference_mode or detach in it). Use another one"
        )


def check_chain(gradients: list[Tensor]) -> None:
    """Of one energy: its gradients g_k with respect to successive states, ``(B, ...)`` each, the end state's last.

    Raises CutGradientError for a state whose gradient is exactly 0 beside an end whose gradient is not: a step that
    ends at noise of 0 hands on nothing but what comes through its model.
    """
    if not gradients[-1].any():
        return
    for steps_to_end, gradient in enumerate(reversed(gradients)):
        if not gradient.any():
            step = "the last step" if steps_to_end == 1 else f"the step that is {steps_to_end - 1} before the last"
            raise CutGradientError(
                f"no gradient comes through {step} of the flow: something in the model runs it without autograd "
                "(torch.no_grad, torch.inference_mode or detach). Take it away, or choose the gradient straight, which "
                "does not run through the model"
            )
