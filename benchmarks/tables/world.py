"""Of the embedded model's own networks: demo/weights/quality.json and straightness.json."""

from __future__ import annotations

from .cells import named, percent, table


def straightness(results: dict) -> str:
    rows = []
    for stage, label in (("teacher", "before the reflow"), ("reflow", "after")):
        row = results[stage]
        rows.append((label, f"{row['whole']:.3f}", f"{row['windows']:.4f}", f"{row['four_step_error']:.4f}"))
    head = ("", "whole path", "within the four windows", "end of 4 steps against end of 64")
    return table(head, rows)


def pictures(results: dict) -> str:
    columns = [results[name] for name in ("before", "unguided", "drawn")]
    rows = [
        ("of what a prompt names, drawn right", *(percent(each["prompt"]["all"], 1) for each in columns)),
        (
            "of the expressions alone (by guessing 25 %)",
            *(percent(each["prompt"]["expression"], 1) for each in columns),
        ),
        ("how sure the trait reader is", "", *(f"{each['sureness']:.2f}" for each in columns[1:])),
        ("Frechet distance to drawn pictures", *(f"{each['frechet']:.1f}" for each in columns)),
    ]
    return table(("", "the first weights", "these", "drawn pictures"), rows)


def traits(results: dict) -> str:
    """Twins told apart by guide and judge, and what the reader reads right."""
    guide, judge = (results[f"recogniser_{name}"]["twins"] for name in ("guide", "judge"))
    rows = (
        (named(trait), percent(guide[trait]), percent(judge[trait]), percent(results["reader"][trait]))
        for trait in guide
    )
    return table(("trait", "guide", "judge", "read right"), rows)
