"""Shows a running solver on its node: bar, picture, and a line that says how similar it is by now."""

from __future__ import annotations

import logging

import torch
from comfy.utils import ProgressBar
from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ....rectifid_core.solver.iterate import Iterate

PREVIEW_PIXELS = 512


class Progress:
    """A bar of so many steps, with a picture and a line at each, on the node that the host is executing."""

    def __init__(self, steps: int):
        context = get_executing_context()
        self._node_id = context and context.node_id
        self._bar = ProgressBar(steps, node_id=self._node_id)

    def show(self, iterate: Iterate, step: int, name: str) -> None:
        """``step``, counted from 0 and called ``name``, showed the pictures of ``iterate``."""
        pairs = zip(iterate.similarity.tolist(), iterate.found.tolist(), strict=True)
        similarity = " ".join(f"{each:.3f}" if found else "not found" for each, found in pairs)
        line = f"{name}: similarity {similarity}"
        logging.info("RectifID %s", line)
        self.say(line)
        self._bar.update_absolute(step + 1, preview=("JPEG", _picture(iterate.image), PREVIEW_PIXELS))

    def say(self, text: str) -> None:
        say(text, self._node_id)


def say(text: str, node_id: str | None) -> None:
    """Writes ``text`` on the node, where there is a server to carry it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def tell(text: str, node_id: str | None) -> dict:
    """Says ``text``, and returns it as a node's `ui`: who runs the graph without the editor finds it in the history."""
    say(text, node_id)
    return ui.PreviewText(text).as_dict()


def _picture(image: torch.Tensor) -> Image.Image:
    """The batch ``(B, 3, H, W)`` side by side."""
    row = torch.cat(list(image), dim=-1).movedim(0, -1)
    return Image.fromarray((row * 255).round().byte().cpu().numpy())  # bytes are quick to bring from a GPU
