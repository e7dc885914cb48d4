"""Find Seed: of a number of unguided pictures the one that is nearest to the reference."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def find(run, job):
    def find(**changes):
        inputs = {
            "model": job.model,
            "positive": job.positive,
            "negative": job.negative,
            "latent_image": job.latent,
            "vae": job.vae,
            "guidance": job.identity,
            "seed": 3,
            "count": 4,
            "steps": 2,
        }
        return run("FindSeed", **{**inputs, **changes}).result

    return find


def test_no_other_seed_is_nearer(find, sample):
    seed, picture = find()
    drawn = {each: sample(seed=each, steps=2, iterations=0).result for each in range(3, 7)}
    alike = {each: report.similarity[0][0] for each, (_, _, report) in drawn.items()}
    assert len(set(alike.values())) == 4
    # the similarity is that of random views, which vary a little
    assert alike[seed] >= sorted(alike.values())[-2]
    assert torch.equal(picture, drawn[seed][1])


def test_a_count_of_1_returns_the_seed_and_seeds_wrap_around(find):
    assert find(count=1)[0] == 3
    assert find(seed=2**64 - 1, count=2)[0] in (2**64 - 1, 0)


def test_pictures_without_a_face_are_refused(find, job, monkeypatch):
    eye = job.identity.discriminator._discriminator
    monkeypatch.setattr(eye, "locate", lambda image, query=None: [[]] * len(image))
    with pytest.raises(ValueError, match="none of the 4"):
        find()


def test_one_frame_of_a_video_model_is_refused(find):
    """The shape of Wan's and Qwen's latents, for a model of pictures."""
    with pytest.raises(ValueError, match="latent is one of a video model"):
        find(latent_image={"samples": torch.ones(1, 16, 1, 8, 8)})


@pytest.mark.parametrize("junk", [None, 7, "text", [7], {}, torch.ones(3)], ids=lambda junk: type(junk).__name__)
@pytest.mark.parametrize("socket", ["model", "positive", "negative", "latent_image", "vae"])
def test_what_is_none_of_its_kind_is_named(find, socket, junk):
    with pytest.raises(ValueError, match=f"There is no VAE|arrives at {socket}, where"):
        find(**{socket: junk})
