"""Rows over servers, by Ray: one actor for each server, one row at a time for each; what fails goes to another one."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before ray reads them: nothing is sent anywhere, and servers, whose time is measured, run at the usual priority.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")
import ray
from ray.exceptions import RayError
from tqdm import tqdm

from .errors import EvaluationError
from .protocol import Row
from .results import Store, whole
from .servers import Answer, Local, Question, Worker
from .workflows import Method, Slots, find_slots, missing_kinds

ROOT = Path(__file__).resolve().parents[1]
PICTURES = "pictures"
RETRIES = 5  # of starting a server, while Ray starts an actor again whose process has ended
# What actors on other machines import.
MODULES = [str(ROOT / name) for name in ("rectifid_eval", "rectifid_core", "scripts")]


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Ray on this machine alone, or a cluster that is there already.

    address: "auto" on one of its machines, or "ray://host:10001"; None: this machine.
    """
    try:
        ray.init(
            address or "local",  # without it Ray looks for a cluster that was begun here, and for ones that are gone
            runtime_env={"py_modules": MODULES} if address else None,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # what Ray raises has no class in common
        advice = "begin one with: ray start --head" if address else "is the machine very busy?"
        raise EvaluationError(f"Ray does not start {address or 'here'}: {error}; {advice}") from error
    try:
        yield
    finally:
        ray.shutdown()


class Pool:
    """The actors of some servers; made by `opened`.  names: what to call each in messages."""

    def __init__(self, places: Sequence[str | Local]) -> None:
        local = [place for place in places if isinstance(place, Local)]
        actor, options = ray.remote(max_restarts=-1)(Worker), _options(len(local))
        self.names: dict[Any, str] = {}
        for number, place in enumerate(local, 1):
            self.names[actor.options(**options).remote(place)] = f"server {number} of {len(local)} that were started"
        for place in places:
            if isinstance(place, str):
                self.names[actor.options(num_cpus=0).remote(place)] = place

    def up(self) -> None:
        """Start or reach all servers, and leave out those that do not answer."""
        said = {worker: start(worker) for worker in self.names}
        for worker, reference in said.items():
            if wrong := _get(reference):
                self.leave_out(worker, wrong)
        if not self.names:
            raise EvaluationError("no server answers; see above what each said")

    def leave_out(self, worker: Any, wrong: str) -> None:
        """Go on without a server."""
        tqdm.write(f"{self.names.pop(worker)} is left out: {wrong}")
        ray.kill(worker)

    def slots(self, methods: Sequence[Method]) -> dict[str, Slots]:
        """What to set in each method; EvaluationError for one that a server cannot run."""
        names = set().union(*(method.classes for method in methods))
        found: dict[str, dict] = {}
        for worker, server in self.names.items():
            found = ray.get(worker.kinds.remote(names))
            for method, lacking in missing_kinds(methods, found).items():
                raise EvaluationError(
                    f"{server} lacks nodes that the workflow of {method} has: {', '.join(lacking)}. Install the pack "
                    "that brings them, and start ComfyUI again"
                )
        return {method.name: find_slots(method, found) for method in methods}

    def close(self) -> None:
        """Stop the servers that were started."""
        if not self.names:
            return
        ray.wait([worker.close.remote() for worker in self.names], num_returns=len(self.names), timeout=30)
        for worker in self.names:
            ray.kill(worker)


@contextmanager
def opened(places: Sequence[str | Local]) -> Iterator[Pool]:
    """The servers that answer, as a pool; those that were started are stopped at the end."""
    pool = Pool(places)
    try:
        pool.up()
        yield pool
    finally:
        pool.close()


def start(worker: Any) -> Any:
    """A reference to what `Worker.up` says."""
    return worker.up.options(max_task_retries=RETRIES).remote()


def _options(starts: int) -> dict[str, float]:
    """What each actor that starts a server asks of Ray: a GPU for itself, or its share of the processors."""
    have = ray.cluster_resources()
    if not (gpus := int(have.get("GPU", 0))):
        return {"num_cpus": max(1, int(have.get("CPU", 1)) // max(1, starts))}
    if starts > gpus:
        raise EvaluationError(
            f"{starts} servers are to be started, and Ray has {gpus} GPUs, one for each; start {gpus}"
        )
    return {"num_cpus": 1, "num_gpus": 1}


@dataclass(frozen=True)
class Drawing:
    """What `draw` needs beside rows and servers.

    tries: how often a row is put to servers before it counts as failed.  seconds: the most for one picture.
    """

    methods: Mapping[str, Method]
    slots: Mapping[str, Slots]
    folder: Path
    store: Store
    tries: int
    seconds: float

    def question(self, row: Row) -> Question:
        """A row with all that a server needs for it."""
        face = Path(row.face.path)
        name = f"{row.face.digest[:24]}{face.suffix.lower()}"
        method = self.methods[row.method]
        return Question(method, self.slots[row.method], row.prompt, row.seed, face.read_bytes(), name, self.seconds)

    def keep(self, row: Row, answer: Answer, tries: int) -> None:
        """The picture first, and then the row that says that it is there."""
        picture = None
        if answer.picture is not None:
            picture = f"{PICTURES}/{row.key}.png"
            content = answer.picture
            whole(self.folder / picture, lambda path: path.write_bytes(content))
        self.store.add(
            {
                "key": row.key,
                "method": row.method,
                "workflow": row.workflow,
                "face": row.face.name,
                "face_digest": row.face.digest,
                "prompt": row.prompt,
                "number": row.number,
                "seed": row.seed,
                "picture": picture,
                "settings": answer.settings,
                "server": answer.server,
                "seconds": answer.seconds if picture else None,
                "cold": answer.cold,
                "peak_memory": answer.peak_memory,
                "tries": tries,
                "error": answer.error,
                "finished": time.time(),
            }
        )


def draw(rows: Iterable[Row], pool: Pool, drawing: Drawing, done: int = 0) -> None:
    """Draw the rows, and keep each when it is there; EvaluationError where no server is left.

    A row that fails is put to whichever server is free next, after all others; one whose server went away, at once.
    No more rows are under way than there are servers.  done: rows of an earlier run, for the progress bar.
    """
    (drawing.folder / PICTURES).mkdir(exist_ok=True)
    waiting, tries = deque(rows), Counter[str]()
    idle = list(pool.names)
    busy: dict[Any, tuple[Any, Row | None]] = {}  # a server that is started again has no row
    with tqdm(total=done + len(waiting), initial=done, unit="picture", smoothing=0.05) as bar:
        while waiting or any(row for _, row in busy.values()):
            while idle and waiting:
                worker, row = idle.pop(), waiting.popleft()
                tries[row.key] += 1
                busy[worker.draw.remote(drawing.question(row))] = (worker, row)
            if not busy:
                raise EvaluationError(
                    f"no server is left, and {len(waiting)} pictures are missing; the same command goes on with them"
                )
            (reference,), _ = ray.wait(list(busy), num_returns=1)
            worker, row = busy.pop(reference)
            if row is None:
                if wrong := _get(reference):
                    pool.leave_out(worker, wrong)
                else:
                    tqdm.write(f"{pool.names[worker]} is up again")
                    idle.append(worker)
                continue
            answer = _answer(reference)
            if answer.gone:
                tqdm.write(f"{pool.names[worker]} went away: {answer.error}")
                busy[start(worker)] = (worker, None)
            else:
                idle.append(worker)
            if answer.picture is None and tries[row.key] < drawing.tries:
                waiting.appendleft(row) if answer.gone else waiting.append(row)
                continue
            drawing.keep(row, answer, tries[row.key])
            if answer.error:
                tqdm.write(f"{row.method}, {row.face.name}, {row.prompt!r} failed: {answer.error.splitlines()[0]}")
            bar.update()
    drawing.store.merge()


def _get(reference: Any) -> str | None:
    """What an actor says of its server, or what happened to the actor."""
    try:
        return ray.get(reference)
    except RayError as error:
        return str(error)


def _answer(reference: Any) -> Answer:
    try:
        return ray.get(reference)
    except RayError as error:  # its process ended
        return Answer(error=f"the process that drew it ended: {str(error).splitlines()[0]}", gone=True)
