"""Things and animals, by DINO and OWL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io
from huggingface_hub import constants

from ..rectifid_core import subject_detector, subjects
from ..rectifid_core.pretrained import PretrainedError, find_cached, find_folders
from .host.discriminator import PRECISIONS, HostedDiscriminator
from .types import Discriminator

FOLDER = "transformers"
NO_EMBEDDER = "no embedder found"
NO_DETECTOR = "none"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class LoadSubjectDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        embedders = list(_folders(subjects.CLASSES)) or [NO_EMBEDDER]
        return io.Schema(
            node_id="LoadSubjectDiscriminator",
            display_name="Load Subject Discriminator",
            category="RectifID",
            description="Loads what recognises a thing or an animal (DINOv2, DINOv3) and what finds it in a picture "
            f"(OWL-ViT, OWLv2), from folders in models/{FOLDER} or in Hugging Face's cache. Nothing is downloaded.",
            inputs=[
                io.Combo.Input(
                    "embedder",
                    options=embedders,
                    default=embedders[0],
                    tooltip="Recognises the subject: a folder with DINOv2 or DINOv3, such as facebook/dinov2-base "
                    "(Apache-2.0; DINOv3 has a licence of its own).",
                ),
                io.Combo.Input(
                    "detector",
                    options=[NO_DETECTOR, *_folders(subject_detector.CLASSES)],
                    default=NO_DETECTOR,
                    tooltip="Finds the subject, by words in the reference and by its look in the new picture: a folder "
                    "with OWL-ViT or OWLv2. none looks at the middle of each picture.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default=next(iter(PRECISIONS)),
                    tooltip="Of both networks. fp16 and bf16 take half the memory and change similarities a little.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=0.1,
                    min=0.01,
                    max=0.95,
                    step=0.01,
                    round=0.001,
                    tooltip="How sure the detector must be. Lower finds more, and more that is something else.",
                ),
            ],
            outputs=[Discriminator.Output(display_name="discriminator", tooltip="For Encode Reference Identity.")],
        )

    @classmethod
    def validate_inputs(cls, embedder: str | None = None, detector: str | None = None):
        """In the place of the host's own check, which cannot say where a missing folder is to be had."""
        try:  # None: comes from another node
            if embedder is not None:
                _embedder(embedder)
            if detector is not None:
                _detector(detector)
        except PretrainedError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, embedder: str, detector: str, **_):
        folders = filter(None, (_embedder(embedder), _detector(detector)))
        return [[str(file), file.stat().st_mtime] for folder in folders for file in sorted(folder.iterdir())]

    @classmethod
    def execute(cls, embedder, detector, precision, detection_threshold) -> io.NodeOutput:
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            loaded = subjects.load_subject_discriminator(
                _embedder(embedder),
                _detector(detector),
                threshold=detection_threshold,
                dtype=PRECISIONS[precision],
            )
        return io.NodeOutput(HostedDiscriminator(loaded))


def _embedder(name: str) -> Path:
    return _folder(name, subjects.CLASSES, "embedder", subjects.EXAMPLE)


def _detector(name: str) -> Path | None:
    if name == NO_DETECTOR:
        return None
    return _folder(name, subject_detector.CLASSES, "detector", subject_detector.EXAMPLE)


def _folder(name: str, classes: Mapping[str, str], what: str, example: str) -> Path:
    """By its name, or else by the last part of it, since not everybody keeps the author's name."""
    folders = _folders(classes)
    by_last_part = {known.split("/")[-1]: folder for known, folder in reversed(folders.items())}
    folder = folders.get(name) or by_last_part.get(name.split("/")[-1])
    if folder is None:
        raise PretrainedError(
            f"There is no {what if name == NO_EMBEDDER else f'{what} {name}'} in {' or '.join(map(str, _roots()))} or "
            f"in Hugging Face's cache, {constants.HF_HUB_CACHE}. Put a folder there with all files of a repository "
            f"(config.json, model.safetensors and the small ones), {example}. Then reload the list (press R)."
        )
    return folder


def _folders(classes: Mapping[str, str]) -> dict[str, Path]:
    """All there are of these kinds, those in the models folder first."""
    own = find_folders(_roots(), classes)
    cached = find_cached(Path(constants.HF_HUB_CACHE), classes)
    return own | {name: folder for name, folder in cached.items() if name not in own}


def _roots() -> list[Path]:
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
