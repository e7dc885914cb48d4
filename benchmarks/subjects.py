"""Things and pets: how alike they become, one, two, or beside a person, by a judge that did not guide.

    COMFYUI_PATH=... python benchmarks/subjects.py train      # an hour on one core; resumes stage by stage
    COMFYUI_PATH=... python benchmarks/subjects.py            # the same where it has not been done; resumes row by row
    COMFYUI_PATH=... python benchmarks/subjects.py --quick    # trains a little, to output/benchmarks

A small world of its own, see `subjects/`; its weights stay in the cache (RECTIFID_DEMO_CACHE).  Each question has a new
subject's reference picture, a prompt for another place, and a seed; the guide is the pack's subject discriminator, a
DINOv2 and an OWLv2, both tiny, from folders; the settings are a fresh node's.

judge: the similarity to the reference by a network of another architecture that learned from other subjects.  gain: as
in identity.py, the share of the way from the unguided picture to another drawn one.  traits: the share of the subject's
traits, as it was drawn by, that the judge reads; prompt: the share of what the prompt names.  found: the share of
pictures in which the detector finds the subject.  pixels: the weight of the paper's pixel term, for rigid things.

Two subjects: `free`, the guidance decides which stands where, and the judge looks where both together are more alike;
`placed`, masks put the first on the left, and the judge looks there.  places: the share of questions in which the first
is on the left by the judge.  A person with a thing or a pet: *Combine Guidance* of the portraits' face recogniser and
the subject discriminator; the person is judged by the portraits' judge, and traits and prompt are the other one's.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import rivals  # noqa: F401  it says where the modules of demo/ are found
import torch
from data import CACHE
from measure import QUICK, RESULTS, save
from rivals.basis import Clock, sample
from rivals.rectifid import guide
from rivals.scores import sem
from sheet import sheet
from subjects import training
from subjects.render import KINDS, PERSON, PETS, THINGS, Person
from subjects.world import Questions, SubjectWorld, alike, read_scores, seats
from tables import identities as tables
from torch import Tensor
from world import machine

from rectifid_core.guidance.base import Guidance
from rectifid_core.guidance.combination import combine
from rectifid_core.guidance.identity import IdentityGuidance
from rectifid_core.guidance.weighted_sum import Schedule
from rectifid_core.identity.encoding import encode_identity

NAMES = ("first", "second")
LEFT = torch.cat([torch.ones(128, 128), torch.zeros(128, 128)], dim=1)
SHOWN = 6  # questions of each group, as they come


@dataclass(frozen=True)
class Row:
    """group: of questions; name: how they are answered."""

    group: str
    name: str
    pixels: float = 0.0
    placed: bool = False


ROWS = (
    Row("things", "guided"),
    Row("things", "guided, pixels 1", pixels=1.0),
    Row("pets", "guided"),
    Row("two", "free"),
    Row("two", "placed", placed=True),
    Row("person", "guided"),
)
GROUPS = {  # what each subject of a question may be
    "things": (THINGS,),
    "pets": (PETS,),
    "two": (KINDS, KINDS),
    "person": ((PERSON,), KINDS),
}


@dataclass
class Answers:
    """Pictures, the guide's similarity to each subject (n, k), in how many it was found, and the seconds of one."""

    images: Tensor
    guide: Tensor
    found: Tensor
    seconds: float


class Bench:
    """The questions, what guides, and what measures."""

    def __init__(self, weights: Path, n: int, iterations: int):
        self.world, self.iterations = SubjectWorld(weights), iterations
        self.questions = {
            group: Questions.draw(n if len(kinds) == 1 else max(1, n // 2), "evaluation", kinds)
            for group, kinds in GROUPS.items()
        }
        files = [weights / name for name in ("flow.safetensors", "dino/model.safetensors", "owl/model.safetensors")]
        self.digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]
        self.folder = weights.parent / "answers"
        self.folder.mkdir(exist_ok=True)

    def guidance(self, row: Row, one: Questions) -> Guidance:
        """Of one question."""
        found = []
        for number, (subject, reference) in enumerate(zip(one.subjects[0], one.references[:, 0], strict=True)):
            recogniser = self.world.guide_of(subject)
            text = "" if isinstance(subject, Person) else f"a {subject.kind}"
            identity = encode_identity(recogniser, [reference], text=text)
            mask = (LEFT, 1 - LEFT)[number] if row.placed else None
            found.append(IdentityGuidance(identity, recogniser, pixels=row.pixels, mask=mask))
        if len(found) == 1:
            return found[0]
        return combine({name: (each, Schedule()) for name, each in zip(NAMES, found, strict=True)})

    def answered(self, row: Row) -> Answers:
        """Of the cache where they have been drawn."""
        key = f"{row} {len(self.questions[row.group])} {self.iterations} {self.digest}"
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:8]}.pt"
        if not path.exists():
            torch.save(vars(self._answer(row)), path)
        return Answers(**torch.load(path, weights_only=True))

    def _answer(self, row: Row) -> Answers:
        questions, images, seen, found, seconds = self.questions[row.group], [], [], [], 0.0
        for i in range(len(questions)):
            one = questions.part(slice(i, i + 1))
            guidance, flow, clock = self.guidance(row, one), self.world.flow(one.prompts), Clock()
            images.append(guide(self.world, flow, guidance, one.noise, self.iterations))
            seconds += clock.seconds
            looked = guidance.energy(4, 0)(images[-1], 0)
            terms = list(looked.terms.values()) or [looked]
            seen.append(torch.cat([term.similarity for term in terms]))
            found.append(torch.cat([term.found for term in terms]))
        return Answers(torch.cat(images), torch.stack(seen), torch.stack(found), seconds / len(questions))

    def unguided(self, group: str) -> Tensor:
        questions = self.questions[group]
        return self.world.decode(sample(self.world.flow(questions.prompts), questions.noise))

    def scores(self, images: Tensor, group: str, placed: bool = False) -> tuple[dict, Tensor]:
        """What is said of pictures of a group's questions, and the judge's similarity of each subject, (n, k)."""
        questions = self.questions[group]
        each = alike(self.world, images, questions)
        judge, places, in_order = seats(each, placed)
        read = read_scores(self.world, images, questions, places)
        found = {"judge": judge.mean().item(), "judge_sem": sem(judge.mean(1))}
        for name, values in read.items():
            found |= {name: values.mean().item(), f"{name}_sem": sem(values)}
        if each.shape[1] > 1:
            found["places"] = in_order.float().mean().item()
        return found, judge

    def measured(self, row: Row, answers: Answers, plain: dict, drawn: dict) -> dict:
        found, judge = self.scores(answers.images, row.group, row.placed)
        return {
            "group": row.group,
            "method": row.name,
            "n": len(self.questions[row.group]),
            **found,
            "each": judge.mean(0).tolist(),
            "below_0.7": (judge < 0.7).float().mean().item(),
            "gain": (found["judge"] - plain["judge"]) / (drawn["judge"] - plain["judge"]),
            "guide": answers.guide.nanmean().item(),
            "found": answers.found.float().mean().item(),
            "pixels": row.pixels,
            "iterations": self.iterations,
            "seconds_picture": answers.seconds,
        }


def plot(results: dict, path: Path) -> None:
    """Judge, traits and prompt of each group, with standard errors."""
    from matplotlib.figure import Figure

    figure = Figure((13, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), ("judge", "traits", "prompt"), strict=True):
        rows = results["rows"]
        labels = [f"{row['group']}: {row['method']}" for row in rows]
        colors = [f"C{list(GROUPS).index(row['group'])}" for row in rows]
        axes.barh(labels, [row[name] for row in rows], xerr=[row[f"{name}_sem"] for row in rows], color=colors)
        axes.invert_yaxis()
        axes.set(xlabel={"judge": "judge's similarity", "traits": "traits read right", "prompt": "of the prompt"}[name])
        axes.grid(axis="x", alpha=0.3)
        if name != "judge":
            axes.set_yticklabels([])
    figure.suptitle(results["machine"], fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "train"), default="measure")
    parser.add_argument("--minutes", type=float, default=sum(training.MINUTES.values()), help="of training, in all")
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cache = CACHE / ("subjects_quick" if arguments.quick else "subjects")
    share = training.QUICK if arguments.quick else arguments.minutes / sum(training.MINUTES.values())
    training.train(cache, share)
    if arguments.what == "train":
        return
    torch.set_grad_enabled(False)
    folder = QUICK if arguments.quick else RESULTS
    bench = Bench(cache / "weights", *((2, 4) if arguments.quick else (arguments.n, arguments.iterations)))
    results, columns = {"machine": machine(), "rows": []}, {}
    for group, questions in bench.questions.items():
        plain = bench.unguided(group)
        unguided, drawn = bench.scores(plain, group)[0], bench.scores(questions.others, group)[0]
        head = {"group": group, "n": len(questions)}
        results["rows"].append({**head, "method": "unguided", **unguided})
        references = dict(
            zip(("reference",) if len(questions.references) == 1 else NAMES, questions.references, strict=True)
        )
        columns[group] = {**references, "unguided": plain}
        for row in (row for row in ROWS if row.group == group):
            answers = bench.answered(row)
            results["rows"].append(bench.measured(row, answers, unguided, drawn))
            columns[group][row.name] = answers.images
            save(results, folder / "subjects.json")
            print(tables.subjects(results).splitlines()[-1], flush=True)
        results["rows"].append({**head, "method": "another place, drawn", **drawn})
    save(results, folder / "subjects.json")
    print(tables.subjects(results))
    plot(results, folder / "subjects.png")
    for group, pictures in columns.items():
        questions = bench.questions[group]
        count = min(SHOWN, len(questions))
        sheet(pictures, questions.prompts, 120, count).save(folder / f"subjects_{group}.png")


if __name__ == "__main__":
    main()
