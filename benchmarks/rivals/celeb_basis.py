"""A new word for the person out of a basis: the words of many training people are learned first, and of a new person
only the coefficients in their principal components.

Yuan et al., Celeb Basis, arXiv 2306.00926.  The text encoder of this world knows no celebrity by name, so that the
words which the basis is made of are those of textual inversion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from world import Triples, World

from rivals.basis import Answer, Clock, People, cache, described, sample
from rivals.words import WordedFlow, class_word, learn_codes, new_word


@dataclass
class CelebBasis:
    iterations: int = 50
    rate: float = 0.1
    vectors: int = 4
    people: int = 64
    drawn: int = 12_000  # people of whom there are pictures, for the other methods too
    components: int = 32
    name: ClassVar[str] = "celeb_basis"
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = False

    @property
    def _path(self):
        return cache() / f"{self.name}_{self.people}.pt"

    def learn(self, world: World) -> float:
        if not self._path.exists():
            torch.manual_seed(2)
            everybody, clock = People.load(world, self.drawn), Clock()
            latents, words = everybody.latents[: self.people, 0], everybody.read[: self.people, 0]
            start = class_word(world, len(latents), self.vectors)
            codes = learn_codes(world, latents, words, start, new_word, 50, 0.03).flatten(1)
            torch.save({**basis_of(codes, self.components), "seconds": clock.seconds}, self._path)
        return torch.load(self._path, weights_only=True)["seconds"]

    def parameters(self, world: World) -> int:
        return self.components + self.people * (self.vectors + 1) * 192

    def answer(self, world: World, triples: Triples) -> Answer:
        torch.manual_seed(1)
        known = torch.load(self._path, weights_only=True)

        def join(words: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
            word = known["mean"] + codes @ known["basis"]
            return new_word(words, word.unflatten(1, (-1, 192)))

        clock, n = Clock(), len(triples)
        latents, words = described(world, triples.references)
        start = torch.zeros(n, len(known["basis"]))
        codes = learn_codes(world, latents, words, start, join, self.iterations, self.rate)
        learned, clock = clock.seconds / n, Clock()
        images = world.decode(sample(WordedFlow(world, triples.prompts, codes, join), triples.noise))
        return Answer(images, learned, clock.seconds / n)


def basis_of(codes: Tensor, components: int) -> dict[str, Tensor]:
    """Of codes (n, C): the mean, and the principal components (components, C), each as long as the codes deviate in
    it, so that coefficients of 1 are usual."""
    mean = codes.mean(0)
    _, deviations, directions = torch.linalg.svd(codes - mean, full_matrices=False)
    deviations = deviations / len(codes) ** 0.5
    return {"mean": mean, "basis": (deviations[:, None] * directions)[:components]}
