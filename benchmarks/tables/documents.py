"""Where the tables stand, and the results that they are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from . import costs, gradients, identities, world

ROOT = Path(__file__).resolve().parents[2]
RESULTS, WEIGHTS = "benchmarks/results/", "demo/weights/"
TABLES: dict[str, tuple[str, Callable[[dict], str]]] = {  # what a mark names: the results, and what makes it of them
    "likeness": (f"{RESULTS}identity.json", identities.likeness),
    "skins": (f"{RESULTS}identity.json", identities.skins),
    "traits": (f"{RESULTS}identity.json", identities.traits),
    "ablation": (f"{RESULTS}identity.json", identities.ablation),
    "two_people": (f"{RESULTS}two_people.json", identities.two_people),
    "rivals": (f"{RESULTS}rivals.json", identities.rivals),
    "rivals_in_short": (f"{RESULTS}rivals.json", identities.rivals_in_short),
    "in_a_glance": (f"{RESULTS}rivals.json", identities.in_a_glance),
    "rivals_two": (f"{RESULTS}rivals_two.json", identities.rivals_two),
    "few_steps": (f"{RESULTS}few_steps.json", identities.few_steps),
    "sweep": (f"{RESULTS}sweep.json", identities.sweep),
    "universal": (f"{RESULTS}universal.json", identities.universal),
    "subjects": (f"{RESULTS}subjects.json", identities.subjects),
    "published": (f"{RESULTS}published.json", costs.published),
    "published_in_short": (f"{RESULTS}published.json", costs.published_in_short),
    "memory": (f"{RESULTS}memory.json", costs.memory),
    "growth": (f"{RESULTS}growth.json", costs.growth),
    "rules": (f"{RESULTS}rules.json", costs.rules),
    "residuals": (f"{RESULTS}rules.json", costs.residuals),
    "compiled": (f"{RESULTS}compiled.json", costs.compiled),
    "floor": (f"{RESULTS}floor.json", costs.floor),
    "real_sizes": (f"{RESULTS}real_sizes.json", costs.real_sizes),
    "discriminators": (f"{RESULTS}discriminators.json", costs.discriminators),
    "discriminators_memory": (f"{RESULTS}discriminators.json", costs.discriminators_memory),
    "straight": (f"{RESULTS}straight.json", gradients.straight),
    "cfg": (f"{RESULTS}approximations.json", gradients.cfg),
    "decoder": (f"{RESULTS}approximations.json", gradients.decoder),
    "scale": (f"{RESULTS}scale.json", gradients.scale),
    "straightness": (f"{WEIGHTS}straightness.json", world.straightness),
    "pictures": (f"{WEIGHTS}quality.json", world.pictures),
    "world_traits": (f"{WEIGHTS}quality.json", world.traits),
}
DOCUMENTS = (
    "README.md",
    "benchmarks/README.md",
    "demo/README.md",
    "docs/evaluation.md",
    "docs/speed_and_memory.md",
)
# beside another table of the same results, or with a machine for each row
WITHOUT_MACHINE = {
    "in_a_glance",
    "skins",
    "traits",
    "ablation",
    "residuals",
    "decoder",
    "discriminators_memory",
    "real_sizes",
}
MARKED = re.compile(r"<!-- table: (?P<name>\w+) -->\n.*?<!-- end of the table -->", re.DOTALL)


def made(name: str) -> str:
    """The table of that name, from the committed results, and what they were measured on."""
    file, make = TABLES[name]
    results = json.loads((ROOT / file).read_text(encoding="utf-8"))
    if name in WITHOUT_MACHINE or "machine" not in results:
        return make(results)
    return f"{make(results)}\n\nMeasured on {results['machine']}, {results['date']}."


def filled(text: str) -> str:
    """A document with each of its tables made anew."""
    return MARKED.sub(
        lambda mark: f"<!-- table: {mark['name']} -->\n\n{made(mark['name'])}\n\n<!-- end of the table -->", text
    )
