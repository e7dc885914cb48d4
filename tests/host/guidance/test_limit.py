"""Limited guidance, as a graph does it, on the small job."""

import pytest
import torch

from tests.helpers.guidance_inputs import half, terms_of


class TestLimit:
    @pytest.fixture
    def limit(self, run):
        return lambda guidance, **limits: run("LimitGuidance", guidance=guidance, **limits).result[0]

    @pytest.fixture
    def offsets(self, look_inside):
        """Of the run that follows: d_0 ... d_(K-2) of each iterate, where the next window starts."""
        seen, end = [], {}

        def probe(flow, decode, energy, z0):
            step = flow.step

            def watched(k, z):
                if k > 0:
                    seen.append(z.detach() - end["z"])
                end["z"] = (out := step(k, z)).detach()
                return out

            flow.step = watched

        look_inside(probe)
        return seen

    def test_without_limits_it_changes_no_bit(self, sample, job, limit):
        plain, limited = (sample(guidance=each).result for each in (job.identity, limit(job.identity)))
        assert torch.equal(plain[0]["samples"], limited[0]["samples"])
        assert plain[2].similarity == limited[2].similarity

    def test_it_acts_from_one_iteration_to_another(self, sample, job, limit, colors, run):
        def energies(guidance):
            (guidance,) = run("CombineGuidance", guidance_1=job.identity, guidance_2=guidance).result
            report = sample(guidance=guidance, iterations=5).result[2]
            terms = terms_of(report)
            both = [terms["guidance_1"]["energy"][i][0] + terms["guidance_2"]["energy"][i][0] for i in range(6)]
            alone = [row[0] for row in terms["guidance_1"]["energy"]]
            return [row[0] for row in report.energy], alone, both

        total, alone, both = energies(limit(colors, start_iteration=2, end_iteration=4))
        assert total == pytest.approx([*alone[:2], *both[2:4], *alone[4:]])
        _, plain, _ = energies(limit(colors, start_iteration=5))
        assert alone[:3] == pytest.approx(plain[:3]) and alone[3] != plain[3]

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point"])
    def test_every_offset_is_zero_outside_the_mask(self, sample, job, limit, offsets, rule):
        guidance = limit(job.identity, mask=half("left"))
        image = sample(guidance=guidance, iterations=3, gradient="full", update_rule=rule).result[1]
        seen = torch.stack(offsets)
        assert not seen[..., 4:].any() and seen[..., :4].flatten(1).any(dim=1).tolist() == [False] * 2 + [True] * 6
        unguided = sample(guidance=guidance, iterations=0).result[1]
        assert (image != unguided)[:, :, 32:].any(), "the model answers to it: no promise for the picture itself"

    @pytest.mark.parametrize("rule", ["accumulated", "fixed_point"])
    def test_the_last_step_alone_leaves_the_rest_of_the_latent_bit_for_bit(self, sample, job, limit, rule):
        guidance = limit(job.identity, mask=half("left", 128), start_percent=0.7)
        settings = {"guidance": guidance, "keep": "last", "update_rule": rule}
        guided = sample(iterations=3, **settings).result[0]["samples"]
        unguided = sample(iterations=0, **settings).result[0]["samples"]
        assert torch.equal(guided[..., 4:], unguided[..., 4:]) and (guided != unguided)[..., :4].any()

    def test_only_the_steps_between_the_percents(self, sample, job, limit, offsets):
        sample(guidance=limit(job.identity, start_percent=0.4, end_percent=0.6), iterations=2, gradient="full")
        moved = torch.stack(offsets).flatten(1).any(dim=1).tolist()
        assert moved == [False, False, False, True, False, True], "d_1 of three, after the first correction"

    def test_two_people_under_limits_of_their_own(self, run, sample, job, other, limit):
        """As the full graph, which has one gradient for each."""
        parts = [
            limit(job.identity, mask=half("left"), end_percent=0.7),
            limit(other, mask=half("right"), start_iteration=1),
        ]
        (both,) = run("CombineGuidance", guidance_1=parts[0], guidance_2=parts[1]).result
        windowed, full = (sample(guidance=both, iterations=3, gradient=way).result for way in ("windowed", "full"))
        torch.testing.assert_close(windowed[0]["samples"], full[0]["samples"], atol=1e-3, rtol=0)
        assert list(terms_of(full[2])) == ["guidance_1", "guidance_2"]

    def test_any_order_of_limits_and_combinations(self, run, sample, job, colors, limit):
        limits = {"start_iteration": 1, "end_percent": 0.6, "mask": half("left")}
        (before,) = run(
            "CombineGuidance", guidance_1=limit(job.identity, **limits), guidance_2=limit(colors, **limits)
        ).result
        after = limit(run("CombineGuidance", guidance_1=job.identity, guidance_2=colors).result[0], **limits)
        apart = limit(limit(limit(after, start_iteration=1), end_percent=0.6), mask=half("left"))
        latents = [sample(guidance=each, iterations=3).result[0]["samples"] for each in (before, after, apart)]
        assert torch.equal(latents[0], latents[1]) and torch.equal(latents[0], latents[2])

    def test_a_latent_with_a_frame_axis(self, pack, job, limit):
        scope = next(iter(limit(job.identity, mask=half("left")).terms.values()))[1].scope
        mask = scope.mask_on(torch.zeros(1, 16, 1, 8, 8), (64, 64))
        assert mask.shape == (8, 8) and mask[:, :4].eq(1).all() and not mask[:, 4:].any()

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            (
                {"start_percent": 0.5, "end_percent": 0.5},
                "from 0.5 to 0.5 of the steps, which is never: the start must",
            ),
            ({"start_percent": float("nan")}, "start_percent is nan, and must be a number from 0"),
            ({"start_iteration": 5, "end_iteration": 5}, "from iteration 5 to 5, which is never: let it end after it"),
            ({"mask": torch.zeros(1, 64, 64)}, "mask is empty: paint over what may change, or disconnect the mask"),
            ({"mask": torch.ones(2, 64, 64)}, "there are 2 masks: connect one, of what may change in every picture"),
            ({"mask": torch.ones(1, 8, 8) / 0}, "the mask of what may change has values that are nan or infinite"),
        ],
    )
    def test_limits_that_leave_nothing(self, job, limit, limits, message):
        with pytest.raises(ValueError, match=message):
            limit(job.identity, **limits)

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            ({"start_percent": 0.2, "end_percent": 0.4}, "no step of 3 has its middle between 0.2 and 0.4 of the way"),
            (
                {"mask": torch.ones(1, 64, 96)},
                "mask has 96 x 64 pixels and the picture 64 x 64: they must have the same",
            ),
        ],
    )
    def test_limits_that_the_picture_cannot_have(self, sample, job, limit, limits, message):
        with pytest.raises(ValueError, match=message):
            sample(guidance=limit(job.identity, start_iteration=1, **limits))

    def test_a_start_after_the_end(self, run, sample, job, limit, colors, caplog):
        late = limit(job.identity, start_iteration=4)
        message = "guidance starts at iteration 4, and the run has 4, from 0 to 3, so that it never acts: let it start"
        with pytest.raises(ValueError, match=message):
            sample(guidance=late, iterations=4)
        assert sample(guidance=late, iterations=0).result[0]["samples"].isfinite().all()
        (both,) = run("CombineGuidance", guidance_1=late, guidance_2=colors).result
        report = sample(guidance=both, iterations=4).result[2]
        assert "guidance_1 starts at iteration 4, and the run has 4" in caplog.text
        assert report.energy[:4] == report.terms["guidance_2"]["energy"][:4]
        sample(guidance=late, iterations=5)

    def test_masks_without_a_common_place(self, sample, job, limit):
        guidance = limit(limit(job.identity, mask=half("left")), mask=half("right"))
        with pytest.raises(ValueError, match="masks that confine this guidance have no place in common"):
            sample(guidance=guidance)
