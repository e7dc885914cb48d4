"""A label where the mask is: the energy by small segmenters that are known, and by transformers' own from a folder."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rectifid_core.discriminators.segmenter import LogProbabilities, Segmenter, load_segmenter
from rectifid_core.guidance.segmentation import SegmentationGuidance
from rectifid_core.networks.pretrained import Preprocessing, PretrainedError
from tests.helpers.segmenter_folders import LABELS, write_segmenter

PLAIN = Preprocessing(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class ByColour(nn.Module):
    """Logits that are the colours themselves, times a factor: the classes are red, green and blue."""

    def __init__(self, factor: float = 20.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor), requires_grad=False)

    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.factor * pixel_values)


def by_colour(factor: float = 20.0) -> Segmenter:
    labels = ["red, crimson", "Green_Field", "blue"]
    return Segmenter(LogProbabilities(ByColour(factor)), labels, PLAIN, name="colours", digest="")


def left(height: int = 16, width: int = 16) -> torch.Tensor:
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1
    return mask


def two_colours(mask: torch.Tensor, inside=(1.0, 0, 0), outside=(0, 0, 1.0)) -> torch.Tensor:
    inside, outside = (torch.tensor(rgb).view(3, 1, 1) for rgb in (inside, outside))
    return (mask * inside + (1 - mask) * outside)[None]


def picture(batch=1, height=24, width=20, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("views", [0, 4])
def test_the_goal_is_the_label_under_the_mask_and_nowhere_else(views):
    energy = SegmentationGuidance(by_colour(40.0), "red", left()).energy(views)
    goal, swapped = energy(two_colours(left()), 0), energy(two_colours(1 - left()), 0)
    everywhere = energy(two_colours(torch.ones(16, 16)), 0)
    assert goal.similarity > 0.99 and goal.energy < (1 if views == 0 else 100)
    assert swapped.similarity < 0.01 and swapped.energy > 1000
    assert everywhere.similarity == pytest.approx(0.5, abs=0.01)
    assert goal.energy < everywhere.energy < swapped.energy


def test_the_numbers():
    """Where nothing is known, p is a third: the cross-entropy is the mean of log 3 and log 3/2, whatever the mask."""
    mask = torch.zeros(16, 16)
    mask[:4, :4] = 1
    observation = SegmentationGuidance(by_colour(0.0), "red", mask).energy(views=0)(picture(2, width=24), 0)
    assert observation.energy.tolist() == pytest.approx([50 * (math.log(3) + math.log(1.5))] * 2)
    assert observation.similarity.tolist() == pytest.approx([(16 / 3) / (16 + 240 / 3)] * 2)


def test_the_mask_moves_with_each_view():
    """A segmenter that is right about every view leaves only the pixels that lie on the mask's edge."""
    energy = SegmentationGuidance(by_colour(60.0), "red", left(64, 64)).energy(8, seed=3)
    still = SegmentationGuidance(by_colour(60.0), "red", left(64, 64))
    at_the_goal = energy(two_colours(left(64, 64)), 0).energy
    shifted = still.energy(8, seed=3)(two_colours(left(64, 64)).roll(8, dims=3), 0).energy
    assert at_the_goal < 0.2 * shifted


@pytest.mark.parametrize("views", [0, 2])
def test_its_gradient_is_that_of_a_finite_difference(views):
    energy = SegmentationGuidance(by_colour(3.0), "red", left()).energy(views)
    image = picture(width=24)
    (gradient,) = torch.autograd.grad(energy(image.requires_grad_(), 0).energy.sum(), image)
    step = 0.02 * gradient / gradient.norm()
    with torch.no_grad():
        difference = energy(image + step, 0).energy - energy(image - step, 0).energy
    assert difference.item() == pytest.approx(0.04 * gradient.norm().item(), rel=0.01)


@pytest.mark.parametrize(("label", "number"), [("red", 0), (" Crimson", 0), ("green field", 1), ("BLUE", 2)])
def test_a_label_by_any_of_its_names(label, number):
    assert by_colour().class_of(label) == number


def test_a_label_that_there_is_not():
    with pytest.raises(ValueError, match="bleu.*did you mean blue"):
        SegmentationGuidance(by_colour(), "bleu", left())
    with pytest.raises(ValueError, match="unicorn.*red, crimson, Green_Field, blue"):
        SegmentationGuidance(by_colour(), "unicorn", left())
    with pytest.raises(ValueError, match="no label ''"):
        SegmentationGuidance(by_colour(), "  ", left())


def test_an_empty_mask():
    with pytest.raises(ValueError, match="mask is empty.*red"):
        SegmentationGuidance(by_colour(), "red", torch.zeros(16, 16))
    dot = torch.zeros(64, 64)
    dot[1, 1] = 1
    energy = SegmentationGuidance(by_colour(), "red", dot).energy()
    with pytest.raises(ValueError, match="nothing is left.*16 x 16"):
        energy(picture(1, 64, 64), 0)
    with pytest.raises(ValueError, match="nothing is left.*8 x 8"):
        energy(picture(1, 8, 8), 0)


def test_a_mask_of_another_shape():
    with pytest.raises(ValueError, match="mask.*16 x 16.*picture.*20 x 24"):
        SegmentationGuidance(by_colour(), "red", left()).energy()(picture(), 0)


@pytest.mark.parametrize("kind", ["segformer", "mask2former"])
class TestFromAFolder:
    def test_it_says_what_its_network_says(self, tmp_path, kind):
        network = write_segmenter(tmp_path / "mine", kind)
        segmenter = load_segmenter(tmp_path / "mine")
        assert (segmenter.name, segmenter.labels, segmenter.input_size) == ("mine", LABELS, 64)
        assert not any(parameter.requires_grad for parameter in segmenter.network.parameters())
        image = picture(2, 64, 64)
        with torch.no_grad():
            probabilities = segmenter.log_probabilities(image).exp()
            mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            observation = network(pixel_values=(image - mean) / std)
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones_like(probabilities[:, 0]))
        if kind == "segformer":
            torch.testing.assert_close(probabilities, observation.logits.softmax(dim=1))
        else:  # the class that transformers' own postprocessing finds
            import transformers

            sizes = [probabilities.shape[-2:]] * 2
            processor = transformers.Mask2FormerImageProcessor()
            found = processor.post_process_semantic_segmentation(observation, target_sizes=sizes)
            agreed = (torch.stack(found) == probabilities.argmax(dim=1)).float().mean()
            assert agreed > 0.9  # it blows the regions up before it adds them, and shrinks them again

    def test_descent_along_its_gradient_moves_the_label(self, tmp_path, kind):
        write_segmenter(tmp_path / "mine", kind)
        energy = SegmentationGuidance(load_segmenter(tmp_path / "mine"), "sky", left()).energy(views=0)
        image = picture(1, 64, 64).requires_grad_()
        before = energy(image, 0)
        optimiser = torch.optim.Adam([image], lr=0.02)
        for _ in range(12):
            optimiser.zero_grad()
            energy(image, 0).energy.sum().backward()
            optimiser.step()
        after = energy(image, 0)
        assert after.energy < 0.9 * before.energy and after.similarity > before.similarity


def test_a_folder_in_half_precision(tmp_path):
    network = write_segmenter(tmp_path / "mine").half()
    network.save_pretrained(tmp_path / "mine")
    segmenter, image = load_segmenter(tmp_path / "mine"), picture(1, 64, 64)
    assert {tensor.dtype for tensor in segmenter.network.state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }
    whole = write_segmenter(tmp_path / "whole")
    observation, expected = (each.log_probabilities(image) for each in (segmenter, load_segmenter(tmp_path / "whole")))
    assert whole.dtype == torch.float32
    torch.testing.assert_close(observation, expected, atol=2e-2, rtol=0)


def test_another_kind_of_folder(tmp_path):
    from tests.helpers.subject_folders import write_embedder

    write_embedder(tmp_path / "dino")
    with pytest.raises(PretrainedError, match="dinov2.*segformer"):
        load_segmenter(tmp_path / "dino")
