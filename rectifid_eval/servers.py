"""A ComfyUI server and who draws with it: an address, or one that is started here.  Ray makes actors of `Worker`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from scripts.comfy_server import ComfyServer, NodeError, ServerError, serving
from scripts.environment import python_beside

from .workflows import Method, Slots, fill, settings

SUBFOLDER = "rectifid_eval"  # of the server's inputs
PATIENCE = (0, 5, 15)  # seconds before each try to reach a server elsewhere
SAMPLING = 0.25  # seconds between two looks at the memory
LOST = (ServerError, OSError, aiohttp.ClientError, KeyError, ValueError)


@dataclass(frozen=True)
class Local:
    """A ComfyUI to be started where the actor is.

    comfyui: its code; base: the folder of its models and custom_nodes.
    """

    comfyui: str
    base: str


@dataclass(frozen=True)
class Question:
    """One picture to be drawn; face: the reference's bytes; seconds: the most that it may take."""

    method: Method
    slots: Slots
    prompt: str
    seed: int
    face: bytes
    face_name: str
    seconds: float


@dataclass(frozen=True)
class Answer:
    """picture: the file's bytes, or None with the message of what went wrong; gone: the server does not answer.

    cold: the first by this method, with the loading of its models; peak_memory: bytes, None where it cannot be told.
    """

    picture: bytes | None = None
    error: str | None = None
    gone: bool = False
    server: str = ""
    settings: str = ""
    seconds: float = 0.0
    cold: bool = False
    peak_memory: int | None = None


class Worker:
    """Owns one server.  place: its address, or what to start."""

    def __init__(self, place: str | Local) -> None:
        self.place = place
        self.server: ComfyServer | None = None
        self._method: Method | None = None
        self._uploaded: set[str] = set()
        self._running = ExitStack()

    def up(self) -> str | None:
        """Make sure that the server answers: start it, or wait a little for it.  None, or what went wrong."""
        self._method, self._uploaded = None, set()
        try:
            if isinstance(self.place, Local):
                self._start(self.place)
            else:
                self._reach(self.place)
        except (ServerError, OSError, ValueError) as error:
            return str(error)
        return None

    def kinds(self, names: set[str]) -> dict[str, dict]:
        """What the server says of these kinds of nodes; those that it lacks are left out."""
        assert self.server is not None
        return {name: kind for name, kind in self.server.object_info().items() if name in names}

    def draw(self, question: Question) -> Answer:
        """One picture, or why there is none."""
        assert self.server is not None
        server, slots = self.server, question.slots
        try:
            reference = self._upload(question)
            filled = fill(question.method, slots, prompt=question.prompt, seed=question.seed, reference=reference)
            cold = self._method != question.method
            if cold and self._method is not None:
                server.post("/free", {"unload_models": True, "free_memory": True})
            self._method = question.method
            started = time.monotonic()
            with Peak(server) as peak:
                outputs = server.run(filled, seconds=question.seconds)
            seconds = time.monotonic() - started
            picture = server.image(outputs[slots.result]["images"][0])
        except LOST as error:
            gone = not isinstance(error, NodeError) and not self._answers()
            return Answer(error=_told(error), gone=gone, server=server.address)
        return Answer(picture, None, False, server.address, settings(filled), seconds, cold, peak.bytes)

    def close(self) -> None:
        """Stop a server that was started here."""
        self._running.close()

    def _start(self, place: Local) -> None:
        self._running.close()
        os.environ["COMFYUI_PATH"] = place.comfyui
        own = Path(self._running.enter_context(tempfile.TemporaryDirectory(prefix="rectifid_eval_")))
        python = str(python_beside(Path(place.comfyui)))
        # Without its actor a server is of no use, and would keep its GPU: where Linux can, they end together.
        together = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self.server = self._running.enter_context(serving(Path(place.base), own / "output", own, [*together, python]))

    def _reach(self, address: str) -> None:
        self.server = ComfyServer(address)
        for wait in PATIENCE:
            time.sleep(wait)
            if self._answers():
                return
        raise ServerError(f"{address} does not answer; is ComfyUI running there, with --listen, and the port open?")

    def _answers(self) -> bool:
        assert self.server is not None
        try:
            self.server.stats()
        except (OSError, ValueError):
            return False
        return True

    def _upload(self, question: Question) -> str:
        """The reference among the server's inputs: its name there."""
        assert self.server is not None
        name = f"{SUBFOLDER}/{question.face_name}"
        if question.slots.reference and name not in self._uploaded:
            asyncio.run(upload(self.server.address, question.face_name, question.face))
            self._uploaded.add(name)
        return name


async def upload(address: str, name: str, content: bytes) -> None:
    """Put a picture among the inputs of a server."""
    form = aiohttp.FormData({"subfolder": SUBFOLDER, "overwrite": "true"})
    form.add_field("image", content, filename=name)
    async with aiohttp.ClientSession() as session, session.post(f"{address}/upload/image", data=form) as answer:
        answer.raise_for_status()


class Peak:
    """The most memory while something runs, looked at a few times in a second: ``with Peak(server) as peak: ...``.

    bytes: on a GPU, what torch holds there; on a CPU the resident memory of a server that was started here; else None.
    """

    def __init__(self, server: ComfyServer) -> None:
        self.bytes: int | None = None
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            with suppress(OSError, ValueError, psutil.Error):  # of a server that has just gone
                if (now := self._now()) is not None:
                    self.bytes = max(now, self.bytes or 0)
            self._over.wait(SAMPLING)

    def _now(self) -> int | None:
        device = self._server.stats()["devices"][0]
        if device["type"] != "cpu":
            return device["torch_vram_total"]
        process = self._server.process
        return None if process is None else psutil.Process(process.pid).memory_info().rss


def _told(error: Exception) -> str:
    if isinstance(error, KeyError | ValueError):
        return f"the server's answer has no picture in it ({type(error).__name__}: {error})"
    return str(error) or type(error).__name__
