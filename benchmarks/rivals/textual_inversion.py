"""A new word for the person: what the text encoder would say of it is learned on the reference, and nothing else.

Gal et al., Textual Inversion, arXiv 2208.01618.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from world import Triples, World

from rivals.basis import Answer, Clock, described, sample
from rivals.words import WordedFlow, class_word, learn_codes, new_word


@dataclass
class TextualInversion:
    iterations: int = 60
    rate: float = 0.05
    vectors: int = 4
    name: ClassVar[str] = "textual_inversion"
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = False  # the guide

    def learn(self, world: World) -> float:
        return 0.0

    def parameters(self, world: World) -> int:
        return (self.vectors + 1) * 192

    def answer(self, world: World, triples: Triples) -> Answer:
        torch.manual_seed(1)
        clock, n = Clock(), len(triples)
        latents, words = described(world, triples.references)
        start = class_word(world, n, self.vectors)
        codes = learn_codes(world, latents, words, start, new_word, self.iterations, self.rate)
        learned, clock = clock.seconds / n, Clock()
        images = world.decode(sample(WordedFlow(world, triples.prompts, codes, new_word), triples.noise))
        return Answer(images, learned, clock.seconds / n)
