"""Faces of real people, by the face packs that insightface made common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ...rectifid_core.discriminators.faces.discriminator import load_face_discriminator
from ...rectifid_core.discriminators.faces.pack import SOURCES, FacePackError, find_packs, pack_files
from ..host.networks.discriminators import PRECISIONS, HostedDiscriminator
from ..types import Discriminator

FOLDER = "insightface"  # the key that other packs use too
NO_PACK = "no face pack found"
LONGEST = 60  # characters of a name that a message repeats
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class LoadFaceDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        packs = list(find_packs(folder_paths.get_folder_paths(FOLDER))) or [NO_PACK]
        return io.Schema(
            node_id="LoadFaceDiscriminator",
            display_name="Load Face Discriminator",
            category="RectifID/discriminators",
            description="Loads a face pack: a detector that finds faces and a recogniser that tells whose they are, "
            "from models/insightface/models. Mind its licence: AuraFace-v1 (Apache-2.0) allows commercial use; "
            "antelopev2 and the buffalo packs are for non-commercial research only.",
            inputs=[
                io.Combo.Input(
                    "pack",
                    options=packs,
                    default=packs[0],
                    tooltip="A folder of models/insightface/models with the ONNX files of a detector and a recogniser. "
                    "Commercial use: AuraFace-v1 (Apache-2.0) allows it, antelopev2 and buffalo_* do not.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default=next(iter(PRECISIONS)),
                    tooltip="Of the recogniser. fp16 and bf16 take half the memory and change similarities a little.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    round=0.01,
                    tooltip="How sure the detector must be of a face. Lower finds more, and more that is none.",
                ),
            ],
            outputs=[Discriminator.Output(display_name="discriminator", tooltip="For Encode Reference Identity.")],
        )

    @classmethod
    def validate_inputs(cls, pack=None, precision=None):
        """In the place of the host's own check, which cannot say where a missing pack comes from."""
        try:
            if pack is not None:  # None: comes from another node
                _folder(pack)
            if precision is not None:
                _dtype(precision)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, pack: str, **_):
        """Another for other files, also where they have the name and the time of the old ones."""
        files = [(file, file.stat()) for file in pack_files(_folder(pack))]
        return [[str(file), stat.st_size, stat.st_ino, stat.st_mtime_ns] for file, stat in files]

    @classmethod
    def execute(cls, pack, precision, detection_threshold) -> io.NodeOutput:
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            loaded = load_face_discriminator(_folder(pack), threshold=detection_threshold, dtype=_dtype(precision))
        return io.NodeOutput(HostedDiscriminator(loaded))


def _folder(pack: Any) -> Path:
    """Of a pack that the combo would offer now, and of no other: a name is no path."""
    roots = folder_paths.get_folder_paths(FOLDER)
    packs = find_packs(roots)
    if pack == NO_PACK and len(packs) == 1:  # it came after the combo was made
        return next(iter(packs.values()))
    if isinstance(pack, str) and pack in packs:
        return packs[pack]
    if pack == NO_PACK and packs:
        raise FacePackError(f"No face pack is chosen. There are {', '.join(packs)} now: press R, and choose one.")
    places = [str(Path(root, *inner)) for root in roots for inner in (["models"], [])]
    raise FacePackError(
        f"There is no face pack{'' if pack == NO_PACK else f' {_shown(pack)}'} in {' or '.join(places)}. A pack is a "
        "folder there with the ONNX files of a face detector (such as scrfd_10g_bnkps.onnx or det_10g.onnx) and of a "
        f"recogniser (such as glintr100.onnx or w600k_r50.onnx). {SOURCES} Then reload the list of packs (press R)."
    )


def _dtype(precision: Any) -> torch.dtype:
    if isinstance(precision, str) and precision in PRECISIONS:
        return PRECISIONS[precision]
    raise ValueError(f"There is no precision {_shown(precision)}; choose one of {', '.join(PRECISIONS)}.")


def _shown(value: Any) -> str:
    """A name, for messages: as it is, or escaped and cut where it cannot be one."""
    plain = isinstance(value, str) and value.isprintable() and len(value) <= LONGEST
    return value if plain else ascii(value)[:LONGEST]
