"""Numbers as they stand in a table, and the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def spread(row: dict, key: str, digits: int = 3) -> str:
    """A mean and its standard error, which the row has as KEY_sem."""
    return f"{row[key]:.{digits}f} ± {row[f'{key}_sem']:.{digits}f}"


def spread_percent(row: dict, key: str) -> str:
    return f"{100 * row[key]:.0f} ± {100 * row[f'{key}_sem']:.0f} %"


def ranged(ratio: dict, low: str = "least", high: str = "most") -> str:
    """A median and its range."""
    return f"{ratio['median']:.2f} ({ratio[low]:.2f} to {ratio[high]:.2f})"


def mib(count: float) -> str:
    return f"{count / 2**20:.0f}"


def gib(count: float) -> str:
    return f"{count / 2**30:.2f}"


def named(trait: str) -> str:
    return trait.replace("_", " ")


def gain(reached: float, unguided: float, drawn: float) -> float:
    """The share of the way from the unguided picture to another drawn one of the same identity."""
    return (reached - unguided) / (drawn - unguided)


def both(values: Sequence[float], digits: int = 2) -> str:
    """Of two people, or one number for all."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "".join(f" {cell} |" if cell != "" else " |" for cell in line) for line in lines)
