"""The second stage: every drawn picture scored, by Ray; what has a score by the same network already is left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.util import ActorPool
from tqdm import tqdm

from .errors import EvaluationError
from .protocol import Protocol
from .results import DRAWN, SCORED, Store
from .scorers import MEASURES, Drawn, Scorer, load_scorer

AT_ONCE = 8  # pictures that a process gets


class ScoringActor:
    """A process with one scorer."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind, self.path = kind, path
        self.scorer: Scorer | None = None

    def load(self) -> tuple[str | None, str | None]:
        """(the scorer's digest, None), or (None, what is wrong with its file or folder)."""
        try:
            self.scorer = load_scorer(self.kind, self.path, "cuda" if torch.cuda.is_available() else "cpu")
        except (ValueError, OSError, ImportError) as error:
            return None, str(error)
        return self.scorer.digest, None

    def score(self, pictures: Sequence[Drawn]) -> list[dict]:
        """A row for each picture."""
        if self.scorer is None:  # Ray has started the process again
            self.load()
        assert self.scorer is not None
        rows = []
        for drawn in pictures:
            try:
                value, note = self.scorer(drawn)
            except (ValueError, OSError) as error:
                value, note = None, str(error)
            row = {"key": drawn.key, "scorer": self.scorer.digest, "value": value, "note": note}
            rows.append(row | {"finished": time.time()})
        return rows


def scores_of(folder: Path, measure_name: str) -> Store:
    """Where the scores of one measure are kept."""
    return Store(folder / "scores" / measure_name, SCORED)


def score(folder: Path, protocol: Protocol, kind: str, path: Path, workers: int) -> None:
    """Score the pictures that have no score by this network yet."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    options = {"num_gpus": 1} if gpus else {"num_cpus": 1}
    actor = ray.remote(ScoringActor).options(max_restarts=2, max_task_retries=2, **options)
    actors = [actor.remote(kind, path) for _ in range(workers or gpus or 1)]
    loaded = ray.get([each.load.remote() for each in actors])
    for _, wrong in loaded:
        if wrong:
            raise EvaluationError(f"cannot score by {path}: {wrong}")
    digest = loaded[0][0]
    store = scores_of(folder, MEASURES[kind])
    kept = {key for key, row in store.rows().items() if row["scorer"] == digest}
    drawn = Store(folder / "drawn", DRAWN).rows()
    rows = [row for row in protocol.rows() if row.key in drawn and drawn[row.key]["picture"]]
    waiting = [row for row in rows if row.key not in kept]
    chunks = [waiting[start : start + AT_ONCE] for start in range(0, len(waiting), AT_ONCE)]

    def send(actor: Any, chunk: Sequence[Any]) -> Any:
        """Called when an actor is free: no more pictures are read than are being scored."""
        return actor.score.remote(
            [
                Drawn(
                    row.key,
                    row.prompt,
                    row.face.digest,
                    Path(row.face.path).read_bytes(),
                    (folder / drawn[row.key]["picture"]).read_bytes(),
                )
                for row in chunk
            ]
        )

    with tqdm(total=len(rows), initial=len(rows) - len(waiting), unit="picture", desc=MEASURES[kind]) as bar:
        for scored in _answers(ActorPool(actors), send, chunks):
            for row in scored:
                store.add(row)
            bar.update(len(scored))
    store.merge()
    for each in actors:
        ray.kill(each)


def _answers(pool: ActorPool, send: Any, chunks: Sequence[Any]) -> Iterator[list[dict]]:
    try:
        yield from pool.map_unordered(send, chunks)
    except (RayError, OSError) as error:
        raise EvaluationError(f"scoring broke off: {error}; the same command goes on") from error
