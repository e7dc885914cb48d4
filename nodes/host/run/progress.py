"""Shows a running solver on its node: bar, picture, and a line that says how similar it is by now."""

from __future__ import annotations

import logging
import sys

import latent_preview
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.utils import ProgressBar
from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor

from ....rectifid_core.solver.iterate import Iterate
from .live import EVENT, Live
from .stop import asked_to_stop, forget

PREVIEW_PIXELS = 512
PREVIEWS = ("auto", "always")


class Progress:
    """A bar of so many steps, with a picture, a curve and a line at each, on the node that the host is executing.

    preview: one of `PREVIEWS`.
    shown: what the front end draws on the node by now, see `Live.data`.
    """

    def __init__(self, steps: int, preview: str = PREVIEWS[0]):
        self._previews = preview == "always" or not previews_refused()
        self._context = get_executing_context()
        self._node_id = self._context and self._context.node_id
        self._bar = ProgressBar(steps, node_id=self._node_id)
        self._live = Live(steps)
        forget(self._node_id)
        self._send("starts", running=True)

    def show(self, iterate: Iterate, step: int, name: str, picture: Tensor | None = None) -> None:
        """``step``, counted from 0 and called ``name``, has shown ``iterate``; picture: in the place of its own."""
        pairs = zip(iterate.similarity.tolist(), iterate.found.tolist(), strict=True)
        known = ["not found" if not found else f"{each:.3f}" for each, found in pairs if each == each or not found]
        line = f"{name}: similarity {' '.join(known)}" if known else name  # of no guidance there is none
        logging.info("RectifID %s", line)
        self._live.add(iterate)
        self._send(line, running=True)
        self._update(step + 1, iterate.image if picture is None else picture)

    def finish(self, image: Tensor, text: str) -> None:
        """The bar is full, and shows the pictures of the result."""
        if self._bar.current < self._bar.total:
            self._update(self._bar.total, image)
        self._send(text, running=False)

    def stopped(self) -> bool:
        """Whether the user has pressed *Stop and keep best* since the last time."""
        return asked_to_stop(self._node_id)

    def _update(self, step: int, image: Tensor) -> None:
        preview = ("JPEG", _picture(image), PREVIEW_PIXELS) if self._previews else None
        self._bar.update_absolute(step, preview=preview)

    def _send(self, line: str, running: bool) -> None:
        self.shown = self._live.data(line, running)
        server = getattr(PromptServer, "instance", None)
        if server is not None and self._context is not None:
            facts = {"node": self._node_id, "prompt_id": self._context.prompt_id}
            server.send_sync(EVENT, {**facts, **self.shown}, server.client_id)


def previews_refused() -> bool:
    """Whether the user told the host to show none, on the command line or, on newer hosts, in its settings.

    Without a word from the user the host's own default is none, too, since its previews take time; ours does not.
    """
    refused = args.preview_method is LatentPreviewMethod.NoPreviews
    chosen = getattr(latent_preview, "default_preview_method", args.preview_method)
    told = any(word.split("=")[0] == "--preview-method" for word in sys.argv)
    return refused and (told or chosen is not args.preview_method)


def say(text: str, node_id: str | None) -> None:
    """Writes ``text`` on the node, where there is a server to carry it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def tell(text: str, node_id: str | None) -> dict:
    """Says ``text``, and returns it as a node's `ui`: who runs the graph without the editor finds it in the history."""
    say(text, node_id)
    return ui.PreviewText(text).as_dict()


def _picture(image: Tensor) -> Image.Image:
    """The batch ``(B, 3, H, W)`` side by side."""
    row = torch.cat(list(image), dim=-1).movedim(0, -1)
    return Image.fromarray((row * 255).round().byte().cpu().numpy())  # bytes are quick to bring from a GPU
