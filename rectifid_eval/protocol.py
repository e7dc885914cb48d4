"""Which pictures are to be drawn: each person, with each prompt, so many times, by each method."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import EvaluationError

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
OUR_PROMPTS = Path(__file__).with_name("prompts.txt")
FILE = "protocol.json"


@dataclass(frozen=True)
class Face:
    """A person: the path of one picture, and the SHA-256 of its bytes."""

    path: str
    digest: str

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True)
class Row:
    """One picture to be drawn.

    number: of the picture among those of the same person, prompt and method, from 0.
    workflow: the digest of the method's.
    """

    method: str
    workflow: str
    face: Face
    prompt: str
    number: int

    @property
    def seed(self) -> int:
        """The same for all methods, so that they are compared on the same noise, and another for each question."""
        return int(_digest(self.face.digest, self.prompt, self.number)[:12], 16)

    @property
    def key(self) -> str:
        """What it is known by: the same question, put to the same workflow, is the same row."""
        return _digest(self.method, self.workflow, self.face.digest, self.prompt, self.number)[:24]


@dataclass(frozen=True)
class Protocol:
    """methods: the digest of each one's workflow, by name.  seeds: pictures for each person, prompt and method.

    baselines: the names of methods that see no reference.
    """

    methods: dict[str, str]
    faces: tuple[Face, ...]
    prompts: tuple[str, ...]
    seeds: int
    baselines: tuple[str, ...] = ()

    def rows(self) -> list[Row]:
        """Method by method, so that a server loads each one's models once."""
        return [
            Row(method, workflow, face, prompt, number)
            for method, workflow in self.methods.items()
            for face in self.faces
            for prompt in self.prompts
            for number in range(self.seeds)
        ]

    def save(self, folder: Path) -> None:
        """Into the evaluation's folder, for the stages after drawing."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_protocol(folder: Path) -> Protocol:
    """What was drawn into a folder."""
    if not (folder / FILE).is_file():
        raise EvaluationError(f"there is no evaluation in {folder}: draw its pictures first")
    told = json.loads((folder / FILE).read_text(encoding="utf-8"))
    faces = tuple(Face(**face) for face in told.pop("faces"))
    return Protocol(**told | {key: tuple(told[key]) for key in ("prompts", "baselines")}, faces=faces)


def faces_in(folder: Path, people: int) -> tuple[Face, ...]:
    """The first pictures of a folder by name, numbers in the order of their values: each is one person."""
    if not folder.is_dir():
        raise EvaluationError(f"the folder of faces {folder} is missing; name one with a picture for each person")
    faces: dict[str, Face] = {}
    for path in sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=_order):
        if len(faces) == people:
            break
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        faces.setdefault(digest, Face(str(path.resolve()), digest))  # a picture that is there twice is one person
    if not faces:
        kinds = ", ".join(sorted(PICTURES))
        raise EvaluationError(f"there are no pictures in the folder of faces {folder} ({kinds}), one for each person")
    return tuple(faces.values())


def read_prompts(path: Path) -> tuple[str, ...]:
    """The lines of a file, without empty ones and those that begin with #."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise EvaluationError(f"the prompts cannot be read: {error}") from error
    prompts = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prompts:
        raise EvaluationError(f"there is no prompt in {path}; write one in each line")
    return prompts


def _order(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
