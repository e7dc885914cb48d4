"""Faces of real people, by the face packs that insightface made common."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ...rectifid_core.discriminators.faces.discriminator import load_face_discriminator
from ...rectifid_core.discriminators.faces.pack import SOURCES, find_packs, pack_files
from ..folders import Choice, NotThereError, state_of
from ..host.networks.discriminators import PRECISIONS, HostedDiscriminator
from ..schema import ADVANCED, search_aliases
from ..types import Discriminator

FOLDER = "insightface"  # the key that other packs use too
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def _places() -> str:
    roots = folder_paths.get_folder_paths(FOLDER)
    return " or ".join(str(Path(root, *inner)) for root in roots for inner in (["models"], []))


PACKS = Choice(
    "face pack",
    lambda: find_packs(folder_paths.get_folder_paths(FOLDER)),
    _places,
    "A pack is a folder there with the ONNX files of a face detector (such as scrfd_10g_bnkps.onnx or det_10g.onnx) "
    f"and of a recogniser (such as glintr100.onnx or w600k_r50.onnx). {SOURCES}",
)


class LoadFaceDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        packs = PACKS.names()
        return io.Schema(
            node_id="LoadFaceDiscriminator",
            display_name="Load Face Discriminator (InsightFace)",
            category="RectifID/discriminators",
            **search_aliases(
                "face",
                "likeness",
                "character",
                "pulid",
                "instantid",
                "insightface",
                "face swap",
                "antelopev2",
                "buffalo",
                "auraface",
                "arcface",
            ),
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
                    **ADVANCED,
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
    def validate_inputs(cls, pack: str | None = None):
        """Instead of the host's own check, which cannot say where a missing pack comes from."""
        try:
            if pack is not None:  # None: comes from another node
                PACKS.path(pack)
        except NotThereError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, pack: str, **_):
        return state_of(*pack_files(PACKS.path(pack)))

    @classmethod
    def execute(cls, pack, precision, detection_threshold) -> io.NodeOutput:
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            loaded = load_face_discriminator(
                PACKS.path(pack), threshold=detection_threshold, dtype=PRECISIONS[precision]
            )
        return io.NodeOutput(HostedDiscriminator(loaded))
