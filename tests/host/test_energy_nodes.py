"""Guidance by other things than an identity, as a graph does it; each bad input with its message."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nodes as host_nodes

WEIGHTS = Path(__file__).parents[2] / "demo" / "weights"
needs_weights = pytest.mark.skipif(not (WEIGHTS / "flow.safetensors").exists(), reason="demo/weights is not here")


def pictures(batch=1, height=40, width=50, channels=3, seed=0):
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def plain(*rgb, size=32):
    return torch.tensor(rgb).expand(1, size, size, 3)


@pytest.fixture
def demo(nodes, job):
    """The job with the embedded model, for the sampler node."""
    job.model, clip, job.vae = nodes["LoadDemoModel"].EXECUTE_NORMALIZED().result
    job.positive = host_nodes.CLIPTextEncode().encode(clip, "a smiling person, gray background")[0]
    job.negative = host_nodes.CLIPTextEncode().encode(clip, "")[0]
    job.latent = host_nodes.EmptyLatentImage().generate(128, 128, 1)[0]
    return {"steps": 4, "guidance_scale": 2.0, "seed": 1}


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

    def test_each_picture_of_a_batch_is_guided_alone(self, run, sample, job):
        (guidance,) = run("ColorGuidance", image=plain(0.2, 0.3, 0.9)).result
        job.latent = {"samples": torch.zeros(2, 16, 8, 8)}
        similarity = torch.tensor(sample(guidance=guidance, iterations=3).result[2].similarity)
        assert similarity.shape == (4, 2) and (similarity[-1] > similarity[0]).all()

    def test_bad_inputs(self, run):
        with pytest.raises(ValueError, match="takes the colours of one image"):
            run("ColorGuidance", image=pictures(2))
        with pytest.raises(ValueError, match="takes the colours of one image, and one mask"):
            run("ColorGuidance", image=pictures(), mask=torch.ones(2, 8, 8))
        with pytest.raises(ValueError, match="the mask is empty"):
            run("ColorGuidance", image=pictures(), mask=torch.zeros(1, 64, 64))
        with pytest.raises(ValueError, match="has only 50 x 4 pixels"):
            run("ColorGuidance", image=pictures(height=4))
        with pytest.raises(ValueError, match="nan or infinite"):
            run("ColorGuidance", image=pictures() / 0)
