"""What a run ends with: the right preview, no stop while the face is lost, the best so far if a network breaks."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import comfy.samplers
import comfy.utils
import numpy as np
import pytest
import torch
from comfy_extras.nodes_custom_sampler import SplitSigmas

import nodes as host_nodes


@pytest.fixture
def shown(pack, monkeypatch):
    """The pictures of all previews, as they came."""
    pictures = []
    monkeypatch.setattr(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id: pictures.append((value, total, preview and np.asarray(preview[1]))),
    )
    return pictures


def as_bytes(image):
    return (torch.cat(list(image), dim=1) * 255).round().byte().numpy()


@pytest.fixture
def observed(pack, monkeypatch):
    """`observed(found, similarity)`: of each iteration, in the place of what the recogniser says."""
    energy = pack("rectifid_core.guidance.identity").IdentityEnergy
    observe = energy.__call__

    def of(found, similarity):
        def told(self, image, iteration):
            observation = observe(self, image, iteration)
            here = torch.full((len(image),), found(iteration))
            return replace(observation, found=here, similarity=0 * observation.similarity + similarity(iteration))

        monkeypatch.setattr(energy, "__call__", told)

    return of


def test_the_last_preview_is_the_result(sample, shown, observed):
    observed(lambda iteration: True, lambda iteration: 0.9 if iteration == 2 else 0.1)
    image = sample(iterations=6)[1]
    value, total, picture = shown[-1]
    assert value == total == 7
    assert np.array_equal(picture, as_bytes(image))


def test_a_run_that_stops_early_ends_with_a_full_bar(sample, shown):
    report = sample(iterations=6, stop_at_similarity=0.01, guidance_scale=2.0).result[2]
    assert len(report.number) < 7
    assert shown[-1][0] == shown[-1][1] == 7


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_face_that_is_lost_does_not_stop_the_run(sample, observed, keep):
    """A face that is lost keeps its place, and what is there may look like it."""
    observed(lambda iteration: iteration in (0, 3), lambda iteration: 0.9 if iteration else 0.2)
    report = sample(iterations=6, keep=keep, stop_at_similarity=0.8).result[2]
    assert report.number[-1] == 3


class Breaks:
    """A VAE's network that gives nan from the n-th decode on."""

    def __init__(self, decode, at):
        self.decode, self.at, self.calls = decode, at, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self.decode(*arguments, **options) * (torch.nan if self.calls > self.at else 1)


def test_a_vae_that_breaks_later_leaves_the_best_so_far_and_a_warning(sample, job, monkeypatch, caplog):
    monkeypatch.setattr(job.vae.first_stage_model, "decode", Breaks(job.vae.first_stage_model.decode, 3), raising=False)
    with caplog.at_level(logging.WARNING):
        latent, image, report = sample(iterations=9, keep="best", gradient="windowed").result
    assert report.number == [0, 1, 2] and image.isfinite().all() and latent["samples"].isfinite().all()
    assert "VAE" in report.warnings[0] and "VAE" in caplog.text and "guidance scale" not in report.warnings[0]
    assert "VAE" in report.text()


@pytest.mark.parametrize(("keep", "at"), [("last", 3), ("best", 0)])
def test_a_vae_that_breaks_with_nothing_to_return_is_an_error(sample, job, monkeypatch, keep, at):
    monkeypatch.setattr(
        job.vae.first_stage_model, "decode", Breaks(job.vae.first_stage_model.decode, at), raising=False
    )
    with pytest.raises(FloatingPointError, match="VAE"):
        sample(iterations=5, keep=keep)


def test_a_denoise_of_0_returns_the_latent_unchanged(sample, job, run):
    job.latent = {"samples": torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(3))}
    latent, image, report = sample(denoise=0.0).result
    assert torch.equal(latent["samples"], job.ksampler(denoise=0.0)) and torch.equal(
        latent["samples"], job.latent["samples"]
    )
    assert torch.equal(image, host_nodes.VAEDecode().decode(job.vae, latent)[0])
    assert report.number == [] and run("PlotConvergence", report=report).result[0].shape[-1] == 3


def test_sigmas_without_a_step_are_refused(job):
    sigmas = comfy.samplers.calculate_sigmas(job.model.get_model_object("model_sampling"), "simple", 4)
    (_, low) = SplitSigmas.execute(sigmas, 4).result
    assert len(low) == 1
    with pytest.raises(ValueError, match="SplitSigmas"):
        job.sampler().sample(SimpleNamespace(model_patcher=job.model), low, {}, None, torch.zeros(1, 16, 8, 8))


class TestPreviews:
    @pytest.fixture
    def host(self, pack, monkeypatch):
        """`host(argv, method)`: what the user told the host."""
        progress = pack("nodes.host.run.progress")

        def tell(argv, method, default=None):
            monkeypatch.setattr(progress.sys, "argv", ["main.py", *argv])
            monkeypatch.setattr(progress.args, "preview_method", progress.LatentPreviewMethod(method))
            if default:
                monkeypatch.setattr(
                    progress.latent_preview,
                    "default_preview_method",
                    progress.LatentPreviewMethod(default),
                    raising=False,
                )

        return tell

    @pytest.mark.parametrize(
        ("argv", "method", "preview", "pictures"),
        [
            ([], "none", "auto", True),
            (["--preview-method", "none"], "none", "auto", False),
            (["--preview-method=none"], "none", "auto", False),
            (["--preview-method", "none"], "none", "always", True),
            (["--preview-method", "auto"], "auto", "auto", True),
        ],
    )
    def test_the_host_s_setting_counts_where_the_user_made_it(
        self, sample, shown, host, argv, method, preview, pictures
    ):
        host(argv, method, default=method)
        sample(iterations=1, preview=preview)
        assert [picture is not None for *_, picture in shown] == [pictures] * 2

    def test_none_in_the_settings_of_newer_hosts_counts(self, sample, shown, host):
        host([], "none", default="auto")
        sample(iterations=1)
        assert all(picture is None for *_, picture in shown)


def test_a_prompt_for_another_model_is_said_to_be(job):
    """Of another width, or without the summary that this model reads."""
    tokens, options = job.positive[0]
    job.positive = [[tokens, {key: value for key, value in options.items() if key != "pooled_output"}]]
    with pytest.raises(ValueError, match="positive or negative: .* the CLIP of this model"):
        job.guide()
    job.positive = [[torch.zeros(1, 8, 100), options]]
    with pytest.raises(ValueError, match="positive or negative.* the CLIP of this model"):
        job.guide()
