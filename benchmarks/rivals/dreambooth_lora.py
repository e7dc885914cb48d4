"""DreamBooth in which low-rank matrices are trained beside those of the flow's attention.

Hu et al., LoRA, arXiv 2106.09685; as is usual for DreamBooth (arXiv 2208.12242) on large models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from world import World

from rivals.dreambooth import DreamBooth, Weights


@dataclass
class DreamBoothLora(DreamBooth):
    rate: float = 1e-2
    rank: int = 8
    name: ClassVar[str] = "dreambooth_lora"

    def start(self, world: World) -> Weights:
        generator, trained = torch.Generator().manual_seed(3), {}
        for name, matrix in world.model.flow.named_parameters():
            if name.endswith(("attn.qkv.weight", "attn.proj.weight")):
                trained[f"{name}.up"] = torch.zeros(matrix.shape[0], self.rank)
                down = torch.randn(self.rank, matrix.shape[1], generator=generator)
                trained[f"{name}.down"] = down / matrix.shape[1] ** 0.5
        return trained

    def weights(self, world: World, trained: Weights) -> Weights:
        return {
            name.removesuffix(".up"): world.model.flow.get_parameter(name.removesuffix(".up"))
            + up @ trained[name.removesuffix("up") + "down"]
            for name, up in trained.items()
            if name.endswith(".up")
        }
