"""Trains the text encoder of things and pets: `demo/train_text.py` with other words and other things to be named."""

from __future__ import annotations

import time

import numpy as np
import torch
from data import CACHE
from text_encoder import WIDTH, TextEncoder
from torch import Tensor, nn
from torch.nn import functional as F
from train_text import KINDS, save_text, tokenized

from .pictures import SLOTS
from .render import NAMED

RATE = 1e-3


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


def train(minutes: float, batch: int = 128) -> TextEncoder:
    """It learns to say what a prompt names."""
    torch.manual_seed(5)
    tokens = torch.cat([tokenized(kind).flatten(0, 1) for kind in KINDS])
    named = torch.cat([torch.from_numpy(np.load(CACHE / f"{kind}_named.npy")).flatten(0, 1) for kind in KINDS]).long()
    text, reading = TextEncoder(sorted(set(tokens.unique().tolist()) - {49407})), Reading()
    parameters = [*text.parameters(), *reading.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.01)
    step, start = 0, time.process_time()
    while (share := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 100) * min(1.0, max(0.02, 2 * (1 - share)))
        at = torch.randint(len(tokens), (batch,))
        choices = named[at]
        logits = reading(*text(tokens[at]))
        loss = sum(F.cross_entropy(group, choices[:, i]) for each in logits for i, group in enumerate(each))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            wrong = sum((group.argmax(1) != choices[:, i]).sum().item() for i, group in enumerate(logits[1]))
            print(f"{step} {share:.0%} loss {loss.item():.4f}, {wrong} of {choices.numel()} wrong", flush=True)
    save_text(text)
    return text
