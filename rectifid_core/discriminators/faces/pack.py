"""Face packs: folders of ONNX files that belong together, told apart by what they take and give, not by their names."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...networks.onnx_file import OnnxError, Shape, check_external_data, inputs_of, read_onnx, shape_of, show

NARROWEST = 64  # the fewest numbers of an embedding
EXPECTED = {
    "detector": "a face detector with five landmarks (SCRFD, such as scrfd_10g_bnkps.onnx or det_10g.onnx)",
    "recogniser": "a face recogniser (ArcFace, such as glintr100.onnx or w600k_r50.onnx)",
}
SOURCES = (
    "Packs come from the releases of insightface on GitHub (antelopev2, buffalo_l and others; for research only) or, "
    "with a licence that allows every use, from AuraFace-v1 on Hugging Face; unpack one into that folder."
)


class FacePackError(ValueError):
    """The folder cannot serve as a face pack; the message says where it is, what it lacks and where packs come from."""


@dataclass(frozen=True)
class FacePack:
    """The files of one pack.

    name: the folder's.
    detector: finds faces with five landmarks (SCRFD); recogniser: embeds aligned faces (ArcFace).
    attributes: tells gender and age, where the pack has that.
    """

    name: str
    detector: Path
    recogniser: Path
    attributes: Path | None


def read_pack(folder: str | Path) -> FacePack:
    """The pack in ``folder``, or in a folder of the same name inside of it, as some archives unpack.

    Of several files for one purpose it takes the first by name, and says so in the log.  Raises FacePackError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FacePackError(f"there is no face pack {folder.name}: the folder {folder} is missing. {SOURCES}")
    found = {file: _purpose(folder, file) for file in pack_files(folder)}
    chosen: dict[str, Path] = {}
    for purpose in ("detector", "recogniser", "attributes"):
        files = [file for file in found if found[file] == purpose]
        if files:
            chosen[purpose] = files[0]
        elif purpose in EXPECTED:
            listed = "; ".join(f"{file.name}: {what}" for file, what in found.items()) or "no .onnx file"
            raise FacePackError(
                f"the face pack {folder.name} has no {purpose}. Looked in {folder}. Expected: "
                f"{' and '.join(EXPECTED.values())}. Found: {listed}. {SOURCES}"
            )
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            logging.info(
                "RectifID: the face pack %s has several files for its %s (%s): the first is taken",
                folder.name,
                purpose,
                names,
            )
    return FacePack(folder.name, chosen["detector"], chosen["recogniser"], chosen.get("attributes"))


def find_packs(folders: Iterable[str | Path]) -> dict[str, Path]:
    """The folders that may be packs, by name, for there are ONNX files in them; none of these is opened.

    folders: what a user names as insightface's.  In each, packs are looked for in its folder "models", where
    insightface puts them, and in itself; either may also be a pack, if it has the two files at least that make one.
    The first of a name counts.
    """
    found: dict[str, Path] = {}
    for place in (each for folder in map(Path, folders) for each in (folder / "models", folder)):
        packs = [folder for folder in sorted(_entries(place)) if not folder.name.startswith(".") and folder.is_dir()]
        named = {folder.name: folder for folder in packs if pack_files(folder)}
        if len(_onnx_files(place)) > 1:
            named[place.name] = place
        found = named | found
    return dict(sorted(found.items()))


def pack_files(folder: Path) -> list[Path]:
    """The ONNX files of a pack, in its folder or in one of the same name inside of it, by name."""
    return _onnx_files(folder) or _onnx_files(folder / folder.name)


def _onnx_files(place: Path) -> list[Path]:
    """By name, without the hidden ones that archives from a Mac have next to each."""
    files = [file for file in _entries(place) if file.suffix.lower() == ".onnx" and not file.name.startswith(".")]
    return sorted(file for file in files if file.is_file())


def _entries(place: Path) -> list[Path]:
    """What is in a folder; nothing where there is none, or where it may not be read."""
    try:
        return list(place.iterdir())
    except OSError:
        return []


def _purpose(folder: Path, file: Path) -> str:
    """What it is for: "detector", "recogniser", "attributes"; of another file, what it takes and gives, for people."""
    try:
        model = read_onnx(file)
        inputs = [shape_of(value) for value in inputs_of(model)]
        outputs = [shape_of(value) for value in model.graph.output]
        purpose = "other"
        if len(inputs) == 1 and len(inputs[0]) == 4 and inputs[0][1] in (None, 3):
            purpose = _purpose_of_shapes(inputs[0], outputs)
        if purpose in ("detector", "recogniser", "attributes"):
            check_external_data(file, model)
    except OnnxError as error:
        raise FacePackError(f"the face pack {folder.name}, in {file.parent}: {error}. {SOURCES}") from error
    if purpose == "other":
        given = show(outputs[0]) if len(outputs) == 1 else f"{len(outputs)} outputs"
        return f"takes {' and '.join(show(shape) for shape in inputs)} and gives {given}"
    return purpose


def _purpose_of_shapes(image: Shape, outputs: list[Shape]) -> str:
    side = image[2] if image[2] == image[3] else None
    widths = [shape[-1] if shape else None for shape in outputs]
    if len(outputs) in (9, 15) and _fits(widths, (1, 4, 10)):
        return "detector"
    if len(outputs) in (6, 10) and _fits(widths, (1, 4)):
        return "a face detector without landmarks; take the one with 'kps' in its name"
    if len(outputs) == 1 and len(outputs[0]) == 2 and side:
        if side == 96 and widths[0] == 3:
            return "attributes"
        if (side % 112 == 0 or side % 128 == 0) and (widths[0] or NARROWEST) >= NARROWEST:
            return "recogniser"
    return "other"


def _fits(widths: list[int | None], parts: tuple[int, ...]) -> bool:
    """Whether the outputs are scores, boxes (and landmarks), each for all the detector's scales; None fits anything."""
    wanted = [part for part in parts for _ in range(len(widths) // len(parts))]
    return all(width in (None, part) for width, part in zip(widths, wanted, strict=True))
