"""Of people: identity.py, two_people.py, rivals.py, rivals_two.py, and what else is asked with their questions."""

from __future__ import annotations

from .cells import both, gain, mib, named, percent, spread, spread_percent, table

SHOWN = (0, 2, 5, 7, 10, 20, 40, 100)  # iterations
DRAWN = "another scene, drawn"


def likeness(results: dict) -> str:
    main, drawn, rows = results["main"], results["ceiling"], []
    for i, iterations in enumerate(main["iterations"]):
        if iterations in SHOWN:
            judge = main["judge"][i]
            share = f"{gain(judge, main['judge'][0], drawn['judge']):.2f}" if iterations else ""
            cells = (f"{judge:.3f}", f"{main['guide'][i]:.3f}", share, percent(main["prompt"][i], 1))
            rows.append((iterations, *cells, percent(main["tail"][i])))
    rows.append((DRAWN, f"{drawn['judge']:.3f}", f"{drawn['guide']:.3f}", "1.00", "", ""))
    return table(("iterations", "judge", "guide", "gain", "prompt accuracy", "below 0.7 by the judge"), rows)


def skins(results: dict) -> str:
    head = ("reference", "unguided picture", "people", "gain at 20", "people, best of 8", "gain at 20, best of 8")
    rows = []
    for one, eight in zip(results["gain_by_skin"], results["gain_by_skin_of_8_candidates"], strict=True):
        cells = [(row["n"], f"{row['gain_at_20']:.2f}" if row["n"] else "") for row in (one, eight)]
        rows.append((one["reference"], one["unguided"], *cells[0], *cells[1]))
    return table(head, rows)


def traits(results: dict) -> str:
    columns = ("unguided", "guided_20", "guided_100", "drawn")
    rows = ((named(trait), *(percent(shares[key]) for key in columns)) for trait, shares in results["traits"].items())
    return table(("trait", "unguided", "guided, 20", "guided, 100", DRAWN), rows)


def ablation(results: dict) -> str:
    rows = []
    for row in results["rows"]:
        at = row["iterations"].index
        last = row["iterations"][-1]
        scores = (row["judge"][at(20)], row["judge"][at(last)], row["guide"][at(last)])
        cells = (*(f"{score:.2f}" for score in scores), percent(row["prompt"][at(last)]))
        rows.append((f"`{row['rule']}`", row["views"] or "none", row["scale"], *cells))
    head = ("rule", "views", "scale", "judge at 20", "judge at 100", "guide at 100", "prompt at 100")
    return table(head, rows)


def two_people(results: dict) -> str:
    rows = []
    for name in ("free", "placed", "swapped"):
        row = results["rows"][name]
        at = row["iterations"].index(20)
        longest = both(row["gain_at_100"]) if "gain_at_100" in row else ""
        gains = (both(row["gain_at_20"]), longest)
        shares = (percent(row["assignment"]), percent(row["panels"]))
        rows.append((name, both(row["judge"][0]), both(row["judge"][at]), *gains, *shares))
    return table(("", "judge, unguided", "judge at 20", "gain at 20", "gain at 100", "assignment", "places"), rows)


def rivals(results: dict) -> str:
    """Every column."""
    head = ("new identity", "picture", "training", "numbers", "MiB")
    return _rivals(results, head, lambda row: (*_seconds(row), *_training(row)))


def rivals_in_short(results: dict) -> str:
    return _rivals(results, ("new identity", "picture"), _seconds)


def _rivals(results: dict, head: tuple[str, ...], cells) -> str:
    rows = [(*_scored("unguided", results["unguided"]), *[""] * len(head))]
    for row in sorted(results["rows"], key=lambda row: row["judge"]):
        rows.append((*_scored(", ".join([row["method"], *row["stands_for"]]), row), *cells(row)))
    rows.append((*_scored(DRAWN, results["drawn"]), *[""] * len(head)))
    return table(("method", "judge", "traits", "prompt", "distance", *head), rows)


def _scored(name: str, row: dict) -> tuple[str, ...]:
    return name, spread(row, "judge"), percent(row["traits"]), percent(row["prompt"], 1), f"{row['quality']:.0f}"


def _seconds(row: dict) -> tuple[str, ...]:
    return f"{row['seconds_identity']:.2f} s", f"{row['seconds_picture']:.2f} s"


def _training(row: dict) -> tuple[str, ...]:
    return _hours(row), f"{row['parameters']:,}" if row["parameters"] else "", mib(row["memory_bytes"])


def _hours(row: dict) -> str:
    return f"{row['training_hours']:.2f} h" if row["training_hours"] else ""


def in_a_glance(results: dict) -> str:
    """For the README: nothing, an adapter, ours, and what would be perfect."""
    rows = {row["method"]: row for row in results["rows"]}
    shown = {
        "unguided": results["unguided"],
        "a trained image adapter": rows["ip_adapter"],
        "**ours**, without training": rows["ours"],
        "the same person, drawn": results["drawn"],
    }
    cells = ((name, f"{row['judge']:.2f}", percent(row["prompt"])) for name, row in shown.items())
    return table(("", "likeness", "prompt"), cells)


def rivals_two(results: dict) -> str:
    asked = [("unguided", results["unguided"]), *((row["method"], row) for row in results["rows"])]
    rows = []
    for name, row in (*asked, ("drawn", results["drawn"])):
        _, judge, *scores = _scored(name, row)
        costs = (*_seconds(row), _hours(row)) if "training_hours" in row else [""] * 3
        rows.append((name, judge, percent(row["places"]), *scores, *costs))
    head = ("method", "judge", "places", "traits", "prompt", "distance", "new identities", "picture", "training")
    return table(head, rows)


def few_steps(results: dict) -> str:
    head = ("judge", "prompt", "distance")
    rows = []
    for row in results["rows"]:
        plain, ours = row["plain"], row["ours"]
        before = (f"{plain['judge']:.2f}", percent(plain["prompt"]), f"{plain['quality']:.0f}")
        after = (spread(ours, "judge"), percent(ours["prompt"]), f"{ours['quality']:.0f}")
        rows.append((row["model"], row["steps"], *before, *after, f"{row['seconds_picture']:.1f} s"))
    columns = ("model", "steps", f"plain: {head[0]}", *head[1:], f"ours: {head[0]}", *head[1:], "a guided picture")
    return table(columns, rows)


def sweep(results: dict) -> str:
    rows = []
    for row in results["rows"]:
        at = row["iterations"].index
        last = {key: row[key][at(20)] for key in ("judge", "judge_sem", "prompt", "prompt_sem")}
        early = (f"{row['judge'][at(i)]:.3f}" for i in (5, 10))
        cells = (f"`{row['rule']}`", f"{row['scale']:g}", *early)
        rows.append((*cells, spread(last, "judge"), spread_percent(last, "prompt")))
    return table(("rule", "scale", "judge at 5", "at 10", "at 20", "prompt at 20"), rows)


def universal(results: dict) -> str:
    rows = []
    for row in results["rows"]:
        before, after = row["unguided"], row["guided"]
        measure = "there" if "there" in after else "alike"
        prompts = f"{100 * before['prompt']:.0f}, {percent(after['prompt'])}"
        cells = (spread(before, measure, 2), spread(after, measure, 2), spread(after, "judge", 2))
        rows.append((row["row"], measure, *cells, prompts))
    return table(("", "measure", "unguided", "guided", "judge", "prompt, unguided and guided"), rows)


def subjects(results: dict) -> str:
    rows = []
    for row in results["rows"]:
        share = f"{row['gain']:.2f}" if "gain" in row else ""
        seconds = f"{row['seconds_picture']:.1f} s" if "seconds_picture" in row else ""
        scores = (spread(row, "judge"), share, percent(row["traits"]), percent(row["prompt"]), seconds)
        rows.append((row["group"], row["method"], *scores))
    return table(("group", "", "judge", "gain", "traits", "prompt", "a picture"), rows)
