"""Color guidance, as a graph does it; each bad input with its message."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.guidance_inputs import pictures, plain
from tests.helpers.places import needs_weights


class TestColor:
    def test_it_moves_the_palette(self, run, sample):
        (guidance,) = run("ColorGuidance", image=plain(0.9, 0.1, 0.1)).result
        report = sample(guidance=guidance, iterations=4).result[2]
        assert report.similarity[-1][0] > report.similarity[0][0]
        assert report.settings["discriminators"] == {}

    @needs_weights
    def test_the_embedded_model_takes_the_colours_of_a_picture(self, run, sample, demo):
        """In 8 iterations the colours come more than halfway: measured 0.742 to 0.904, a distance of 0.258 to 0.096."""
        reference = run("DrawDemoPortrait", identity=8, prompt="a person in a green shirt, yellow background").result[0]
        (guidance,) = run("ColorGuidance", image=reference).result
        report = sample(guidance=guidance, iterations=8, **demo).result[2]
        before, best = report.similarity[0][0], max(row[0] for row in report.similarity)
        assert 1 - best < 0.5 * (1 - before)

    def test_any_layout_and_channels_of_the_picture(self, run, sample):
        image = pictures(1, 24, 20)
        similarity = [
            sample(guidance=run("ColorGuidance", image=each).result[0], iterations=0).result[2].similarity
            for each in (image, image.transpose(1, 2), image.double(), torch.cat([image, torch.ones(1, 24, 20, 1)], -1))
        ]
        assert similarity == [similarity[0]] * 4

    def test_only_the_mask_counts(self, run, sample):
        mask = torch.zeros(1, 32, 32)
        mask[:, :, :16] = 1
        (guidance,) = run("ColorGuidance", image=plain(0.9, 0.1, 0.1), mask=mask).result
        unguided = sample(guidance=guidance, iterations=0).result[1]
        report = sample(guidance=guidance, iterations=4).result[2]
        assert report.similarity[-1][0] > report.similarity[0][0]
        (inside,) = run("ColorGuidance", image=plain(0.9, 0.1, 0.1)).result
        energy = inside.energy()(unguided.movedim(-1, 1)[..., :32], 0)
        assert report.similarity[0] == pytest.approx(energy.similarity.tolist(), abs=1e-6)

    def test_a_mask_of_another_shape(self, run, sample):
        (guidance,) = run("ColorGuidance", image=pictures(), mask=torch.ones(1, 64, 96)).result
        with pytest.raises(ValueError, match="mask.*96 x 64.*64 x 64"):
            sample(guidance=guidance)

    def test_each_picture_of_a_batch_is_guided_by_itself(self, run, sample, job):
        (guidance,) = run("ColorGuidance", image=plain(0.2, 0.3, 0.9)).result
        job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
        similarity = torch.tensor(sample(guidance=guidance, iterations=3).result[2].similarity)
        assert similarity.shape == (4, 2) and (similarity[-1] > similarity[0]).all()

    def test_bad_inputs(self, run):
        with pytest.raises(ValueError, match="one image"):
            run("ColorGuidance", image=pictures(2))
        with pytest.raises(ValueError, match="2 masks"):
            run("ColorGuidance", image=pictures(), mask=torch.ones(2, 8, 8))
        with pytest.raises(ValueError, match="mask is empty"):
            run("ColorGuidance", image=pictures(), mask=torch.zeros(1, 64, 64))
        with pytest.raises(ValueError, match="50 x 4"):
            run("ColorGuidance", image=pictures(height=4))
        with pytest.raises(ValueError, match="nan"):
            run("ColorGuidance", image=pictures() / 0)
