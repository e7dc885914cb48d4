"""A training that goes on from the cache where it was ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn


class Resumed:
    """A model and its optimizer, with what the checkpoint has of both; minutes are those of one processor.

    warm_up: steps to the full rate, which falls in the last five eighths of the time; clip: the gradient's most norm;
    every: so many steps there is a line and a checkpoint.
    """

    def __init__(
        self, model: nn.Module, checkpoint: Path, rate: float, minutes: float, *, warm_up: int, clip: float, every: int
    ):
        self.model, self.checkpoint, self.rate, self.minutes = model, checkpoint, rate, minutes
        self.warm_up, self.clip, self.every = warm_up, clip, every
        self.optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
        self.step, self.spent = 0, 0.0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.spent = state["step"], state["spent"]

    def shares(self) -> Iterator[float]:
        """Before each step: how much of the time is over; `update` follows."""
        self.start = time.process_time() - self.spent
        while (share := (time.process_time() - self.start) / (60 * self.minutes)) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * min(1, self.step / self.warm_up) * min(1.0, max(0.02, 1.6 * (1 - share)))
            yield share

    def update(self, loss: Tensor, share: float) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.step += 1
        if self.step % self.every == 0:
            print(f"{self.step} {share:.0%} loss {loss.item():.3f}", flush=True)
            kept = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
            torch.save({**kept, "spent": time.process_time() - self.start}, self.checkpoint)
