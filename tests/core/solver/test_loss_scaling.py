"""The loss scale in steps: halved where a gradient overflows, for the rest of the run, by every gradient method."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.solver.chains import NonFiniteGradientError
from rectifid_core.solver.gradient import Gradient, LossScaling, WindowedGradient, straight
from rectifid_core.solver.solve import solve
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

Z0 = normal(2, 3, 4, 4, seed=7)


class Overflowing(Gradient):
    """Overflows above a loss scale; notes which ones it was asked for."""

    def __init__(self, limit):
        super().__init__()
        self.limit, self.asked = limit, []

    def __call__(self, *arguments):
        loss_scale = arguments[6] if len(arguments) > 6 else 1.0
        self.asked.append(loss_scale)
        if loss_scale > self.limit:
            raise NonFiniteGradientError
        return straight(*arguments)

    def at_end(self, *arguments):
        loss_scale = arguments[5] if len(arguments) > 5 else 1.0
        self.asked.append(loss_scale)
        if loss_scale > self.limit:
            raise NonFiniteGradientError
        return straight.at_end(*arguments)


@pytest.mark.parametrize("rule", ["accumulated", "single_pass"])
@pytest.mark.parametrize(
    ("first", "limit", "asked"),
    [(16.0, 4.0, [16.0, 8.0, 4.0, 4.0, 4.0]), (1.5, 1.0, [1.5, 1.0, 1.0, 1.0]), (8.0, 8.0, [8.0, 8.0, 8.0])],
)
def test_it_is_halved_until_it_fits_and_stays_so(rule, first, limit, asked):
    gradient = Overflowing(limit)
    list(
        solve(
            CurvedFlow(),
            torch.sigmoid,
            CurvedEnergy(),
            Z0,
            rule=rule,
            gradient=gradient,
            iterations=3,
            loss_scale=first,
        )
    )
    assert gradient.asked == asked


def test_a_gradient_that_overflows_unscaled_is_an_error():
    with pytest.raises(NonFiniteGradientError):
        LossScaling(Overflowing(0.5), 4.0)(CurvedFlow(), torch.sigmoid, CurvedEnergy(), Z0, [0 * Z0] * 4, 0)


@pytest.mark.parametrize("kind", [WindowedGradient, type(straight)])
@pytest.mark.parametrize("rule", ["accumulated", "single_pass"])
def test_a_checkpointed_decoder_runs_again_for_every_gradient(kind, rule):
    """Without it, the decoder runs once for each iterate; a single pass observes its start one time more."""

    def decodes(checkpointed):
        calls = []

        def decode(z):
            calls.append(torch.is_grad_enabled())
            return torch.sigmoid(z)

        gradient = kind(checkpoint_decoder=checkpointed)
        list(solve(CurvedFlow(), decode, CurvedEnergy(), Z0, rule=rule, gradient=gradient, iterations=3))
        return len(calls)

    assert decodes(False) == 4 + (rule == "single_pass")
    assert decodes(True) == decodes(False) + 3
