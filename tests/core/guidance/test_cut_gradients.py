"""A network of a guidance that runs without autograd is named, though what it is added to has a graph."""

import pytest
import torch

from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.identity import RegionEnergy
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.images.views import Views
from rectifid_core.interfaces import CutGradientError, Observation
from tests.helpers.people import GREEN, RED, TWO, ByColor, people
from tests.helpers.scripted import LEFT, RIGHT
from tests.helpers.worlds import Brightness


class WithoutAutograd(ByColor):
    @torch.no_grad()
    def embed(self, crops):
        return super().embed(crops)


class Unseeing(Brightness):
    """Guidance whose network detaches what it says."""

    def energy(self, views=4, seed=0):
        def observe(image, iteration):
            value = image.detach().flatten(1).mean(dim=1)
            return Observation(value, 1 - value)

        return observe


def observe(energy, picture=TWO):
    return energy(picture[None].clone().requires_grad_(), 0)


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_the_recogniser_of_an_identity_is_named(views, names):
    for recogniser, cuts in ((ByColor([[LEFT, RIGHT]]), False), (WithoutAutograd([[LEFT, RIGHT]], name="mine"), True)):
        terms = {name: (each, Schedule()) for name, each in zip(names, people(recogniser, RED, GREEN), strict=False)}
        terms["dark"] = Brightness(), Schedule()
        if not cuts:
            assert observe(combine(terms).energy(views)).energy.requires_grad
            continue
        with pytest.raises(CutGradientError, match="^mine cuts the gradient"):
            observe(combine(terms).energy(views))


@pytest.mark.parametrize("method", ["embed", "crop"])
@pytest.mark.parametrize("pixels", [0.0, 0.3])
def test_the_pixel_term_hides_no_cut(method, pixels, monkeypatch):
    recogniser = ByColor([[LEFT]])
    [guidance] = people(recogniser, RED)
    energy = RegionEnergy(guidance.identity, recogniser, Views(2, 0), pixels)
    image = TWO[None].clone().requires_grad_()
    assert energy(image, 0, [LEFT], [True]).energy.requires_grad
    monkeypatch.setattr(recogniser, method, torch.no_grad()(getattr(recogniser, method)))
    with pytest.raises(CutGradientError, match="by color"):
        energy(image, 0, [LEFT], [True])


def test_one_of_a_sum_is_named_when_it_acts():
    terms = {"light": (Brightness(), Schedule()), "blind": (Unseeing(), Schedule(start=3))}
    energy = combine(terms).energy()
    image = TWO[None].clone().requires_grad_()
    energy(image, 2)
    with pytest.raises(CutGradientError, match="^blind cuts the gradient"):
        energy(image, 3)
    with torch.no_grad():
        energy(image, 4)


def test_a_picture_in_which_there_is_nobody_is_no_cut():
    [guidance] = people(WithoutAutograd([[]], name="mine"), RED)
    assert observe(combine({"one": (guidance, Schedule())}).energy()).energy.requires_grad
