"""Of shortcuts in the gradient, and of the unit of the scale."""

from __future__ import annotations

from .cells import percent, spread, table

COSINES = ("straight, published", "straight, derivative", "published, derivative")
DECODERS = {
    "embedded": "the embedded VAE",
    "small, then embedded": "the small decoder for 10 iterations, then the embedded VAE",
    "small": "the small decoder",
}


def straight(results: dict) -> str:
    rows = []
    for row in results["rows"]:
        cosines = (f"{row['cosine'][pair]:.2f}" for pair in COSINES)
        judged = (spread(row[name], "judge") for name in ("unguided", "straight", "full"))
        rows.append((row["flow"], row["windows"], f"{row['cfg']:g}", *cosines, *judged))
    pairs = (pair.replace(",", " and") for pair in COSINES)
    return table(("flow", "steps", "cfg", *pairs, "unguided", "`straight`", "exact (`full`)"), rows)


def cfg(results: dict) -> str:
    names = {"unguided": "unguided", "full": "exact (`full`)"}
    rows = []
    for row in results["cfg"]["rows"]:
        guided = "seconds_per_iteration" in row
        time = f"{1000 * row['seconds_per_iteration']:.0f} ms" if guided else ""
        judge = spread(row, "judge", 3 if guided else 2)
        gradient = names.get(row["gradient"], f"`{row['gradient']}`")
        rows.append((f"{row['cfg']:g}", gradient, judge, percent(row["prompt"]), time))
    return table(("cfg", "gradient", "judge", "prompt", "an iteration"), rows)


def decoder(results: dict) -> str:
    rows = (
        (DECODERS[row["decoder"]], spread(row, "judge"), percent(row["prompt"])) for row in results["decoder"]["rows"]
    )
    return table(("the loop looks through", "judge", "prompt"), rows)


def scale(results: dict) -> str:
    runs = list(dict.fromkeys((row["iterations"], row["step"]) for row in results["rows"] if row["pixels"] == 128))
    gains = {(row["pixels"], row["unit"], row["iterations"]): spread(row, "gain", 2) for row in results["rows"]}
    rows = []
    for pixels in dict.fromkeys(row["pixels"] for row in results["rows"]):
        cells = []
        for iterations, _ in runs:
            cells += [gains.get((pixels, unit, iterations), "the same") for unit in ("latent", "published")]
        rows.append((pixels, *cells))
    head = []
    for iterations, step in runs:
        head += [f"{iterations} iterations, scale {2 * step:g}: latent", "published"]
    return table(("canvas", *head), rows)
