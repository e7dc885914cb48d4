"""A discriminator in the host's care can be copied, as packs do that cache or pickle what nodes give."""

import copy

import pytest
import torch


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copied_discriminator_embeds_as_before(job, duplicate):
    hosted = job.discriminator
    hosted.load()
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    copied = duplicate(hosted)
    assert copied.name == hosted.name and len(copied.patchers) == len(hosted.patchers)
    assert torch.equal(copied.embed(crops), hosted.embed(crops))


def test_what_a_discriminator_lacks_is_missed_by_its_name(job):
    with pytest.raises(AttributeError, match="nonsense"):
        _ = job.discriminator.nonsense
