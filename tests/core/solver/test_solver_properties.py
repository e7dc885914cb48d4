"""The solver on any small flow: samples never mix, gradient methods agree, a pinned flow keeps its Jacobian."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rectifid_core.guidance.weighted_sum import NamedEnergy, Schedule, WeightedSum
from rectifid_core.scope import GuidanceScope
from rectifid_core.solver.gradient import GRADIENTS, WindowedGradient, full
from rectifid_core.solver.rules import RULES, Path
from rectifid_core.solver.solve import solve
from tests.helpers.properties import examples
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, normal

SHAPE = (3, 4, 4)
SEEDS = st.integers(0, 2**31)


@st.composite
def flows(draw, smallest=1):
    flow = CurvedFlow(draw(st.integers(smallest, 4)))
    flow.mix.data = draw(st.floats(0.05, 0.6)) * normal(*flow.mix.shape, seed=draw(SEEDS))
    return flow


def latents(batch, seed, scale=1.0):
    return scale * normal(batch, *SHAPE, seed=seed)


@pytest.mark.parametrize("rule", RULES)
@examples(8)
@given(
    flow=flows(),
    batch=st.integers(2, 3),
    seed=SEEDS,
    gradient=st.sampled_from(list(GRADIENTS)),
    scale=st.floats(0.05, 2.0),
    damping=st.floats(0.1, 1.0),
    last_offset=st.booleans(),
    clip=st.sampled_from([None, True, False]),
)
def test_a_sample_is_guided_as_in_a_run_of_its_own(rule, flow, batch, seed, **settings):
    if not settings["last_offset"]:
        assume(rule != "fully_anchored" and (len(flow) > 1 or rule == "noise"))
    z0, settings = latents(batch, seed), {"rule": rule, "iterations": 3, **settings}
    together = list(solve(flow, torch.sigmoid, CurvedEnergy(), z0, **settings))
    for sample in range(batch):
        single = solve(flow, torch.sigmoid, CurvedEnergy(), z0[sample : sample + 1], **settings)
        for a, b in zip(together, single, strict=True):
            for name in ("latent", "image", "energy", "similarity", "residual", "contraction", "diverging"):
                mine, other = getattr(a, name)[sample], getattr(b, name)[0]
                torch.testing.assert_close(mine, other, atol=1e-9, rtol=1e-6, equal_nan=True)


@examples(15)
@given(flow=flows(), seed=SEEDS, data=st.data())
def test_a_pinned_flow_ends_where_it_is_told_with_the_jacobian_of_the_flow(flow, seed, data):
    ends = list(normal(len(flow), 2, *SHAPE, seed=seed))
    k = data.draw(st.integers(0, len(flow) - 1))
    path = Path(latents(2, seed + 1), [torch.ones(2, *SHAPE)] * len(flow)).pinned(ends)
    pin = path.along(flow)
    z, cotangent = latents(2, seed + 2).requires_grad_(), latents(2, seed + 3)
    end = pin.step(k, z)
    torch.testing.assert_close(end, ends[k], atol=0, rtol=0)
    (expected,) = torch.autograd.grad(flow.step(k, z), z, cotangent)
    torch.testing.assert_close(torch.autograd.grad(end, z, cotangent)[0], expected, atol=0, rtol=0)
    with torch.no_grad():
        assert pin.step(k, z) is ends[k]
    assert not any(offset.any() for offset in path.offsets)


@st.composite
def scopes(draw, windows):
    """With one window in it at least, and a mask or none."""
    first = draw(st.integers(0, windows - 1))
    last = draw(st.integers(first, windows - 1))
    masks = [(), (torch.tensor([[1.0, 0.0], [0.5, 0.25]]),), (torch.tensor([[0.0, 1.0], [1.0, 1.0]]),)]
    return GuidanceScope((first / windows, (last + 1) / windows), draw(st.sampled_from(masks)))


@examples(25)
@given(flow=flows(), seed=SEEDS, data=st.data())
def test_however_many_graphs_are_held_the_gradient_is_the_same(flow, seed, data):
    windows = len(flow)
    schedules = {
        name: Schedule(data.draw(st.floats(0.1, 3.0)), scope=data.draw(scopes(windows)))
        for name in "abc"[: data.draw(st.integers(1, 3))]
    }
    energy = WeightedSum([NamedEnergy(name, CurvedEnergy()) for name in schedules], schedules, ["a"])
    arguments = flow, torch.sigmoid, energy, latents(2, seed), list(normal(windows, 2, *SHAPE, seed=seed + 1)), 0
    held, loss_scale = data.draw(st.integers(0, windows)), data.draw(st.sampled_from([1.0, 8.0]))
    some, every = WindowedGradient(held)(*arguments, loss_scale), full(*arguments)
    for a, b in zip([*some.states, *some.gradients], [*every.states, *every.gradients], strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)
