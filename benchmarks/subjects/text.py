"""Trains the text encoder of things and pets: `demo/train_text.py` with other words and other things to be named."""

from __future__ import annotations

import numpy as np
import torch
from data import CACHE
from text_encoder import WIDTH, TextEncoder
from torch import Tensor, nn
from train_text import KINDS, learn_to_name, save_text, tokenized, vocabulary

from .pictures import SLOTS
from .render import NAMED


class Reading(nn.Module):
    """Linear readings of what the text encoder gives: each of the first context vectors of its slot, the pooled one of
    all."""

    def __init__(self):
        super().__init__()
        self.sizes = [1 + len(NAMED[name]) for _, name in SLOTS]
        self.slots = nn.ModuleList(nn.Linear(WIDTH, size) for size in self.sizes)
        self.pooled = nn.Linear(WIDTH, sum(self.sizes))

    def forward(self, context: Tensor, pooled: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        read = [slot(context[:, i]) for i, slot in enumerate(self.slots)]
        return read, list(self.pooled(pooled).split(self.sizes, 1))


def train(minutes: float) -> TextEncoder:
    """It learns to say what a prompt names."""
    torch.manual_seed(5)
    tokens = torch.cat([tokenized(kind).flatten(0, 1) for kind in KINDS])
    named = torch.cat([torch.from_numpy(np.load(CACHE / f"{kind}_named.npy")).flatten(0, 1) for kind in KINDS]).long()
    text = TextEncoder(vocabulary(tokens))
    learn_to_name(text, Reading(), tokens, lambda at: named[at], minutes)
    save_text(text)
    return text
