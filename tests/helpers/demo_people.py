"""People of the embedded world whom its networks never saw."""

from __future__ import annotations

import numpy as np
import torch

from demo.portrait import Identity, Scene, draw

FIRST = 5_000_000  # the first seed that was not used in training (demo/data.py)


def new_people(count: int) -> torch.Tensor:
    """Two scenes each of ``count`` people, ``(count, 2, 3, 128, 128)`` in [0, 1]."""
    pictures = []
    for seed in range(FIRST, FIRST + count):
        identity, rng = Identity.sample(np.random.default_rng(seed)), np.random.default_rng([seed, 1])
        pictures.append(np.stack([np.asarray(draw(identity, Scene.sample(rng))) for _ in range(2)]))
    return torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255
