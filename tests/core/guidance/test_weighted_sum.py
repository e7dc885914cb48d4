"""Weighted sums of energies: identities side by side, weights, schedules, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.guidance.base import check_guidance
from rectifid_core.guidance.combination import CombinedGuidance, combine
from rectifid_core.guidance.identity import FACTOR, IdentityGuidance
from rectifid_core.guidance.weighted_sum import Schedule, seed_of
from rectifid_core.identity.encoding import encode_identity
from rectifid_core.images.views import Views
from rectifid_core.report.report import Report
from rectifid_core.solver.best import Best
from rectifid_core.solver.solve import solve
from tests.helpers.people import GREEN, RED, SWAPPED, TWO, ByColor, half, people, references
from tests.helpers.scripted import LEFT, NEAR_RIGHT, RIGHT, Scripted, pictures
from tests.helpers.worlds import Brightness, MinimalFlow, rng


def together(*guidances, **schedules):
    return combine({f"guidance_{n}": (each, Schedule()) for n, each in enumerate(guidances, 1)})


def gradient(energy, image, iteration=0):
    image = image.clone().requires_grad_()
    observation = energy(image, iteration)
    return torch.autograd.grad(observation.energy.sum(), image)[0], observation


def inside(region):
    left, top, right, bottom = (int(edge) for edge in region.box)
    box = torch.zeros(24, 24, dtype=torch.bool)
    box[top:bottom, left:right] = True
    return box


class TestIdentities:
    def test_each_is_pulled_at_its_own_region_and_nowhere_else(self):
        first, second = references(Scripted([[LEFT, RIGHT]]), 7, 8)
        image = pictures(seed=1)
        both, observation = gradient(together(first, second).energy(views=2), image)
        assert both[0, :, ~(inside(LEFT) | inside(RIGHT))].abs().max() == 0
        assert all(both[0, :, inside(region)].any() for region in (LEFT, RIGHT))
        single = combine({"second": (second, Schedule(0)), "guidance_1": (first, Schedule())}).energy(views=0)
        only, _ = gradient(single, image)
        assert only[0, :, inside(LEFT)].any() and not only[0, :, ~inside(LEFT)].any()
        assert list(observation.terms) == ["guidance_1", "guidance_2"]

    @pytest.mark.parametrize("views", [0, 2])
    def test_finite_differences(self, views):
        first, second = references(Scripted([[LEFT, RIGHT], [RIGHT, LEFT]]), 7, 8)
        parts = {
            "first": (first, Schedule(0.5)),
            "second": (second, Schedule(2.0)),
            "dark": (Brightness(), Schedule(3.0)),
        }
        energy = combine(parts).energy(views, 3)
        image, direction = pictures(2, seed=1), torch.randn(2, 3, 24, 24, generator=rng(2), dtype=torch.float64)
        slope = (gradient(energy, image)[0] * direction).flatten(1).sum(dim=1)
        step = 1e-5
        up, down = (energy(image + sign * step * direction, 0).energy for sign in (1, -1))
        torch.testing.assert_close((up - down) / (2 * step), slope, rtol=1e-5, atol=1e-7)

    def test_what_it_reports_is_the_mean_over_who_is_there(self):
        first, second = references(Scripted([[LEFT, RIGHT], [LEFT], []]), 7, 8)
        observation = together(first, second).energy(views=0)(pictures(3, seed=1), 0)
        similarity = torch.stack([part.similarity for part in observation.terms.values()])
        torch.testing.assert_close(observation.similarity[0], similarity[:, 0].mean())
        assert similarity[:, 1].isnan().tolist().count(True) == 1
        torch.testing.assert_close(observation.similarity[1], similarity[:, 1].nanmean())
        assert observation.similarity[2].isnan() and observation.energy[2] == 0
        assert observation.found.tolist() == [True, True, False]
        torch.testing.assert_close(observation.energy[0], FACTOR * (1 - similarity[:, 0]).sum())
        assert not any(part.energy.requires_grad for part in observation.terms.values())

    def test_a_sum_of_one_is_the_plain_energy(self):
        (identity,) = references(Scripted([[LEFT, RIGHT]]), 7)
        image = pictures(seed=1)
        plain = identity.energy(3, 5)(image, 2)
        one = together(identity).energy(3, 5)(image, 2)
        assert one.energy.item() == plain.energy.item() and one.similarity.item() == plain.similarity.item()

    def test_no_two_look_at_the_same_views_and_no_sample_at_anothers(self):
        crop = pictures(seed=1)[:, :, :8, :8]
        first, second = (Views(2, seed_of(5, number))(crop, 0) for number in (0, 1))
        torch.testing.assert_close(first, Views(2, 5)(crop, 0))
        assert not torch.allclose(first, second)
        assert len({seed_of(seed, number) for seed in range(20) for number in range(1, 5)}) == 80

        identities = references(Scripted([[LEFT, RIGHT]] * 2), 7, 8)
        a, b, c = pictures(3, seed=1)
        with_a, with_c = (together(*identities).energy(3, 5)(torch.stack([x, b]), 0) for x in (a, c))
        assert with_a.energy[1].item() == with_c.energy[1].item()
        assert with_a.energy[0] != with_c.energy[0]

    def test_the_same_person_twice_is_two_people(self):
        (identity,) = references(Scripted([[LEFT, RIGHT]]), 7)
        both, _ = gradient(together(identity, identity).energy(views=0), pictures(seed=1))
        assert both[0, :, inside(LEFT)].any() and both[0, :, inside(RIGHT)].any()

    def test_on_different_discriminators_each_detects_for_itself(self):
        (person,) = references(eye := Scripted([[LEFT]]), 7)
        (dog,) = references(nose := Scripted([[RIGHT]], name="nose"), 8)
        guidance = together(person, dog)
        assert guidance.networks == [eye, nose]
        both, observation = gradient(guidance.energy(views=0), pictures(seed=1))
        assert eye.calls == nose.calls == 1
        assert all(both[0, :, inside(region)].any() for region in (LEFT, RIGHT)) and observation.found.all()

    def test_without_a_detector_a_mask_is_the_region(self):
        plain = EmbeddingDiscriminator(Scripted([]).network, name="plain", digest="plain", input_size=8)
        first, second = (encode_identity(plain, [pictures(seed=seed)[0]]) for seed in (7, 8))
        left = IdentityGuidance(first, plain, mask=half("left", (48, 48)))
        only, _ = gradient(left.energy(views=0), pictures(seed=1))
        assert only[0, :, :, :12].any() and not only[0, :, :, 12:].any()
        observation = together(left, IdentityGuidance(second, plain, mask=half("right"))).energy(views=0)(
            pictures(seed=1), 0
        )
        crops = [pictures(seed=1)[..., :12], pictures(seed=1)[..., 12:]]
        for part, identity, crop in zip(observation.terms.values(), (first, second), crops, strict=True):
            expected = identity.similarity(
                plain.embed(torch.nn.functional.interpolate(crop, (8, 8), mode="bilinear", antialias=True))
            )
            torch.testing.assert_close(part.similarity, expected)
        blend = together(*(IdentityGuidance(each, plain) for each in (first, second))).energy(views=0)(
            pictures(seed=1), 0
        )
        assert blend.found.all() and len(blend.terms) == 2, "without masks both have the whole picture"

    def test_a_mask_for_one_identity(self):
        (identity,) = references(Scripted([[LEFT, RIGHT]], [[RIGHT, LEFT]], [[LEFT]]), 7)
        energy = replace(identity, mask=half("right", (10, 10))).energy(views=0)
        found = []
        for i in range(3):
            slope, observation = gradient(energy, pictures(seed=1), i)
            assert slope[0, :, inside(RIGHT)].any() and not slope[0, :, ~inside(RIGHT)].any()
            found.append(observation.found.item())
        assert found == [True, True, False]


class TestRuns:
    def run(self, guidance, start=TWO, iterations=6):
        z0 = torch.logit(start.clamp(0.2, 0.8))[None]
        return list(solve(MinimalFlow(), torch.sigmoid, guidance.energy(views=0), z0, iterations=iterations, scale=3.0))

    def test_both_become_alike(self):
        iterates = self.run(together(*references(Scripted([[LEFT, RIGHT]]), 7, 8)))
        for name, first in iterates[0].terms.items():
            assert iterates[-1].terms[name].similarity > first.similarity + 0.1

    def test_swapped_references_swap_the_people(self):
        """From grey, where nobody looks like anybody yet."""
        for colors in ((RED, GREEN), (GREEN, RED)):
            eye = ByColor([[LEFT, RIGHT]])
            masks = (half("left"), half("right"))
            parts = [replace(each, mask=mask) for each, mask in zip(people(eye, *colors), masks, strict=True)]
            image = self.run(together(*parts), 0.4 + 0.2 * pictures()[0], 20)[-1].image
            crops = eye.crop(image.expand(2, -1, -1, -1), [LEFT, RIGHT]).mean(dim=(2, 3))
            assert crops.argmax(dim=1).tolist() == [color.index(1.0) for color in colors]

    def test_who_is_missing_is_reported_and_the_other_goes_on(self):
        report, best = Report({}), Best()
        for each in self.run(together(*references(Scripted([[LEFT]]), 7, 8))):
            report.append(each)
            best.update(each)
        assert best.number.item() > 0, "the one who is there decides what is best"
        lines = report.text().splitlines()
        assert lines[1].startswith("sample 0: similarity") and len(lines) == 4
        terms = {line.split(":")[0].strip(): line for line in lines[2:]}
        assert list(terms) == ["guidance_1", "guidance_2"]
        assert sum("never found in the picture" in line for line in terms.values()) == 1
        read = report.terms
        assert [[*each] for each in read.values()] == [["energy", "similarity", "found"]] * 2
        assert len(read["guidance_1"]["similarity"]) == 7

    def test_who_was_there_and_is_lost_makes_no_best_picture(self):
        script = [[[LEFT, RIGHT]], [[LEFT, RIGHT]], [[LEFT]]]
        report, best = Report({}), Best()
        for each in self.run(together(*references(Scripted(*script), 7, 8))):
            report.append(each)
            best.update(each)
        assert best.number.item() == 1
        assert "lost sight of it in 5 of 7 pictures" in report.text() and "not found in 5 of 7" in report.text()

    def test_who_loses_the_place_to_another_is_not_forgotten(self):
        identities = people(ByColor([[LEFT, RIGHT]], [[RIGHT]]), RED, GREEN)
        energy = together(*identities).energy(views=0)
        assert energy(TWO[None], 0).found.item()
        observation = energy(SWAPPED[None], 1)
        assert observation.terms["guidance_2"].similarity.isnan() and not observation.found.item()

    def test_each_acts_from_its_iteration_on(self):
        first, second = references(Scripted([[LEFT, RIGHT]]), 7, 8)
        parts = {"first": (first, Schedule(start=2)), "second": (second, Schedule(start=4))}
        images = [each.image[0] for each in self.run(combine(parts))]
        changed = [
            [bool((images[i + 1] != images[i])[:, inside(region)].any()) for region in (LEFT, RIGHT)] for i in range(6)
        ]
        assert sorted(map(sum, zip(*changed, strict=True))) == [2, 4]
        assert [any(each) for each in changed] == [False] * 2 + [True] * 4

    def test_something_else_beside_an_identity(self):
        (identity,) = references(Scripted([[LEFT]]), 7)
        parts = {"dark": (Brightness(), Schedule(50.0)), "person": (identity, Schedule())}
        iterates = self.run(combine(parts))
        assert iterates[-1].image[0, :, ~inside(LEFT)].mean() < iterates[0].image[0, :, ~inside(LEFT)].mean()
        assert iterates[-1].similarity.item() == iterates[-1].terms["person"].similarity.item() > iterates[0].similarity
        report = Report({})
        for each in iterates:
            report.append(each)
        assert "  dark: similarity" in report.text()
        single = self.run(combine({"dark": parts["dark"]}))
        assert single[0].similarity.item() == pytest.approx(1 - single[0].image.mean().item()) and single[0].found.all()


class TestCombine:
    def test_the_energy_is_the_weighted_sum(self):
        first, second = references(Scripted([[LEFT, RIGHT]]), 7, 8)
        parts = {"a": (first, Schedule(0.25)), "b": (second, Schedule(4.0)), "c": (Brightness(), Schedule(7.0))}
        observation = combine(parts).energy(2, 1)(pictures(seed=1), 0)
        expected = sum(
            weight * observation.terms[name].energy for name, weight in (("a", 0.25), ("b", 4.0), ("c", 7.0))
        )
        torch.testing.assert_close(observation.energy.detach(), expected)

    def test_a_combination_of_combinations_is_one(self):
        first, second = references(Scripted([[LEFT, RIGHT]]), 7, 8)
        inner = combine({"x": (first, Schedule(2.0, 3)), "y": (second, Schedule(0.5, 9))})
        outer = combine({"a": (inner, Schedule(3.0, 5)), "b": (Brightness(), Schedule())})
        assert {name: schedule for name, (_, schedule) in outer.terms.items()} == {
            "a/x": Schedule(6.0, 5),
            "a/y": Schedule(1.5, 9),
            "b": Schedule(),
        }
        both, _ = gradient(together(combine({"x": (first, Schedule())}), second).energy(views=0), pictures(seed=1))
        assert both[0, :, inside(LEFT)].any() and both[0, :, inside(RIGHT)].any(), "still two people"

    def test_the_networks_are_named_once(self):
        first, second = references(eye := Scripted([[LEFT]]), 7, 8)
        (dog,) = references(nose := Scripted([[RIGHT]], name="nose"), 9)
        assert together(first, dog, second, Brightness()).networks == [eye, nose]

    def test_what_weighs_nothing_is_not_there(self):
        (person,) = references(Scripted([[LEFT]]), 7)
        (dog,) = references(nose := Scripted([[RIGHT]], name="nose"), 9)
        guidance = combine({"person": (person, Schedule()), "dog": (dog, Schedule(0.0))})
        assert nose not in guidance.networks and list(guidance.terms) == ["person"]

    @pytest.mark.parametrize(
        ("schedules", "message"),
        [
            ([], "nothing is connected"),
            ([Schedule(0.0), Schedule(0.0)], "all weights are 0"),
            ([Schedule(-1.0)], "guidance_0.*-1.0"),
            ([Schedule(float("nan"))], "guidance_0.*nan"),
            ([Schedule(start=-1)], "guidance_0.*-1"),
        ],
    )
    def test_what_cannot_be_combined_is_refused(self, schedules, message):
        with pytest.raises(ValueError, match=message):
            combine({f"guidance_{n}": (Brightness(), schedule) for n, schedule in enumerate(schedules)})

    def test_masks_that_do_not_fit_are_refused(self):
        first, second = references(Scripted([[LEFT, RIGHT]]), 7, 8)
        with pytest.raises(ValueError, match="mask is empty.*identity"):
            replace(first, mask=torch.zeros(24, 24))
        wide = replace(first, mask=torch.ones(24, 48))
        for guidance in (wide, together(wide, second)):
            with pytest.raises(ValueError, match="mask.*48 x 24.*picture.*24 x 24"):
                guidance.energy()(pictures(), 0)
        rounded = replace(first, mask=torch.ones(1000, 1016))
        assert rounded.energy(views=0)(pictures(), 0).found.all(), "sides are rounded to what a model draws"

    def test_an_identity_is_guidance(self):
        (identity,) = references(Scripted([[LEFT]]), 7)
        assert check_guidance(identity) is identity
        guidance = together(identity)
        assert check_guidance(guidance) is guidance and isinstance(guidance, CombinedGuidance)


def test_the_detector_rests_as_the_most_demanding_one_allows():
    first, second = references(eye := Scripted([[LEFT, RIGHT]], [[LEFT, NEAR_RIGHT]]), 7, 8)
    guidance = together(replace(first, detect_every=4), replace(second, detect_every=2))
    energy = guidance.energy(views=0)
    for i in range(4):
        energy(pictures(seed=1), i)
    assert eye.calls == 2
