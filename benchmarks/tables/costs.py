"""Of time and memory."""

from __future__ import annotations

from statistics import median

from .cells import gib, mib, ranged, table

PUBLISHED = {  # rows of published.json, and what a reader calls them
    "published": "published, 20 iterations",
    "default": "a fresh node's: `anchored`, `straight`, 4 views",
    "default, no views": "the same without views",
    "default, decoder run again": "the default, the decoder run again for its backward",
    "default, no views, decoder run again": "the same without views",
    "accumulated": "`accumulated`, 4 views, `full`",
    "accumulated, no views": "`accumulated`, no views, `full`",
    "accumulated, no views, windowed": "`accumulated`, no views, `windowed`",
    "single pass, 12 updates": "`single_pass`, 12 updates",
    "single pass, 16 updates": "`single_pass`, 16 updates",
    "single pass, 16 updates, no views": "`single_pass`, 16 updates, no views",
}
IN_SHORT = {
    "published": "published: one graph of everything, plain picture, 20 iterations",
    "default": "**a fresh node's settings**, 4 views: {} iterations",
    "default, no views": "the same with views at 0",
    "accumulated": "the rule `accumulated` with the exact gradient, 4 views",
    "single pass, 16 updates": "`single_pass`, 16 updates, 4 views",
}
ITERATIONS = 20  # of the published loop
SECONDS = (0.5, 0.7, 1.15)  # a picture, at which the table of rules.json is read
REAL_SIZE = ("model", "side", "type", "VAE", "gradient", "TFLOP", "least", "weights", "peak")
RESIDUALS = (0, 5, 10, 20, 30, 50)  # iterations


def published(results: dict) -> str:
    rows, goal = results["rows"], f"{results['rows']['published']['judge'][ITERATIONS]:.2f}"
    lines = []
    for name, label in PUBLISHED.items():
        row = rows[name]
        reached = row["iterations_to_the_same_similarity"] or "not reached"
        lines.append((label, f"{row['judge'][-1]:.2f}", reached, _time(name, row), f"{row['memory_ratio']:.2f}"))
    return table(("", "judge at the end", f"iterations to {goal}", "time", "memory"), lines)


def published_in_short(results: dict) -> str:
    lines = []
    for name, label in IN_SHORT.items():
        row = results["rows"][name]
        bold = "**{}**" if name.startswith("default") else "{}"
        memory = "1" if name == "published" else f"{row['memory_ratio']:.2f}"
        label = label.format(row["iterations_to_the_same_similarity"])
        lines.append((label, bold.format(_time(name, row)), memory))
    head = ("", "time to the published loop's similarity", "memory of an iteration, beside the weights")
    return table(head, lines)


def _time(name: str, row: dict) -> str:
    if name == "published":
        return "1"
    return f"{median(row['ratio']):.2f}" if row["ratio"] else "not reached"


def memory(results: dict) -> str:
    ratios = {(row.get("gradient"), row["views"]): row["ratio"] for row in results["rows"]}
    gradients = ("full", "windowed", "checkpointed")
    rows = [
        (label, *(f"{ratios[gradient, views]:.2f}" for gradient in gradients))
        for views, label in ((4, "4 views"), (0, "plain picture"))
    ]
    return table(("", *(f"`{gradient}`" for gradient in gradients)), rows)


def growth(results: dict) -> str:
    labels = {"side": "side in pixels"}
    rows = []
    for name, cost in results["cost"].items():
        sizes = ", ".join(map(str, cost["size"]))
        milliseconds = ", ".join(f"{1000 * seconds:.0f}" for seconds in cost["seconds"])
        exponents = [f"{cost['exponent'][key]:.2f}" for key in ("seconds", "bytes")]
        taken = ", ".join(mib(count) for count in cost["bytes"])
        rows.append((labels.get(name, name), sizes, milliseconds, exponents[0], taken, exponents[1]))
    return table(("", "sizes", "milliseconds", "exponent", "MiB", "exponent"), rows)


def rules(results: dict) -> str:
    rows = []
    for row in results["rows"]:
        points = (point_at(row, seconds) for seconds in SECONDS)
        cells = (f"{p['judge']:.2f} ({p['iterations']}; {100 * p['prompt']:.0f} %)" if p else "" for p in points)
        rule = f"`{row['rule']}`" + (f", best of {row['noises']} noises" if "noises" in row else "")
        rows.append((rule, row.get("gradient", "its own"), f"{row['scale']:g}", *cells))
    return table(("rule", "gradient", "scale", *(f"{seconds} s" for seconds in SECONDS)), rows)


def point_at(row: dict, seconds: float) -> dict | None:
    """What a row of rules.json had to show for so much time."""
    done = [point for point in row["points"] if point["seconds"] <= seconds]
    return done[-1] if done else None


def residuals(results: dict) -> str:
    rows = [
        (f"`{row['rule']}`", row["scale"], *(f"{row['residual'][i]:.3f}" for i in RESIDUALS))
        for row in results["convergence"]
    ]
    return table(("rule", "scale", *map(str, RESIDUALS[:-1]), f"{RESIDUALS[-1]} iterations"), rows)


def compiled(results: dict) -> str:
    gradients = [name for name, row in results.items() if isinstance(row, dict)]
    rows = ((f"`{gradient}`", ranged(results[gradient]["compiled_over_plain"])) for gradient in gradients)
    return table(("gradient", "compiled over plain"), rows)


def floor(results: dict) -> str:
    labels = {
        "bare": "bare calls of the modules",
        "solve": "`solve` on the modules",
        "bare in the host": "bare calls in the host",
        "node": "the sampler node in the host",
    }
    over = results["overhead"]
    compared = {
        "bare": "",
        "solve": ranged(over["solver"]),
        "bare in the host": f"{ranged(over['host'])} (of the modules')",
        "node": ranged(over["node"]),
    }
    rows = []
    for name, label in labels.items():
        times = [1000 * seconds for seconds in results["seconds"][name]]
        time = f"{median(times):.0f} ms ({min(times):.0f} to {max(times):.0f})"
        rows.append((label, time, compared[name], f"{results['over_floor'][name]:.1f} x"))
    return table(("", "an iteration", "over its bare calls, turn by turn", "the floor"), rows)


def real_sizes(results: dict) -> str:
    return table(REAL_SIZE, map(real_size, results["rows"]))


def real_size(row: dict) -> tuple[object, ...]:
    """The cells below REAL_SIZE; memory in GiB."""
    counted = (f"{row[name] / 1e12:.1f}" for name in ("flops", "floor_flops"))
    sizes = (gib(row[name]) for name in ("weights_bytes", "peak_bytes"))
    shape = (row[name] for name in ("model", "side", "dtype", "vae"))
    return (*shape, gradient_taken(row), *counted, *sizes)


def gradient_taken(row: dict) -> str:
    """The gradient that was asked for, and what it came to."""
    if row["setting"] == row["gradient"]:
        return row["gradient"]
    return f"{row['gradient']}: {row['setting']}" + (f" ({row['card']:g} GiB)" if row["card"] else "")


def discriminators(results: dict) -> str:
    stages = {"locate": "locate", "embed": "crop + embed", "gradient": "crop + embed + backward"}
    rows = []
    for name, found in results["recognisers"].items():
        for stage, label in stages.items():
            row = found["milliseconds"][stage]
            theirs = f"{row['insightface']['median']:.0f} ms" if stage != "gradient" else ""
            ratio = ranged(row["ratio"], "min", "max")
            rows.append((_recogniser(name), label, f"{row['ours']['median']:.0f} ms", theirs, ratio))
    return table(("recogniser", "stage", "ours", "insightface", "ratio"), rows)


def discriminators_memory(results: dict) -> str:
    stages = ("imports", "embed", "gradient", "insightface")
    rows = []
    for name, found in results["recognisers"].items():
        peaks = (f"{found['peak_memory_mb'][stage]['process']:.0f} MB" for stage in stages)
        rows.append((_recogniser(name), *peaks))
    head = ("peak memory", "imports alone", "locate, crop, embed", "and backward", "insightface")
    return table(head, rows)


def _recogniser(name: str) -> str:
    return {"mobilefacenet": "MobileFaceNet"}.get(name, name.removesuffix(" (random weights)"))
