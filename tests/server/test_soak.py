"""A short soak; `python -m scripts.soak` is the long one, docs/reliability.md has its figures."""

from __future__ import annotations

import pytest

from scripts.comfy_server import serving
from tests.helpers.servers import write_base
from tests.soak.figures import slope, temporary_folder_of
from tests.soak.soak import soak

pytestmark = pytest.mark.usefixtures("weights")

PROMPTS, WARM_UP = 90, 40


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    base = write_base(tmp_path_factory.mktemp("soak"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in temporary_folder_of(base).items():
            patch.setenv(name, value)
        with serving(base, base / "output") as server:
            return soak(server, base, PROMPTS, seed=1)


def test_each_prompt_ends_as_it_is_to(short):
    assert not short.wrong
    kinds = {kind.split(":")[0] for kind in short.outcomes}
    assert kinds == {"good", "bad", "cancelled", "out of memory"}


def test_the_plain_picture_stays_the_same_to_the_byte(short):
    assert list(short.plain.values()) == [1 + PROMPTS // 10]


def test_nothing_grows(short):
    """The first prompts import and load what the others use; a thousand give the slope of the memory."""
    warm = [point for point in short.points if point.prompts >= WARM_UP]
    assert slope(warm, "megabytes") < 60
    for measure in ("files", "threads", "temporary", "models"):
        values = [getattr(point, measure) for point in warm]
        assert max(values) - min(values) <= 2, f"{measure}: {values}"
