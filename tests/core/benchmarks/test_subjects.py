"""The world of things and pets: what its pictures, prompts and boxes say of each other."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from tests.helpers.benchmarks import benchmark

render = benchmark("subjects.render")
pictures = benchmark("subjects.pictures")
traits = benchmark("subjects.traits")
Subject, Place = render.Subject, render.Place
SOMEBODY = Subject("cat", "orange", "white", "blue", "stripes", 0, 0.5, 0.5)


def subject_of(kind, seed=0, **changes):
    return replace(Subject.sample(np.random.default_rng(seed), [kind]), **changes)


def pixels(*both):
    picture, boxes = render.draw_together(list(both))
    return np.asarray(picture).astype(int), boxes


def outside(box, size=128):
    """Of a picture, what is not in a box, nor a pixel beside it."""
    left, top, right, bottom = (round(edge) for edge in box)
    mask = np.ones((size, size), dtype=bool)
    mask[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
    return mask


@pytest.mark.parametrize("kind", render.KINDS)
def test_every_trait_is_to_be_seen(kind):
    subject = subject_of(kind, seed=3, pattern="dots", part=2)
    place = Place("meadow")
    plain, _ = pixels((subject, place))
    for field in fields(Subject):
        if field.name == "kind":
            continue
        other = replace(subject, **{field.name: another(field.name, subject)})
        changed = (pixels((other, place))[0] != plain).any(axis=2).sum()
        assert changed > 50, (field.name, changed)


def another(name, subject):
    value = getattr(subject, name)
    if name in render.AMOUNTS:
        return (value + 0.5) % 1
    colors = {subject.main, subject.second, subject.accent}
    return next(each for each in render.CHOICES[name] if each != value and each not in colors)


@pytest.mark.parametrize("kind", render.KINDS)
def test_the_box_is_around_the_subject_and_nothing_else_differs(kind):
    rng = np.random.default_rng(5)
    for _ in range(4):
        subject, place = subject_of(kind, rng.integers(100)), Place.sample(rng)
        one, (box,) = pixels((subject, place))
        other = replace(subject, **{name: another(name, subject) for name in ("main", "second", "accent")})
        same_shape, (same_box,) = pixels((other, place))
        assert np.abs(np.subtract(box, same_box)).max() <= 1  # a color may hide a line of the outline
        assert (one == same_shape)[outside(box)].all()
        assert (one != same_shape).any(axis=2).sum() > 300
        assert 128 >= box[2] > box[0] >= 0 and 128 >= box[3] > box[1] >= 0


def test_a_subject_keeps_its_colors_in_another_place():
    room, (box,) = pixels((SOMEBODY, Place("room")))
    snow, (other,) = pixels((SOMEBODY, Place("snow")))
    assert box == other
    left, top, right, bottom = map(int, box)
    same = (room == snow).all(axis=2)[top:bottom, left:right]
    assert same.mean() > 0.5 and not (room == snow).all(axis=2)[outside(box)].all()


def test_things_have_one_side_and_pets_have_two():
    for kind, turns in (("mug", False), ("car", False), ("cat", True), ("duck", True)):
        subject = subject_of(kind)
        one, other = (pixels((subject, Place(mirrored=way)))[0] for way in (False, True))
        assert (one != other).any() == turns, kind
    for kind, poses in (("boat", False), ("dog", True)):
        one, other = (pixels((subject_of(kind), Place(pose=pose)))[0] for pose in render.POSES)
        assert (one != other).any() == poses, kind


def test_two_stand_side_by_side_in_one_place():
    rng = np.random.default_rng(2)
    left = Place.sample(rng)
    right = left.beside(rng)
    mug, cat = subject_of("mug"), SOMEBODY
    both, boxes = pixels((mug, left), (cat, right))
    assert both.shape == (128, 256, 3) and boxes[0][2] <= 128 <= boxes[1][0]
    assert (right.place, right.position) == (left.place, left.position)
    alone = pixels((mug, replace(left, side_light=0.0)))[0]
    dark = pixels((mug, replace(left, side_light=0.0)), (cat, replace(right, side_light=0.0)))[0]
    assert (dark[:, :128] == alone).all()


def test_a_person_stands_in_a_place_beside_a_thing():
    rng = np.random.default_rng(7)
    person, place = render.Person.sample(rng), Place("snow", position="left")
    both, boxes = pixels((person, place), (subject_of("mug"), place))
    other, _ = pixels((replace(person, identity=replace(person.identity, skin=1 - person.identity.skin)), place))
    changed = (both[:, :128] != other).any(axis=2)
    assert changed.sum() > 300 and not changed[outside(boxes[0])].any()
    empty = pixels((subject_of("mug"), place))[0]
    assert (both[:, :128] == empty)[:20, :20].all()
    prompt = render.write_pair_prompt(render.named_of(person, place), render.named_of(subject_of("mug"), place))
    assert prompt == "a person next to a mug in the snow, on the left"


def test_people_are_in_two_couples_of_five():
    couples = [pictures.couple(seed) for seed in range(400)]
    people = [[isinstance(each, render.Person) for each, _ in couple] for couple in couples]
    assert 0.3 < np.mean([any(each) for each in people]) < 0.5 and not any(all(each) for each in people)
    assert 0.3 < np.mean([each[0] for each in people if any(each)]) < 0.7


def test_prompts_name_what_is_drawn():
    cat, mug = (SOMEBODY, Place("snow", "lying", "left")), (subject_of("mug"), Place("beach", "lying"))
    assert render.write_prompt(render.named_of(*cat)) == "a lying cat in the snow, on the left"
    assert render.write_prompt(render.named_of(*mug)) == "a mug on a beach"
    pair = [render.named_of(*mug), render.named_of(SOMEBODY, replace(cat[1], place="beach", position="center"))]
    assert render.write_pair_prompt(*pair) == "a mug next to a lying cat on a beach"
    rng = np.random.default_rng(0)
    assert render.named_of(*cat, rng, 0.0) == {"kind": "cat"}
    assert pictures.slots(*pair) == [1, 0, 5, 2, 1, 0]


def test_prompts_of_different_places_differ():
    rng = np.random.default_rng(1)
    drawn = [(Subject.sample(rng), Place.sample(rng)) for _ in range(300)]
    prompts: dict[str, dict] = {}
    for each in drawn:
        named = render.named_of(*each)
        assert prompts.setdefault(render.write_prompt(named), named) == named


def test_a_twin_differs_in_one_trait():
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(200):
        subject = Subject.sample(rng)
        other, name = subject.twin(rng)
        differ = [field.name for field in fields(Subject) if getattr(subject, field.name) != getattr(other, field.name)]
        assert differ == [name] and len({other.main, other.second, other.accent}) == 3
        seen.add(name)
    assert seen == {field.name for field in fields(Subject)} - {"kind"}


def test_training_pictures_are_those_of_their_seeds(tmp_path):
    pictures.build(tmp_path, family_count=2, couple_count=3)
    scenes = np.load(tmp_path / "scenes.npy")
    assert len(scenes) == 2 * 2 * pictures.MEMBERS * pictures.MOMENTS
    members, places = pictures.family("judge", 1)
    picture, (box,) = render.draw_together([(members[2], places[3])])
    assert (scenes[-1] == np.asarray(picture)).all()
    assert np.load(tmp_path / "scenes_boxes.npy")[-1, 0].tolist() == list(box)
    couples, boxes = np.load(tmp_path / "couples.npy"), np.load(tmp_path / "couples_boxes.npy")
    assert couples.shape == (3, 128, 256, 3) and boxes.shape == (3, 2, 4)
    twins = np.load(tmp_path / "twins.npy")
    assert len(twins) == 4 and (twins[-1, 1] == scenes[-8]).all()


def test_traits_go_to_numbers_and_back():
    rng = np.random.default_rng(6)
    subjects = [Subject.sample(rng) for _ in range(20)]
    amounts, choices = traits.encode_traits(subjects)
    logits = [torch.nn.functional.one_hot(c, len(v)) for c, v in zip(choices.T, traits.CHOICES.values(), strict=True)]
    outputs = torch.cat([amounts, *logits], dim=1).float()
    for read, subject in zip(traits.read_traits(outputs), subjects, strict=True):
        assert all(traits.agreement(read, vars(subject)).values()) and read["kind"] == subject.kind
    right = traits.trait_loss(torch.cat([amounts, *(20 * each for each in logits)], dim=1), amounts, choices)
    wrong = traits.trait_loss(torch.cat([amounts + 1, *(-20 * each for each in logits)], dim=1), amounts, choices)
    assert right < 0.01 and wrong > 1
    other = replace(subjects[0], main=another("main", subjects[0]))
    differ = traits.agreement(vars(other), vars(subjects[0]))
    assert [name for name, same in differ.items() if not same] == ["main"]


def test_places_go_to_numbers_and_back():
    rng = np.random.default_rng(7)
    places = [Place.sample(rng) for _ in range(20)]
    labels = traits.encode_places(places)
    sizes = [len(render.NAMED[name]) for name in traits.SEEN]
    hot = [torch.nn.functional.one_hot(c, size).float() for c, size in zip(labels.T, sizes, strict=True)]
    for read, place in zip(traits.read_places(torch.cat(hot, dim=1)), places, strict=True):
        assert read == {name: getattr(place, name) for name in traits.SEEN}
    assert traits.place_loss(torch.cat([20 * each for each in hot], dim=1), labels) < 0.01
