"""Things and animals, by DINO and OWL."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy_api.latest import io

from ...rectifid_core.discriminators.subjects import detector as subject_detector
from ...rectifid_core.discriminators.subjects import discriminator as subjects
from ..folders import FOLDER, NotThereError, pretrained, state_of
from ..host.networks.discriminators import PRECISIONS, HostedDiscriminator
from ..schema import search_aliases
from ..types import Discriminator

NO_DETECTOR = "none"
EMBEDDERS = pretrained("embedder", subjects.CLASSES, subjects.EXAMPLE)
DETECTORS = pretrained("detector", subject_detector.CLASSES, subject_detector.EXAMPLE)


class LoadSubjectDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        embedders = EMBEDDERS.names()
        return io.Schema(
            node_id="LoadSubjectDiscriminator",
            display_name="Load Subject Discriminator",
            category="RectifID/discriminators",
            **search_aliases("character", "object", "animal", "dino", "owl"),
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
                    options=[NO_DETECTOR, *DETECTORS.find()],
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
        """Instead of the host's own check, which cannot say where a missing folder comes from."""
        try:  # None: comes from another node
            if embedder is not None:
                EMBEDDERS.path(embedder)
            if detector is not None:
                _detector(detector)
        except NotThereError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, embedder: str, detector: str, **_):
        return state_of(*filter(None, (EMBEDDERS.path(embedder), _detector(detector))))

    @classmethod
    def execute(cls, embedder, detector, precision, detection_threshold) -> io.NodeOutput:
        with torch.inference_mode(False):  # what is made here takes part in a gradient later
            loaded = subjects.load_subject_discriminator(
                EMBEDDERS.path(embedder),
                _detector(detector),
                threshold=detection_threshold,
                dtype=PRECISIONS[precision],
            )
        return io.NodeOutput(HostedDiscriminator(loaded))


def _detector(name: str) -> Path | None:
    return None if name == NO_DETECTOR else DETECTORS.path(name)
