"""Results as Parquet: each row a file of its own when it is there, many of them merged later.

Files are written whole or not at all, so that a process may be killed at any time: a row is either done or not.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from .errors import EvaluationError

DRAWN = pa.schema(
    [
        ("key", pa.string()),
        ("method", pa.string()),
        ("workflow", pa.string()),  # its digest
        ("face", pa.string()),  # a file's name
        ("face_digest", pa.string()),
        ("prompt", pa.string()),
        ("number", pa.int64()),
        ("seed", pa.int64()),
        ("picture", pa.string()),  # a path in the evaluation's folder; null where it failed
        ("settings", pa.string()),  # the workflow as it ran, JSON
        ("server", pa.string()),
        ("seconds", pa.float64()),
        ("cold", pa.bool_()),  # the server had drawn nothing by this method yet: the time has loading in it
        ("peak_memory", pa.int64()),  # bytes; null where it cannot be told
        ("tries", pa.int64()),
        ("error", pa.string()),
        ("finished", pa.float64()),  # seconds since 1970
    ]
)
SCORED = pa.schema(
    [
        ("key", pa.string()),
        ("scorer", pa.string()),  # its name, and the digest of its networks and settings
        ("value", pa.float64()),
        ("note", pa.string()),  # why there is no value, or how it came about
        ("finished", pa.float64()),
    ]
)
MERGED = 256  # rows in files of their own, before they are merged


class Store:
    """The rows in a folder, by their key; of two with the same key, the later one counts."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.schema = schema
        self._single = len(list(folder.glob("row-*.parquet")))

    def add(self, row: dict) -> None:
        """Keep one row."""
        self._write(pa.Table.from_pylist([row], self.schema), "row")
        self._single += 1
        if self._single >= MERGED:
            self.merge()

    def rows(self) -> dict[str, dict]:
        """All rows, by key."""
        found = [row for path in sorted(self.folder.glob("*.parquet")) for row in self._read(path).to_pylist()]
        return {row["key"]: row for row in sorted(found, key=lambda row: row["finished"])}

    def merge(self) -> None:
        """One file in the place of many; where it is killed between, rows are there twice, and count once."""
        paths = sorted(self.folder.glob("row-*.parquet"))
        if len(paths) > 1:
            self._write(pa.concat_tables([self._read(path) for path in paths]), "rows")
            for path in paths:
                path.unlink()
        self._single = 0

    def _read(self, path: Path) -> pa.Table:
        try:
            return pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid) as error:
            raise EvaluationError(f"{path} cannot be read ({error}); delete it to do its rows again") from error

    def _write(self, table: pa.Table, kind: str) -> None:
        name = f"{kind}-{uuid.uuid4().hex}.parquet"
        whole(self.folder / name, lambda path: pq.write_table(table, path))


def whole(path: Path, write) -> None:
    """Have a file written under another name and moved to its own: it is there whole, or not there."""
    part = path.with_name(f".{path.name}.part")
    write(part)
    os.replace(part, path)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Refuses a second process that would draw or score the same rows; a killed one holds nobody up."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise EvaluationError(
            f"another evaluation is writing into {folder}; wait for it, or name another folder"
        ) from None
