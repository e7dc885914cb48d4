"""The embedded world: its prompts, its renderer, its files, and its recognisers on people of no training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo.autoencoder import Autoencoder
from demo.portrait import (
    Identity,
    Scene,
    draw,
    draw_portrait,
    draw_together,
    parse_prompt,
    write_couple_prompt,
    write_prompt,
)
from rectifid_core.discriminators.base import EmbeddingDiscriminator
from rectifid_core.images.regions import whole
from rectifid_core.networks.onnx import input_size, load_onnx
from tests.helpers.demo_people import new_people
from tests.helpers.places import WEIGHTS, needs_weights


def scenes(count: int) -> list[Scene]:
    return [Scene.sample(np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("mention", [1.0, 0.5, 0.0])
def test_a_written_prompt_reads_back(mention):
    for seed, scene in enumerate(scenes(200)):
        prompt, named = write_prompt(scene, np.random.default_rng(seed), mention)
        assert parse_prompt(prompt) == named, prompt


def test_a_freely_worded_prompt_is_parsed():
    named = parse_prompt("Portrait of a HAPPY man in a big yellow hat, on a grey background, at the left, dim light")
    scene = {"expression": "smiling", "hat": "yellow", "background": "gray", "position": "left", "light": "dim"}
    assert named == scene


def test_a_portrait_is_a_function_of_its_number_and_prompt():
    first, again = (np.asarray(draw_portrait(7, "a sad person in a red hat")) for _ in range(2))
    assert first.shape == (128, 128, 3) and (first == again).all()
    assert (first != np.asarray(draw_portrait(8, "a sad person in a red hat"))).any()
    assert draw_portrait(7, "a person", size=64).size == (64, 64)


def test_two_people_share_a_background_and_a_light():
    rng = np.random.default_rng(3)
    people = [Identity.sample(rng) for _ in range(2)]
    left = Scene(expression="sad", hat="red", shirt="white", background="green", light="dim")
    right = left.beside(rng)
    assert (right.background, right.light, right.position) == ("green", "dim", "center")
    picture = np.asarray(draw_together(list(zip(people, (left, right), strict=True))))
    assert picture.shape == (128, 256, 3)
    single = [np.asarray(draw(*each)) for each in zip(people, (left, right), strict=True)]  # no side light: no slope
    assert (picture[:, :128] == single[0]).all()
    assert np.abs(picture[:, 128:].astype(int) - single[1]).mean() < 10  # on the right, the right end of its side light

    prompt, named = write_couple_prompt(left, right)
    first, second = prompt.split(" next to ")
    assert first == "a sad person in a red hat and a white shirt" and second.endswith(", green background, dim light")
    assert parse_prompt(second) == named[1] and named[0] == {
        **parse_prompt(first),
        "background": "green",
        "light": "dim",
    }


@needs_weights
def test_the_weights_are_small():
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*.*")) <= 32e6


@needs_weights
def test_the_autoencoder_reconstructs_its_input():
    autoencoder = Autoencoder()
    autoencoder.load_state_dict(load_file(WEIGHTS / "autoencoder.safetensors"))
    pictures = new_people(8).flatten(0, 1) * 2 - 1
    with torch.no_grad():
        error = (autoencoder.decode(autoencoder.encode(pictures)) - pictures).square().mean() / 4
    assert -10 * error.log10() > 28  # dB


@needs_weights
@pytest.mark.parametrize("name", ["guide", "judge"])
def test_a_recogniser_finds_a_new_person_among_200(name):
    file = WEIGHTS / f"recogniser_{name}.onnx"
    recogniser = EmbeddingDiscriminator(load_onnx(file), name=name, digest="", input_size=input_size(file))
    with torch.no_grad():
        first, second = (recogniser.embed(recogniser.crop(x, [whole(x)] * len(x))) for x in new_people(200).unbind(1))
    ranked_first = (first @ second.T).argmax(dim=1) == torch.arange(200)
    assert ranked_first.float().mean() >= 0.98
