"""Where and when an energy acts: the gradient is the stated sum, exactly, at the stated cost."""

from __future__ import annotations

import itertools
import math
from dataclasses import astuple, replace

import pytest
import torch
from torch import Tensor

from rectifid_core.guidance.combination import CombinedGuidance, combine, limit
from rectifid_core.guidance.weighted_sum import NamedEnergy, Schedule, WeightedSum
from rectifid_core.interfaces import Observation
from rectifid_core.scope import EVERYWHERE, GuidanceScope
from rectifid_core.solver.gradient import full, windowed
from rectifid_core.solver.rules import RULES
from rectifid_core.solver.solve import solve
from tests.helpers.people import half, references
from tests.helpers.scoped import (
    CENTRES,
    HALF,
    HESSIANS,
    MASK,
    ON_LATENT,
    SHAPES,
    WINDOWS,
    Watched,
    picture,
    quadratic,
    start,
)
from tests.helpers.scripted import LEFT, RIGHT, Scripted, pictures
from tests.helpers.worlds import (
    Brightness,
    CurvedEnergy,
    CurvedFlow,
    GaussianFlow,
    MinimalFlow,
    QuadraticEnergy,
    normal,
)


class TestGradient:
    @pytest.mark.parametrize("differentiate", [windowed, full])
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_each_energy_acts_within_its_scope(self, differentiate, shape):
        """g_k = sum of weight * mask * P_k^T H (z_K - c) over the energies whose scope has window k."""
        flow, (z0, offsets) = GaussianFlow(WINDOWS, exact=True), start(shape)
        scopes = [GuidanceScope(), GuidanceScope((0.5, 1.0), (MASK,)), GuidanceScope((0.25, 0.75))]
        energy = quadratic(*scopes)
        states, _, observation, g = differentiate(Watched(flow), picture, energy, z0, offsets, 0)
        acts = [[True] * 5, [False, False, True, True, True], [False, True, True, False, False]]
        for k in range(WINDOWS + 1):
            expected = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
            for e, weight in enumerate((1.0, 0.7, 2.0)):
                pull = (states[-1].flatten(1) - CENTRES[e]) @ HESSIANS[e] @ flow.downstream(k)
                expected += weight * acts[e][k] * (ON_LATENT if e == 1 else 1.0) * pull.view(2, 3, 2, 2)
            torch.testing.assert_close(g[k], expected.view(shape), atol=1e-10, rtol=0)
        torch.testing.assert_close(observation.energy, sum(observation.by_scope.values()))
        assert not any(each.requires_grad for each in (observation.energy, *observation.by_scope.values()))

    def test_windowed_and_full_agree_on_a_curved_flow(self):
        flow, z0 = CurvedFlow(), normal(3, 3, 4, 4, seed=7)
        offsets = list(0.3 * normal(4, *z0.shape, seed=8))
        schedules = {
            "a": Schedule(),
            "b": Schedule(0.5, scope=GuidanceScope((0.5, 1.0))),
            "c": Schedule(scope=GuidanceScope(masks=(HALF,))),
        }
        energies = [
            NamedEnergy("a", CurvedEnergy()),
            NamedEnergy("b", Brightness().energy()),
            NamedEnergy("c", Brightness().energy()),
        ]
        runs = [
            run(flow, torch.sigmoid, WeightedSum(energies, schedules, ["a"]), z0, offsets, 0)
            for run in (windowed, full)
        ]
        torch.testing.assert_close(runs[0][3], runs[1][3], atol=1e-12, rtol=0)
        first = windowed(flow, torch.sigmoid, CurvedEnergy(), z0, offsets, 0)[3]
        assert all((a != b).any() for a, b in zip(runs[0][3], first, strict=True))

    @pytest.mark.parametrize("loss_scale", [1.0, 64.0])
    def test_a_loss_scale_changes_nothing(self, loss_scale):
        z0, offsets = start()
        scopes = [GuidanceScope(), GuidanceScope((0.5, 1.0), (MASK,))]
        plain, scaled = (
            run(Watched(GaussianFlow(4, True)), picture, quadratic(*scopes), z0, offsets, 0, loss_scale)[3]
            for run in (windowed, full)
        )
        torch.testing.assert_close(plain, scaled, atol=1e-12, rtol=0)

    def test_a_soft_edge_and_two_masks(self):
        z0, offsets = start()
        flow = GaussianFlow(WINDOWS, exact=True)
        whole, once, twice, with_half = (
            windowed(Watched(flow), picture, quadratic(GuidanceScope(masks=masks)), z0, offsets, 0)[3]
            for masks in ((), (MASK,), (MASK, MASK), (MASK, HALF))
        )
        for k, g in enumerate(whole):
            torch.testing.assert_close(once[k], ON_LATENT * g)
            torch.testing.assert_close(twice[k], ON_LATENT**2 * g)
            torch.testing.assert_close(with_half[k], ON_LATENT * torch.tensor([1.0, 0.0]) * g)

    @pytest.mark.parametrize("differentiate", [windowed, full])
    def test_an_energy_that_starts_later_gives_no_gradient_yet(self, differentiate):
        (z0, offsets), flow = start(), Watched(GaussianFlow(WINDOWS, exact=True))
        members = [NamedEnergy("late", QuadraticEnergy(HESSIANS[0], CENTRES[0]))]
        energy = WeightedSum(members, {"late": Schedule(start=2)}, ["late"])
        _, _, observation, g = differentiate(flow, picture, energy, z0, offsets, 1)
        assert not any(each.any() for each in g) and not observation.energy.any() and not flow.pulled
        assert differentiate(flow, picture, energy, z0, offsets, 2)[3][0].any()


class TestOneScope:
    @pytest.mark.parametrize("differentiate", [windowed, full])
    def test_one_scope_gives_the_plain_gradient_to_the_bit(self, differentiate):
        flow, z0 = CurvedFlow(), normal(3, 3, 4, 4, seed=7)
        offsets = list(0.3 * normal(4, *z0.shape, seed=8))
        energy = WeightedSum([NamedEnergy("a", CurvedEnergy())], {"a": Schedule()}, ["a"])
        runs = [differentiate(flow, torch.sigmoid, each, z0, offsets, 0) for each in (CurvedEnergy(), energy)]
        for plain, summed in zip(runs[0][3], runs[1][3], strict=True):
            assert torch.equal(plain, summed)
        assert torch.equal(runs[0][2].energy, runs[1][2].energy)

    def test_windowed_is_the_chain_rule_to_the_bit(self):
        flow, z0 = CurvedFlow(), normal(3, 3, 4, 4, seed=7)
        offsets = list(0.3 * normal(4, *z0.shape, seed=8))
        states, _, _, g = windowed(flow, torch.sigmoid, CurvedEnergy(), z0, offsets, 0)
        z = states[-1].clone().requires_grad_()
        (cotangent,) = torch.autograd.grad(CurvedEnergy()(torch.sigmoid(z), 0).energy.sum(), z)
        assert torch.equal(g[-1], cotangent)
        for k in reversed(range(4)):
            z = states[k].clone().requires_grad_()
            (cotangent,) = torch.autograd.grad(flow.step(k, z), z, cotangent)
            assert torch.equal(g[k], cotangent)

    def test_a_limit_to_everything_changes_nothing(self):
        def run(guidance):
            z0 = torch.logit(pictures(seed=1).clamp(0.2, 0.8))
            return [*solve(MinimalFlow(), torch.sigmoid, guidance.energy(2, 3), z0, iterations=3, scale=3.0)][-1]

        (identity,) = references(Scripted([[LEFT, RIGHT]]), 7)
        plain, limited = run(identity), run(limit(identity, 0, 10000, GuidanceScope((0.0, 1.0))))
        assert torch.equal(plain.latent, limited.latent) and torch.equal(plain.similarity, limited.similarity)


class TestCost:
    """How often each window is differentiated; all chains share the window's forward."""

    @pytest.mark.parametrize(
        ("scopes", "pulled"),
        [
            ([GuidanceScope()], [1, 1, 1, 1]),
            ([GuidanceScope(), GuidanceScope(), GuidanceScope()], [1, 1, 1, 1]),
            ([GuidanceScope(masks=(MASK,)), GuidanceScope(masks=(MASK.clone(),))], [1, 1, 1, 1]),
            ([GuidanceScope(), GuidanceScope(masks=(MASK,))], [2, 2, 2, 2]),
            ([GuidanceScope((0.5, 1.0))], [0, 0, 1, 1]),
            ([GuidanceScope(), GuidanceScope((0.75, 1.0))], [1, 1, 1, 2]),
            ([GuidanceScope((0.0, 0.5)), GuidanceScope((0.5, 1.0)), GuidanceScope((0.25, 0.5))], [1, 2, 3, 3]),
        ],
    )
    def test_each_scope_costs_one_chain_down_to_its_first_window(self, scopes, pulled):
        z0, offsets = start()
        for differentiate in (windowed, full):
            flow = Watched(GaussianFlow(WINDOWS, exact=True))
            differentiate(flow, picture, quadratic(*scopes), z0, offsets, 0)
            assert [flow.pulled.count(k) for k in range(WINDOWS)] == pulled
            again = [] if differentiate is full else [k for k in range(WINDOWS) if pulled[k]][::-1]
            assert flow.ran == [*range(WINDOWS), *again]


class TestSolver:
    """Where nothing may change, no offset ever differs from 0."""

    def run(self, scope, rule="accumulated", **settings):
        flow = Watched(GaussianFlow(WINDOWS, exact=True))
        settings = {"iterations": 4, "scale": 0.5, "rule": rule, "gradient": "full", **settings}
        return flow, list(solve(flow, picture, quadratic(scope), start()[0], **settings))

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point"])
    def test_every_offset_is_zero_outside_the_mask(self, rule):
        flow, iterates = self.run(GuidanceScope(masks=(HALF,)), rule)
        offsets = torch.stack(flow.offsets)
        assert not offsets[..., 1].any() and offsets[..., 0].any()
        moved = iterates[-1].latent - iterates[0].latent
        assert moved[..., 1].any(), "this flow mixes all places: what may change moves the rest along"

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point", "fully_anchored"])
    def test_in_the_last_window_nothing_changes_outside_the_mask(self, rule):
        _, iterates = self.run(GuidanceScope((0.75, 1.0), (HALF,)), rule)
        moved = iterates[-1].latent - iterates[0].latent
        assert moved[..., 0].any()
        torch.testing.assert_close(moved[..., 1], torch.zeros_like(moved[..., 1]), atol=1e-14, rtol=0)

    def test_the_noise_changes_inside_the_mask_only(self):
        noise = []

        class Noticing(Watched):
            def step(self, k, z):
                if k == 0:
                    noise.append(z.detach())
                return super().step(k, z)

        flow = Noticing(GaussianFlow(WINDOWS, exact=True))
        list(solve(flow, picture, quadratic(GuidanceScope(masks=(HALF,))), start()[0], rule="noise", iterations=3))
        moved = torch.stack(noise) - noise[0]
        assert moved[-1, ..., 0].any() and not moved[..., 1].any()

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point"])
    def test_only_the_offsets_of_its_windows_move(self, rule):
        flow, _ = self.run(GuidanceScope((0.25, 0.75)), rule)
        offsets = torch.stack(flow.offsets).unflatten(0, (-1, WINDOWS - 1))  # d_0, d_1, d_2 of each iterate
        moved = [bool(offsets[1:, k].any()) for k in range(WINDOWS - 1)]
        assert moved == [False, True, True]

    def test_after_its_end_an_accumulated_change_stays_and_a_fixed_point_forgets_it(self):
        for rule, stays in (("accumulated", True), ("fixed_point", False)):
            members = [NamedEnergy("early", QuadraticEnergy(HESSIANS[0], CENTRES[0]))]
            energy = WeightedSum(members, {"early": Schedule(end=3)}, ["early"])
            z0 = start()[0]
            latents = [
                each.latent
                for each in solve(Watched(GaussianFlow(4, True)), picture, energy, z0, rule=rule, iterations=40)
            ]
            assert (latents[3] != latents[2]).any()
            assert torch.equal(latents[4], latents[3]) == stays
            assert torch.allclose(latents[-1], latents[0], atol=1e-9) != stays

    @pytest.mark.parametrize("rule", RULES)
    def test_windowed_and_full_agree_for_every_rule(self, rule):
        schedules = {"a": Schedule(), "b": Schedule(scope=GuidanceScope((0.5, 1.0), (HALF,)), start=1, end=3)}
        z0 = normal(3, 3, 4, 4, seed=7)
        runs = []
        for gradient in ("windowed", "full"):
            members = [NamedEnergy("a", CurvedEnergy()), NamedEnergy("b", Brightness().energy())]
            energy, settings = WeightedSum(members, schedules, ["a"]), {"rule": rule, "gradient": gradient}
            runs.append(list(solve(CurvedFlow(), torch.sigmoid, energy, z0, iterations=5, scale=0.3, **settings)))
        for a, b in zip(*runs, strict=True):
            torch.testing.assert_close(a.latent, b.latent, atol=1e-10, rtol=0)
            assert not any(x.requires_grad for x in astuple(a) if isinstance(x, Tensor))


class TestGuidance:
    def test_two_identities_act_within_their_own_limits(self):
        """Two identities stay two people, each in its iterations and under its mask."""
        first, second = references(Scripted([[LEFT, RIGHT]]), 7, 8)
        first, second = replace(first, mask=half("left")), replace(second, mask=half("right"))
        parts = {
            "first": (limit(first, end=2), Schedule()),
            "second": (limit(second, start=2, scope=GuidanceScope(masks=(half("right"),))), Schedule()),
        }
        z0 = torch.logit(pictures(seed=1).clamp(0.2, 0.8))
        energy = combine(parts).energy(views=0)
        # of the published rule, whose offsets stay when a guidance ends: an anchor would draw them back
        iterates = list(solve(MinimalFlow(), torch.sigmoid, energy, z0, rule="accumulated", iterations=4, scale=3.0))
        changed = [(b.latent != a.latent).any(dim=1)[0] for a, b in itertools.pairwise(iterates)]
        assert all(each.any() for each in changed)
        assert not any(each[:, 12:].any() for each in changed[:2])
        assert not any(each[:, :12].any() for each in changed[2:])
        assert list(iterates[0].terms) == ["first", "second"], "a limit adds no level to the names"

    def test_limits_of_limits_and_of_combinations_allow_what_all_allow(self):
        (identity,) = references(Scripted([[LEFT]]), 7)
        inner = limit(
            limit(identity, 2, 8, GuidanceScope((0.0, 0.75), (MASK,))), 4, 20, GuidanceScope((0.25, 1.0), (HALF,))
        )
        (_, schedule), *others = inner.terms.values()
        assert schedule == Schedule(1.0, 4, 8, GuidanceScope((0.25, 0.75), (HALF, MASK))) and not others
        pair = combine({"x": (inner, Schedule(2.0)), "y": (Brightness(), Schedule(3.0))})
        outer = combine({"a": (limit(pair, end=6, scope=GuidanceScope((0.5, 1.0))), Schedule(5.0))})
        assert isinstance(outer, CombinedGuidance)
        assert {name: schedule for name, (_, schedule) in outer.terms.items()} == {
            "a/x": Schedule(10.0, 4, 6, GuidanceScope((0.5, 0.75), (HALF, MASK))),
            "a/y": Schedule(15.0, 0, 6, GuidanceScope((0.5, 1.0))),
        }

    def test_equal_limits_share_one_scope(self):
        parts = {
            name: (limit(Brightness(), scope=GuidanceScope((0.5, 1.0), (MASK.clone(),))), Schedule()) for name in "abc"
        }
        observation = combine(parts).energy()(pictures(), 0)
        assert len(observation.by_scope) == 1 and observation.energy == 3 * Brightness().energy()(pictures(), 0).energy
        assert (
            GuidanceScope(masks=(MASK,)) != GuidanceScope(masks=(MASK + 0.1,))
            and GuidanceScope((0.0, 0.5)) != EVERYWHERE != "a scope"
        )


class TestRefusals:
    @pytest.mark.parametrize("windows", [(0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0.5, 1.1), (math.nan, 1.0)])
    def test_a_range_without_steps_is_refused(self, windows):
        with pytest.raises(ValueError, match="steps.*start must be below the end"):
            GuidanceScope(windows)

    @pytest.mark.parametrize("iterations", [(5, 5), (6, 5), (0, 0)])
    def test_a_range_without_iterations_is_refused(self, iterations):
        with pytest.raises(ValueError, match="from iteration . to ."):
            limit(Brightness(), *iterations)
        early, late = limit(Brightness(), 0, 5), limit(Brightness(), 5)
        assert next(iter(early.terms.values()))[1].end == next(iter(late.terms.values()))[1].start
        with pytest.raises(ValueError, match="from iteration 5 to 5"):
            limit(early, 5)

    def test_an_empty_mask_is_refused(self):
        with pytest.raises(ValueError, match="mask is empty"):
            GuidanceScope(masks=(torch.zeros(4, 4),))

    @pytest.mark.parametrize(
        ("scope", "message"),
        [
            (
                GuidanceScope((0.4, 0.6)),
                "no step of 4.*0.4 and 0.6",
            ),
            (
                GuidanceScope(masks=(torch.ones(4, 8),)),
                "mask.*8 x 4.*picture.*2 x 2",
            ),
            (GuidanceScope(masks=(HALF, 1 - HALF)), "masks.*in common"),
        ],
    )
    def test_a_scope_that_does_not_fit_the_run_is_refused_at_once(self, scope, message):
        """Though the guidance starts later."""
        energy = WeightedSum([NamedEnergy("a", CurvedEnergy())], {"a": Schedule(start=3, scope=scope)}, ["a"])
        for gradient in ("windowed", "full"):
            with pytest.raises(ValueError, match=message):
                next(solve(Watched(GaussianFlow(4, True)), picture, energy, start()[0], gradient=gradient))

    @pytest.mark.parametrize(
        ("count", "windows", "expected"),
        [
            (4, (0.0, 0.5), [0, 1]),
            (4, (0.5, 1.0), [2, 3]),
            (4, (0.2, 0.7), [1, 2]),
            (3, (0.0, 0.5), [0]),
            (3, (0.5, 1.0), [1, 2]),
            (1, (0.4, 0.6), [0]),
            (8, (0.75, 1.0), [6, 7]),
        ],
    )
    def test_a_window_belongs_where_its_middle_is(self, count, windows, expected):
        assert list(GuidanceScope(windows).windows_of(count)) == expected


def test_an_energy_without_a_scope_acts_everywhere():
    observation = Observation(torch.ones(2), torch.ones(2))
    assert observation.by_scope is None and EVERYWHERE == GuidanceScope() == GuidanceScope((0.0, 1.0), ())
    assert EVERYWHERE.mask_on(torch.zeros(1, 4, 2, 2), (16, 16)) is None
    large = GuidanceScope(masks=(torch.full((1024, 1024), 0.5),)).mask_on(torch.zeros(1, 4, 16, 16), (128, 128))
    torch.testing.assert_close(large, torch.full((16, 16), 0.5))
