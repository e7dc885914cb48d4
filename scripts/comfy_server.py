"""A real ComfyUI server in a process of its own, spoken to as the browser does: HTTP and a websocket."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import aiohttp

from .environment import BASE

TEXT_MESSAGE = 3  # the host's BinaryEventTypes.TEXT
SILENCE = 120  # seconds without an answer after which a server counts as gone
LOST = (aiohttp.ClientError, urllib.error.URLError, http.client.HTTPException, ConnectionResetError)
# A proxy of the environment must not be asked for this machine's own server.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerError(Exception):
    """The server, or the job that it was given, failed; the message is the server's own."""


class NodeError(ServerError):
    """A node failed; event: all that the server says of it, as its type and traceback."""

    def __init__(self, event: dict):
        super().__init__(f"{event['node_type']}: {event['exception_message'].strip()}")
        self.event = event


class Interrupted(ServerError):
    """The job was cancelled."""


@dataclass(frozen=True)
class Event:
    """What a running node says: `value` of `maximum` steps, or a line of `text`."""

    node: str
    value: int = 0
    maximum: int = 0
    text: str = ""


class ComfyServer:
    """A server that is up; made by `serving`, or of an address, such as "http://host:8188".

    process: of the server itself; None for one that somebody else started.
    """

    def __init__(self, address: str, process: subprocess.Popen | None = None):
        self.address = address
        self.process = process

    def get(self, path: str, **query: str) -> bytes:
        with OPENER.open(f"{self.address}{path}?{urlencode(query)}", timeout=SILENCE) as answer:
            return answer.read()

    def post(self, path: str, body: object) -> bytes:
        request = urllib.request.Request(f"{self.address}{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with OPENER.open(request, timeout=SILENCE) as answer:
            return answer.read()

    def object_info(self) -> dict[str, dict]:
        """What the server knows of each node: its inputs in order, outputs, tooltips."""
        return json.loads(self.get("/object_info"))

    def stats(self) -> dict:
        """Its system and devices, with their memory."""
        return json.loads(self.get("/system_stats"))

    def image(self, entry: dict[str, str]) -> bytes:
        """The PNG behind one entry of a node's "images"."""
        return self.get("/view", **entry)

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def run(
        self, prompt: dict, watch: Callable[[Event], None] = lambda event: None, seconds: float | None = None
    ) -> dict[str, dict]:
        """Queue a prompt (API form), wait for it, and return what each node left: node id -> {"images": [...], ...}.

        watch: called with each event while it runs.  seconds: the most to wait, the queue included; None: for ever.
        Raises Interrupted where it was cancelled, and ServerError where the server refuses the prompt, or a part of it,
        a node fails, it takes too long, and is cancelled, or the server is gone, or never was there.
        """
        try:
            return asyncio.run(self._run(prompt, watch, seconds))
        except LOST as lost:
            raise ServerError(f"the server at {self.address} does not answer ({lost})") from lost

    async def _run(self, prompt: dict, watch: Callable[[Event], None], seconds: float | None) -> dict[str, dict]:
        client = uuid.uuid4().hex
        address = f"{self.address}/ws?clientId={client}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            body = {"prompt": prompt, "client_id": client}
            async with session.post(f"{self.address}/prompt", json=body) as answer:
                told = await answer.json()
                if answer.status != 200:
                    raise ServerError(refusal(told, prompt))
            try:
                await asyncio.wait_for(follow(socket, told["prompt_id"], watch), seconds)
            except asyncio.TimeoutError:
                self.post("/queue", {"delete": [told["prompt_id"]]})
                self.post("/interrupt", {"prompt_id": told["prompt_id"]})
                raise ServerError(f"the job was not done after {seconds:.0f} s, and was cancelled") from None
        if told["node_errors"]:  # which left out a part of the prompt
            raise ServerError(refusal(told, prompt))
        history = json.loads(self.get(f"/history/{told['prompt_id']}"))
        return history[told["prompt_id"]]["outputs"]


async def follow(socket: aiohttp.ClientWebSocketResponse, job: str, watch: Callable[[Event], None]) -> None:
    """Pass on the events of one job until it has ended."""
    async for message in socket:
        if message.type == aiohttp.WSMsgType.BINARY:
            kind, length = struct.unpack_from(">II", message.data)
            if kind == TEXT_MESSAGE:
                node, text = message.data[8 : 8 + length], message.data[8 + length :]
                watch(Event(node.decode(), text=text.decode()))
            continue
        event = json.loads(message.data)
        kind, data = event["type"], event["data"]
        if data.get("prompt_id") != job:
            continue
        if kind == "rectifid.run":
            watch(Event(data["node"], text=data["line"]))
        elif kind == "progress":
            watch(Event(data["node"], data["value"], data["max"]))
        elif kind == "execution_interrupted":
            raise Interrupted("the job was cancelled")
        elif kind == "execution_error":
            raise NodeError(data)
        elif kind == "executing" and data["node"] is None:
            return  # the last word; at "execution_success" the history is not written yet
    raise ServerError("the server closed the connection while the job was running; see its log")


def refusal(told: dict, prompt: dict) -> str:
    """The server's reasons for refusing a prompt, a line for each."""
    reasons = [
        f"{prompt[node]['class_type']}: {error['message']} ({error['details']})"
        for node, errors in told["node_errors"].items()
        for error in errors["errors"]
    ]
    return "\n".join(reasons) or told["error"]["message"]


@contextmanager
def serving(
    base: Path, output: Path, own: Path | None = None, python: Sequence[str] = (sys.executable,)
) -> Iterator[ComfyServer]:
    """Start a server on a free port, wait until it answers, and stop it at the end.

    base: ComfyUI's base directory, whose custom_nodes hold the pack.
    output: where SaveImage puts its files.
    own: for its log, user, input and temporary files, where several servers share a base; None: the base.
    python: the command that runs ComfyUI's main.py.
    """
    host = Path(os.environ.get("COMFYUI_PATH", BASE))
    own = own or base
    for folder in (base, output, own / "user", own / "input"):
        folder.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    log = own / "server.log"
    command = [*python, str(host / "main.py"), "--port", address.rpartition(":")[2]]
    command += ["--base-directory", str(base), "--output-directory", str(output), "--user-directory", str(own / "user")]
    command += ["--input-directory", str(own / "input"), "--temp-directory", str(own)]
    # Without these the database would be written into the host's own folder, and the host would call home.
    command += ["--database-url", f"sqlite:///{(own / 'user' / 'comfyui.db').as_posix()}", "--disable-api-nodes"]
    if front_end := os.environ.get("COMFYUI_FRONT_END"):  # another one than the host's own
        command += ["--front-end-root", front_end]
    command += ["--disable-auto-launch", *([] if has_accelerator() else ["--cpu"])]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=host, stdout=file, stderr=subprocess.STDOUT)
    try:
        server = ComfyServer(f"http://{address}", process)
        wait_until_up(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(server: ComfyServer, process: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    """Wait for the first answer; raises ServerError, with the end of the log, where none comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            server.stats()
            return
        except urllib.error.URLError:
            time.sleep(0.25)
    said = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    state = f"is not up after {seconds:.0f} s" if process.returncode is None else f"ended, code {process.returncode}"
    raise ServerError(f"ComfyUI {state}. The end of {log}:\n{said}")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_accelerator() -> bool:
    """Whether there is a device that ComfyUI uses by itself."""
    import torch  # here, since who only speaks to a server elsewhere needs none

    return torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available()
