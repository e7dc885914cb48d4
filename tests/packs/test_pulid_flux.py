"""The two packs with PuLID for FLUX that the host has left behind; a third is among the compositions."""

from __future__ import annotations

import comfy.model_patcher
import pytest
import torch

from tests.helpers.pulid_flux import BALAZIK, LLDACING, SIPIE, put_pulid_flux
from tests.host.test_compositions import BASES


def patcher(network):
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(network, load_device=cpu, offload_device=cpu)


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (put_pulid_flux(LLDACING, held=patcher), "outer_sample.* unexpected keyword argument 'latent_shapes'"),
        (put_pulid_flux(BALAZIK), "forward_orig.* unexpected keyword argument"),
    ],
    ids=[LLDACING, BALAZIK],
)
def test_they_fail_under_the_hosts_own_ksampler(job, request, files, put, words):
    BASES["flux_dev"](job, request)
    put(job, files)
    with pytest.raises(TypeError, match=words):
        job.ksampler()


def test_the_third_draws_the_face_in_every_sampler_on_its_model_while_its_node_is_there(job, request, files):
    BASES["flux_dev"](job, request)
    plain, before = job.model, job.ksampler()
    put_pulid_flux(SIPIE)(job, files)
    assert (job.ksampler(plain) - before).abs().max() > 1e-4
    job.model = plain
    assert torch.equal(job.ksampler(), before)
