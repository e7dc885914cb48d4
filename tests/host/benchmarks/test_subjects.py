"""What is trained for things and pets, on a few of their pictures: each step teaches, and the pack loads the result."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from tests.helpers.benchmarks import benchmark
from tests.helpers.places import needs_weights

pytestmark = needs_weights
render = benchmark("subjects.render")


@pytest.fixture(scope="module")
def modules():
    names = ("pictures", "recognisers", "detector", "text", "world", "training")
    return {name: benchmark(f"subjects.{name}") for name in names}


@pytest.fixture(scope="module")
def folder(modules, tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects")
    modules["pictures"].build(folder, family_count=4, couple_count=8)
    return folder


@pytest.fixture(autouse=True)
def outside_inference_mode():
    with torch.inference_mode(False), torch.enable_grad():
        yield


def learned(loss, parameters, rate, steps=12):
    """The loss before and after."""
    optimizer = torch.optim.AdamW(parameters, rate)
    first = loss().item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return first, loss().item()


@pytest.mark.parametrize("name", ["guide", "judge"])
def test_a_recogniser_learns_a_batch(modules, folder, name):
    recognisers, rng = modules["recognisers"], np.random.default_rng(0)
    x, target = next(recognisers.family_batches(folder, name, rng, size=3))
    assert x.shape[1:] == (3, recognisers.SIDE, recognisers.SIDE) and x.abs().max() <= 1
    assert all(len(each) == len(x) for each in target)
    model = recognisers.untrained(name)
    first, last = learned(lambda: model(x, target), model.parameters(), 1e-3)
    assert last < 0.8 * first


def test_guide_and_judge_learn_from_different_subjects(modules):
    families = modules["pictures"].families
    assert not set(families("guide", 50)) & set(families("judge", 50))


def test_the_detector_learns_a_batch_and_the_pack_loads_it(modules, folder):
    detector, recognisers = modules["detector"], modules["recognisers"]
    tokenizer = detector.host_tokenizer()
    model, source = detector.untrained(tokenizer), detector.Pictures(folder)
    tokens = torch.tensor([tokenizer(f"a {kind}")["input_ids"] for kind in detector.KINDS])
    batches = [source.single(8), source.double(4)]
    for x, kinds, boxes in batches:
        assert x.shape[1:] == (3, 128, 128) and len(kinds) == len(boxes) and boxes.shape[1] == kinds.shape[1]
        assert (boxes[..., :2] < boxes[..., 2:]).all() and boxes.min() >= -0.01 and boxes.max() <= 1.01

    def loss():
        return sum(detector.loss_of(model, *batch, detector.texts(model, tokens)) for batch in batches)

    first, last = learned(loss, model.parameters(), 1e-3)
    assert last < 0.85 * first
    detector.export(folder / "owl", model, tokenizer)
    recognisers.export(folder, "guide", recognisers.Dino().eval())
    guide = modules["world"].load_subject_discriminator(folder / "dino", folder / "owl")
    picture, whole = torch.rand(1, 3, 128, 256), benchmark("world").whole
    with torch.no_grad():
        assert torch.allclose(guide.embed(guide.crop(picture, [whole(picture)])).norm(dim=1), torch.ones(1), atol=1e-5)
        boxes, scores = guide.detector(picture, guide.text_query("a mug"))
    assert boxes.shape == (1, 64, 4) and scores.shape == (1, 64) and (scores >= 0).all() and (scores <= 1).all()


def test_a_window_is_as_the_pack_cuts_and_pads(modules):
    """The picture of a query in training, and the one that OWLv2 sees of a cut-out."""
    from torch.nn import functional as F

    x = torch.rand(1, 3, 128, 128, generator=torch.manual_seed(0)) * 2 - 1
    x = F.avg_pool2d(F.pad(x, (4, 4, 4, 4), mode="reflect"), 9, 1)
    seen = modules["detector"].windows(x, torch.tensor([[20.0, 10.0, 116.0, 74.0]]))
    padded = F.pad(x[:, :, 10:74, 20:116], (0, 0, 0, 32))
    expected = F.interpolate(padded, (128, 128), mode="bilinear", antialias=True)
    assert (seen - expected)[..., :84, :].abs().max() < 0.1 and (seen - expected).abs().mean() < 0.02
    assert seen[..., 86:, :].abs().max() == 0


def test_the_text_encoder_reads_what_is_named(modules):
    """A reading is wrong where the logits are of something else, and right where they are of what is named."""
    text = modules["text"]
    reading = text.Reading()
    context, pooled = torch.randn(2, 8, 192), torch.randn(2, 192)
    slots, whole_sentence = reading(context, pooled)
    assert [each.shape[1] for each in slots] == [each.shape[1] for each in whole_sentence] == [10, 3, 10, 3, 7, 4]


def test_subjects_are_where_the_judge_says(modules):
    seats = modules["world"].seats
    each = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.7], [0.9, 0.3]]])
    judge, places, in_order = seats(each)
    assert torch.allclose(judge, torch.tensor([[0.9, 0.8], [0.7, 0.9]]))
    assert places.tolist() == [[0, 1], [1, 0]] and in_order.tolist() == [True, False]
    judge, places, in_order = seats(each, placed=True)
    assert torch.allclose(judge[1], torch.tensor([0.1, 0.3])) and places.tolist() == [[0, 1], [0, 1]]
    assert in_order.tolist() == [True, False]
    judge, places, _ = seats(torch.tensor([[[0.4]]]))
    assert judge.item() == pytest.approx(0.4) and places.tolist() == [[0]]


def test_questions_are_of_new_subjects_and_their_prompts(modules):
    questions = modules["world"].Questions.draw(3, "tuning", (render.KINDS, render.KINDS))
    assert questions.references.shape == (2, 3, 3, 128, 128) and questions.others.shape == (3, 3, 128, 256)
    assert questions.noise.shape == (3, 16, 16, 32) and len(questions.part(slice(1, 3))) == 2
    for prompt, named, subjects in zip(questions.prompts, questions.named, questions.subjects, strict=True):
        assert all(
            subject.kind in prompt and one["kind"] == subject.kind for subject, one in zip(subjects, named, strict=True)
        )
    again = modules["world"].Questions.draw(3, "tuning", (render.KINDS, render.KINDS))
    assert torch.equal(again.others, questions.others) and again.subjects == questions.subjects


def test_a_person_beside_a_thing_is_asked_for_by_a_portrait(modules):
    world = modules["world"]
    questions = world.Questions.draw(4, "tuning", ((render.PERSON,), render.KINDS))
    assert all(prompt.startswith("a person next to a ") for prompt in questions.prompts)
    judge = benchmark("world").World.recogniser("judge")

    with torch.no_grad():
        alike = world.embed(judge, questions.references[0]) @ world.embed(judge, questions.others[..., :128]).T
    own, others = alike.diagonal(), alike[~torch.eye(4, dtype=torch.bool)]
    assert own.mean() - others.mean() > 0.15  # 0.52 was seen


def test_each_stage_has_its_command(modules):
    training = modules["training"]
    whole_run, quick = (list(training.stages(share)) for share in (1.0, training.QUICK))
    assert [result for result, _ in whole_run] == [result for result, _ in quick]
    for _, command in whole_run:
        assert command[0] == "-m" or os.path.isfile(command[0])
    assert quick[0][1] != whole_run[0][1]
