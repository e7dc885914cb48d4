"""Other packs' nodes before the sampler: the same questions as of ComfyUI's own."""

from __future__ import annotations

import pytest

from tests.helpers import other_packs, pulid_flux
from tests.host.test_compositions import (  # noqa: F401  the questions, and the fixtures that they have in common
    composed,
    plain,
    test_a_checkpointed_gradient_is_the_same,
    test_a_gradient_through_the_conditional_lowers_the_energy,
    test_a_run_leaves_models_and_pictures_as_they_were,
    test_guidance_lowers_the_energy,
    test_it_changes_the_guided_picture,
    test_the_gradient_is_that_of_finite_differences,
    test_unguided_is_ksampler,
)

COMPOSITIONS = {**other_packs.COMPOSITIONS, **pulid_flux.COMPOSITIONS}


@pytest.fixture(params=COMPOSITIONS)
def composition(request):
    return COMPOSITIONS[request.param]
