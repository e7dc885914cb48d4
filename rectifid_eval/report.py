"""The report: one HTML file with its pictures inside, and one Parquet file with all results."""

from __future__ import annotations

import base64
import io
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from rectifid_core.images.figure import new_figure

from .intervals import Mean, by_person, difference, mean_of
from .protocol import Protocol, Row
from .results import DRAWN, SCORED, Store, whole
from .scorers import NO_FACE

MEASURES = ("identity", "prompt", "subject")
SHOWN = 8  # persons in the grid of pictures
SIDE = 192  # pixels of a picture in it
LISTED = 200  # failures


@dataclass(frozen=True)
class Summary:
    """What the table says of one method; means: of each measure; differences: from the first method."""

    name: str
    baseline: bool
    drawn: int
    failed: int
    missing: int
    means: dict[str, Mean]
    differences: dict[str, Mean]
    without: int  # pictures in which there was no face
    seconds: float  # the median of pictures for which nothing had to be loaded
    memory: float  # GB, the most


@dataclass
class Results:
    """The protocol's rows with what is known of each."""

    folder: Path
    protocol: Protocol
    rows: list[Row] = field(init=False)
    drawn: dict[str, dict] = field(init=False)
    scores: dict[str, dict[str, dict]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.protocol.rows()
        self.drawn = Store(self.folder / "drawn", DRAWN).rows()
        places = {name: self.folder / "scores" / name for name in MEASURES}
        self.scores = {name: Store(place, SCORED).rows() for name, place in places.items() if place.is_dir()}

    def value(self, measure: str, row: Row) -> float | None:
        """A row's score; None where it has none."""
        scored = self.scores.get(measure, {}).get(row.key)
        return None if scored is None else scored["value"]

    def persons(self, method: str, measure: str) -> dict[str, float]:
        """Each person's mean."""
        valued = ((row.face.digest, self.value(measure, row)) for row in self.rows if row.method == method)
        return by_person((person, value) for person, value in valued if value is not None)

    def summary(self, method: str) -> Summary:
        """A method's line in the table."""
        rows = [row for row in self.rows if row.method == method]
        there = [self.drawn[row.key] for row in rows if row.key in self.drawn]
        drawn = [each for each in there if each["picture"]]
        first = next(iter(self.protocol.methods))
        persons = {measure: self.persons(method, measure) for measure in self.scores}
        identity = self.scores.get("identity", {})
        memory = [each["peak_memory"] for each in drawn if each["peak_memory"]]
        warm = [each["seconds"] for each in drawn if not each["cold"]]
        return Summary(
            name=method,
            baseline=method in self.protocol.baselines,
            drawn=len(drawn),
            failed=len(there) - len(drawn),
            missing=len(rows) - len(there),
            means={measure: mean_of(values) for measure, values in persons.items()},
            differences={
                measure: difference(values, self.persons(first, measure))
                for measure, values in persons.items()
                if method != first
            },
            without=sum((identity.get(each["key"]) or {}).get("note") == NO_FACE for each in drawn),
            seconds=statistics.median(warm) if warm else math.nan,
            memory=max(memory) / 1e9 if memory else math.nan,
        )

    def table(self) -> pa.Table:
        """All rows that were drawn or failed, with their scores."""
        rows = []
        for row in self.rows:
            if row.key in self.drawn:
                scores = {f"score_{name}": self.value(name, row) for name in self.scores}
                rows.append(self.drawn[row.key] | scores)
        schema = pa.schema([*DRAWN, *((f"score_{name}", pa.float64()) for name in self.scores)])
        return pa.Table.from_pylist(rows, schema)


def write(folder: Path, protocol: Protocol) -> Path:
    """results.parquet and report.html in the evaluation's folder; returns the latter."""
    results = Results(folder, protocol)
    table = results.table()
    whole(folder / "results.parquet", lambda path: pq.write_table(table, path))
    summaries = [results.summary(method) for method in protocol.methods]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["mean"] = said
    failures = [row for row in table.to_pylist() if row["error"]]
    page = environment.get_template("report.html.j2").render(
        protocol=protocol,
        rows=len(results.rows),
        measures=list(results.scores),
        summaries=summaries,
        plot=plot(summaries) if {"identity", "prompt"} <= results.scores.keys() else None,
        grid=grid(results),
        failures=failures[:LISTED],
        more=max(0, len(failures) - LISTED),
        scorers={name: sorted({row["scorer"] for row in rows.values()}) for name, rows in results.scores.items()},
    )
    path = folder / "report.html"
    whole(path, lambda part: part.write_text(page, encoding="utf-8"))
    return path


def said(mean: Mean) -> str:
    """A mean and its interval, for the table."""
    if math.isnan(mean.value):
        return "-"
    return f"{mean.value:.3f}" + ("" if math.isnan(mean.low) else f" [{mean.low:.3f}, {mean.high:.3f}]")


def plot(summaries: list[Summary]) -> str:
    """Identity over prompt with both intervals, as a PNG in base64."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for summary in summaries:
        x, y = summary.means["prompt"], summary.means["identity"]
        if math.isnan(x.value) or math.isnan(y.value):
            continue
        spread = {
            name: [[_or_zero(mean.value - mean.low)], [_or_zero(mean.high - mean.value)]]
            for name, mean in (("xerr", x), ("yerr", y))
        }
        axes.errorbar([x.value], [y.value], **spread, marker="o", capsize=3, label=summary.name)
    axes.set_xlabel("prompt: cosine of picture and text (CLIP)")
    axes.set_ylabel("identity: cosine with the reference")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return base64.b64encode(buffer.getvalue()).decode()


def grid(results: Results) -> list[dict]:
    """The first persons, each with another prompt and as they came: what each method drew."""
    protocol, lines = results.protocol, []
    asked = {(row.method, row.face.digest, row.prompt): row for row in results.rows if row.number == 0}
    for number, face in enumerate(protocol.faces[:SHOWN]):
        prompt = protocol.prompts[number % len(protocol.prompts)]
        cells = []
        for method in protocol.methods:
            row = asked[method, face.digest, prompt]
            drawn = results.drawn.get(row.key)
            values = [(name, results.value(name, row)) for name in results.scores]
            cells.append(
                {
                    "picture": thumbnail(results.folder / drawn["picture"]) if drawn and drawn["picture"] else None,
                    "error": drawn["error"] if drawn else "not drawn yet",
                    "figures": ", ".join(f"{name} {value:.2f}" for name, value in values if value is not None),
                }
            )
        lines.append({"prompt": prompt, "reference": thumbnail(Path(face.path)), "cells": cells})
    return lines


def thumbnail(path: Path) -> str | None:
    """A picture at the grid's size, as a JPEG in base64; None where its file is not there any more."""
    try:
        picture = Image.open(path).convert("RGB")
    except OSError:
        return None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return base64.b64encode(buffer.getvalue()).decode()


def _or_zero(number: float) -> float:
    return 0.0 if math.isnan(number) else max(0.0, number)
