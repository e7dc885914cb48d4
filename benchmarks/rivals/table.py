"""A row of the rivals' tables, and what is kept of a method so that a run that was ended goes on."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import torch
from measure import peak_bytes
from world import Couples, Triples, World

from rivals.basis import Answer, Rival, cache, digest


def shortened(rival):
    """A method with little to learn and a few iterations, for a quick look."""
    changes: dict = {}
    for each in fields(rival):
        value = getattr(rival, each.name)
        if each.name in ("people", "drawn"):
            changes[each.name] = min(value // 8, 400)
        elif each.name == "minutes":
            changes[each.name] = 0.3
        elif each.name == "iterations":
            changes[each.name] = value and max(4, value // 4)
        elif is_dataclass(value):
            changes[each.name] = shortened(value)
    return replace(rival, **changes)


def answers_of(rival: Rival, questions: Triples | Couples, kind: str) -> Path:
    """The file of a method's pictures, which is another one for other settings, questions or weights.

    kind: of questions, "one" person or "two".
    """
    seen = digest("recogniser_guide.onnx") if rival.sees else ""
    key = hashlib.sha256(f"{kind} {rival} {len(questions)} {seen}".encode()).hexdigest()[:8]
    return cache() / f"answers_{rival.name}_{key}.pt"


def answered(world: World, rival: Rival, questions: Triples | Couples, kind: str) -> Answer:
    """The method's pictures, of the cache where they have been drawn."""
    path = answers_of(rival, questions, kind)
    if not path.exists():
        answer = rival.answer(world, questions)
        short = replace(rival, iterations=min(2, rival.iterations))
        memory = peak_bytes(lambda: short.answer(world, questions.part(slice(1))))
        torch.save({**vars(answer), "memory_bytes": memory}, path)
    return Answer(**torch.load(path, weights_only=True))


def row_of(world: World, rival: Rival, answer: Answer, scores: dict) -> dict:
    return {
        "method": rival.name,
        "stands_for": list(rival.stands_for),
        **scores,
        "seconds_identity": answer.seconds_identity,
        "seconds_picture": answer.seconds_picture,
        "training_hours": rival.learn(world) / 3600,
        "parameters": rival.parameters(world),
        "memory_bytes": answer.memory_bytes,
        "settings": str(rival),
    }
