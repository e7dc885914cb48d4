"""The palette as an energy: what it is zero for, what its numbers mean, and its gradient."""

from __future__ import annotations

import pytest
import torch

from rectifid_core.guidance.color import ColorEnergy, ColorGuidance, palette_of
from rectifid_core.images.oklab import oklab


def picture(height: int = 12, width: int = 10, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain(*rgb: float, size: int = 8) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float32).view(3, 1, 1).expand(3, size, size)


def shuffled(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(1))
    return image.flatten(1)[:, order].view(3, height, width)


def test_the_same_colours_in_any_arrangement_are_the_goal():
    reference = picture()
    observation = ColorGuidance(reference).energy()(torch.stack([reference, shuffled(reference, 12, 10)]), 0)
    torch.testing.assert_close(observation.energy, torch.zeros(2), atol=1e-9, rtol=0)
    torch.testing.assert_close(observation.similarity, torch.ones(2))
    assert ColorEnergy(palette_of(reference))(picture(seed=2)[None] ** 3, 0).energy > 1


def test_the_size_does_not_matter():
    reference = picture()
    large = reference.repeat_interleave(5, 1).repeat_interleave(4, 2)
    energy = ColorEnergy(palette_of(reference))
    assert energy(large[None], 0).similarity > 0.98 > energy(picture(seed=2)[None] ** 3, 0).similarity
    assert ColorEnergy(palette_of(large))(reference[None], 0).similarity > 0.98


def test_the_distance_of_plain_pictures_is_that_of_their_colours():
    """Black and white are at a distance of 1, and a colour from another as far as in OKLab."""
    observation = ColorEnergy(palette_of(plain(0, 0, 0)))(plain(1, 1, 1)[None], 0)
    assert observation.similarity == pytest.approx(0, abs=1e-4) and observation.energy == pytest.approx(1000, rel=1e-4)
    red, blue = plain(0.8, 0.1, 0.1), plain(0.2, 0.2, 0.9)
    distance = (oklab(red.flatten(1)) - oklab(blue.flatten(1)))[:, 0].norm()
    assert 1 - ColorEnergy(palette_of(red))(blue[None], 0).similarity == pytest.approx(distance.item(), rel=1e-4)


def test_oklab_has_the_published_values():
    """To the published values, but for the softened black."""
    red, grey, white = oklab(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]).T).T
    torch.testing.assert_close(white, torch.tensor([1.0, 0, 0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(red, torch.tensor([0.628, 0.225, 0.126]), atol=0.03, rtol=0)
    torch.testing.assert_close(grey, torch.tensor([0.598, 0, 0]), atol=0.05, rtol=0)
    assert grey[1:].abs().max() < 1e-4


@pytest.mark.parametrize("masked", [False, True])
def test_its_gradient_is_that_of_a_finite_difference(masked):
    mask = torch.zeros(6, 5).index_fill_(1, torch.tensor([1, 2]), 1.0) if masked else None
    energy = ColorEnergy(palette_of(picture(7, 9, seed=3, dtype=torch.float64)), mask)
    image = 0.05 + 0.9 * picture(6, 5, seed=4, dtype=torch.float64)[None]
    assert torch.autograd.gradcheck(lambda x: energy(x, 0).energy, image.requires_grad_(), atol=1e-6)


def test_black_has_a_gradient():
    image = torch.zeros(1, 3, 8, 8, requires_grad=True)
    ColorEnergy(palette_of(plain(1, 1, 1)))(image, 0).energy.sum().backward()
    assert image.grad.isfinite().all() and (image.grad < 0).all()


def test_samples_do_not_mix():
    energy = ColorEnergy(palette_of(picture()))
    images = torch.stack([picture(seed=5), picture(seed=6)])
    both = energy(images, 0).energy
    torch.testing.assert_close(both, torch.cat([energy(image[None], 0).energy for image in images]))


def test_outside_of_the_mask_nothing_counts():
    mask = torch.zeros(4, 8)
    mask[:, :4] = 1
    image = torch.cat([plain(0.7, 0.2, 0.1), picture(8, 8)], dim=2)[None].requires_grad_()  # the left half, 8 wide
    observation = ColorGuidance(plain(0.7, 0.2, 0.1), mask).energy()(image, 0)
    assert observation.similarity == pytest.approx(1)
    other = image.detach().flip(3).requires_grad_()
    ColorGuidance(plain(0.7, 0.2, 0.1), mask).energy()(other, 0).energy.sum().backward()
    assert other.grad[..., :8].abs().min() > 0 and (other.grad[..., 8:] == 0).all()


def test_descent_ends_at_the_palette():
    """Along its own gradient a picture gets the colours of the reference, to within what an eye can tell."""
    energy = ColorEnergy(palette_of(picture(seed=7) ** 2 * torch.tensor([1.0, 0.6, 0.3]).view(3, 1, 1)))
    image = picture(seed=8)[None].requires_grad_()
    before = energy(image, 0).similarity
    optimiser = torch.optim.Adam([image], lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        energy(image, 0).energy.sum().backward()
        optimiser.step()
        image.data.clamp_(0, 1)
    assert before < 0.85 and energy(image, 0).similarity > 0.98


def test_a_mask_of_another_shape_is_refused():
    for size in ((64, 32), (1, 2000)):
        with pytest.raises(ValueError, match=f"mask.*{size[1]} x {size[0]}.*picture.*8 x 8"):
            ColorGuidance(picture(), torch.ones(size)).energy()(picture(8, 8)[None], 0)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="mask is empty.*colours"):
        ColorGuidance(picture(), torch.zeros(64, 64))
    dot = torch.zeros(64, 64)
    dot[1, 1] = 1
    with pytest.raises(ValueError, match="nothing is left.*8 x 8"):
        ColorGuidance(picture(), dot).energy()(picture(8, 8)[None], 0)
