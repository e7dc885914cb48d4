"""The windowed gradient, with the graphs of the last windows held in memory and the other windows run again."""

from __future__ import annotations

import weakref
from collections import Counter

import pytest
import torch

from rectifid_core.scope import GuidanceScope
from rectifid_core.solver.gradient import WindowedGradient, full
from rectifid_core.solver.solve import solve
from tests.helpers.scoped import SHAPES, Watched, picture, quadratic, start
from tests.helpers.worlds import CurvedEnergy, CurvedFlow, GaussianFlow, normal

WINDOWS = 4
GRAPH_WINDOWS = range(WINDOWS + 1)
Z0 = normal(2, 3, 4, 4, seed=7)
OFFSETS = [0.1 * normal(2, 3, 4, 4, seed=seed) for seed in range(WINDOWS)]


def decode(z):
    return torch.sigmoid(z)


def difference(flow, decoder, energy, z0, offsets, graph_windows):
    """Of all that is returned, from the full graph's: the largest, relative to its size."""
    exact = full(flow, decoder, energy, z0, offsets, 0)
    other = WindowedGradient(graph_windows)(flow, decoder, energy, z0, offsets, 0)
    pairs = [*zip(exact[0], other[0], strict=True), (exact[1], other[1]), *zip(exact[3], other[3], strict=True)]
    assert not any(each.requires_grad for pair in pairs for each in pair)
    return max(((a - b).norm() / a.norm().clamp(min=1e-30)).item() for a, b in pairs)


@pytest.mark.parametrize("graph_windows", GRAPH_WINDOWS)
def test_it_gives_the_gradient_of_the_full_graph(graph_windows):
    assert difference(CurvedFlow(WINDOWS), decode, CurvedEnergy(), Z0, OFFSETS, graph_windows) < 1e-10


@pytest.mark.parametrize("graph_windows", GRAPH_WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_energies_with_scopes_give_the_gradient_of_the_full_graph(graph_windows, shape):
    z0, offsets = start(shape)
    flow, energy = (
        Watched(GaussianFlow(WINDOWS, exact=False)),
        quadratic(GuidanceScope(), GuidanceScope((0.5, 1.0)), GuidanceScope((0.0, 0.5))),
    )
    assert difference(flow, picture, energy, z0, offsets, graph_windows) < 1e-10


@pytest.mark.parametrize("graph_windows", GRAPH_WINDOWS)
def test_windows_whose_graph_is_held_are_not_run_again(graph_windows):
    flow = Watched(CurvedFlow(WINDOWS))
    WindowedGradient(graph_windows)(flow, decode, CurvedEnergy(), Z0, OFFSETS, 0)
    assert flow.ran == [*range(WINDOWS), *reversed(range(WINDOWS - graph_windows))]
    assert flow.pulled == [*reversed(range(WINDOWS))]


@pytest.mark.parametrize("graph_windows", GRAPH_WINDOWS)
def test_no_more_graphs_than_asked_for_are_in_memory_at_once(graph_windows):
    """By what autograd has saved and not freed, window by window."""
    alive, most = Counter(), [0]

    class Held:
        def __init__(self, k, tensor):
            self.k, self.tensor = k, tensor
            alive[k] += 1
            most[0] = max(most[0], sum(count > 0 for count in alive.values()))

        def __del__(self):
            alive[self.k] -= 1

    class Flow(CurvedFlow):
        def step(self, k, z):
            with torch.autograd.graph.saved_tensors_hooks(lambda saved: Held(k, saved), lambda held: held.tensor):
                return super().step(k, z)

    WindowedGradient(graph_windows)(Flow(WINDOWS), decode, CurvedEnergy(), Z0, OFFSETS, 0)
    assert most[0] == max(graph_windows, 1)
    assert set(alive.values()) == {0}


@pytest.mark.parametrize("graph_windows", [0, 2])
def test_a_checkpointed_decoder_gives_the_same_gradient(graph_windows):
    arguments = CurvedFlow(WINDOWS), decode, CurvedEnergy(), Z0, OFFSETS, 0
    exact, other = full(*arguments), WindowedGradient(graph_windows, checkpoint_decoder=True)(*arguments)
    for a, b in zip([*exact[0], *exact[3]], [*other[0], *other[3]], strict=True):
        assert (a - b).norm() <= 1e-10 * a.norm()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_checkpointed_decoder_holds_no_graph_while_the_energy_runs(checkpointed):
    inside, alive = [], []

    def decoder(z):
        half_way = torch.sigmoid(z)  # which the square's backward needs
        inside.append(weakref.ref(half_way))
        return half_way.square()

    def energy(image, number):
        alive.append(inside[-1]() is not None)
        return CurvedEnergy()(image, number)

    WindowedGradient(checkpoint_decoder=checkpointed)(CurvedFlow(WINDOWS), decoder, energy, Z0, OFFSETS, 0)
    assert alive == [not checkpointed] and len(inside) == 1 + checkpointed


def test_the_solver_takes_any_gradient():
    asked = []

    class Asked(WindowedGradient):
        def __call__(self, flow, decoder, energy, z0, offsets, number, loss_scale=1.0):
            asked.append((number, loss_scale))
            return super().__call__(flow, decoder, energy, z0, offsets, number, loss_scale)

    runs = [
        list(solve(CurvedFlow(WINDOWS), decode, CurvedEnergy(), Z0, iterations=3, gradient=each, loss_scale=2.0))
        for each in (Asked(2), "full")
    ]
    assert asked == [(0, 2.0), (1, 2.0), (2, 2.0)]
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a.latent, b.latent, rtol=1e-10, atol=1e-10)
