"""Two branches of one checkpoint, of which one reads it in another way, do not change each other."""

from __future__ import annotations

import comfy.model_patcher
import comfy.utils
import pytest
import torch

from tests.helpers.families import shifted_like_flux, shifted_like_sd3

READINGS = {
    "perflow": ("unet", lambda pack, model: sampling_of(pack).with_perflow(model, "diff_eps", 4, "derived")),
    "rectified flow": ("unet", lambda pack, model: sampling_of(pack).with_rectified_flow(model)),
    "SD3's shift": ("flow", lambda pack, model: shifted_like_sd3(model)),
    "FLUX's shift": ("flow", lambda pack, model: shifted_like_flux(model)),
}
OWN = [name for name, (base, _) in READINGS.items() if base == "unet"]


def sampling_of(pack):
    return pack("nodes.host.flows.model_sampling")


@pytest.fixture(params=READINGS)
def reading(request):
    return request.param


@pytest.fixture
def branches(job, request, pack, reading):
    """The checkpoint's MODEL, and the same read in another way."""
    base, read = READINGS[reading]
    if base == "unet":
        request.getfixturevalue("unet")
    return job.model, read(pack, job.model)


def times(model):
    return model.get_model_object("model_sampling").sigmas.clone()


def test_each_branch_draws_what_it_draws_alone(job, branches, brightness):
    plain, read = branches
    before, own = job.ksampler(plain), times(plain)
    other_before, other_own = job.ksampler(read), times(read)
    guided, _ = job.guide(read, energy=brightness, steps=4)
    assert torch.equal(job.ksampler(plain), before)
    again, _ = job.guide(read, energy=brightness, steps=4)
    assert torch.equal(again, guided)
    job.guide(plain, energy=brightness)
    assert torch.equal(job.ksampler(read), other_before)
    assert torch.equal(times(plain), own) and torch.equal(times(read), other_own)


def load_as_if_paged(patcher):
    """What the host does to buffers where it pages weights, with NVIDIA cards only: by name, for all clones."""
    patcher.unpatch_model(unpatch_weights=False)
    patcher.patch_model(load_weights=False)
    comfy.model_patcher.ModelPatcherDynamic.restore_loaded_backups(patcher)
    for name, buffer in patcher.model.named_buffers(recurse=True):
        patcher.backup_buffers.setdefault(name, buffer)
        comfy.utils.set_attr_buffer(patcher.model, name, buffer.clone())


@pytest.mark.skipif(not hasattr(comfy.model_patcher, "ModelPatcherDynamic"), reason="this host does not page weights")
@pytest.mark.parametrize("reading", OWN, indirect=True)
def test_buffers_that_the_host_keeps_by_name_stay_with_their_branch(branches):
    own = [times(model) for model in branches]
    assert own[0].shape == own[1].shape
    for model in (*branches, *branches):
        load_as_if_paged(model)
    for model, expected in zip(branches, own, strict=True):
        assert torch.equal(times(model), expected)
    branches[0].unpatch_model(unpatch_weights=False)
