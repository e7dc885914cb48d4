"""An image adapter that also takes what a face recogniser says of the reference; here the guide.

Wang et al., InstantID, arXiv 2401.07519.  It goes on from the adapter that sees the picture alone, and leaves out the
network for facial landmarks: the prompt of this world says where a face is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from world import World

from rectifid_core.images.regions import whole
from rivals.basis import Clock, People, cache, digest, encode
from rivals.ip_adapter import Adapter, IPAdapter, Tokens, train


def embed(world: World, pictures: Tensor) -> Tensor:
    """What the guide says of pictures in [0, 1], (n, D)."""
    with torch.no_grad():
        parts = [world.guide.embed(world.guide.crop(x, [whole(x)] * len(x))) for x in pictures.split(100)]
    return torch.cat(parts)


@dataclass
class InstantID(IPAdapter):
    more: float = 0.25  # of the other adapter's training time, for its own
    name: ClassVar[str] = "instantid"
    stands_for: ClassVar[tuple[str, ...]] = ()
    sees: ClassVar[bool] = True

    @property
    def _path(self):
        guide = digest("recogniser_guide.onnx")
        return cache() / f"{self.name}_{self.minutes:g}_{self.more:g}_{self.people}_{guide}.pt"

    def learn(self, world: World) -> float:
        before = IPAdapter(self.minutes, self.people)
        earlier = before.learn(world)
        if not self._path.exists():
            people, clock = People.load(world, self.people), Clock()
            parts = [torch.from_numpy(people.pictures[i : i + 200]).flatten(0, 1) for i in range(0, self.people, 200)]
            said = torch.cat([embed(world, part.permute(0, 3, 1, 2).float() / 255) for part in parts])
            adapter = Adapter(said.shape[1])
            adapter.load_state_dict(before.adapter(world).state_dict(), strict=False)
            adapter = train(world, people, adapter, self.more * self.minutes, said.unflatten(0, (-1, 2)))
            torch.save({"adapter": adapter.state_dict(), "seconds": earlier + clock.seconds}, self._path)
        return torch.load(self._path, weights_only=True)["seconds"]

    def adapter(self, world: World) -> Adapter:
        state = torch.load(self._path, weights_only=True)["adapter"]
        adapter = Adapter(state["embedding.weight"].shape[1])
        adapter.load_state_dict(state)
        return adapter.eval().requires_grad_(False)

    def tokens(self, world: World, references: Tensor) -> Tokens:
        with torch.no_grad():
            return self.adapter(world)(encode(world, references), embed(world, references))
