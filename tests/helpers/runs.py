"""Runs of the soak's prompts, and what they leave, to compare."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.comfy_server import ComfyServer, serving
from tests.soak.prompts import SAMPLER, guided, node


@contextmanager
def served(base: Path, **environment: str | None) -> Iterator[ComfyServer]:
    """A server with these variables in its environment; None: without it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        with serving(base, base / "output") as server:
            yield server


def portrait(seed: int = 3, **changes: object) -> dict[str, dict]:
    """A guided picture that is the same for the same seed, saved with its workflow."""
    prompt = guided(random.Random(seed), **changes)
    prompt["latent"]["inputs"]["batch_size"] = 1
    prompt["kept"] = node("SaveImage", images=[SAMPLER, 1], filename_prefix="kept")
    return prompt


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)


def prompt_in(png: bytes) -> dict[str, dict]:
    """What the host wrote into a picture, to repeat it."""
    return json.loads(Image.open(io.BytesIO(png)).text["prompt"])


def drawn(server: ComfyServer, prompt: dict[str, dict]) -> bytes:
    """The PNG of a `portrait`."""
    (entry,) = server.run(prompt)["kept"]["images"]
    return server.image(entry)


def digest(png: bytes) -> str:
    """Of the pixels, without what is written beside them."""
    return hashlib.sha256(pixels(png).tobytes()).hexdigest()
