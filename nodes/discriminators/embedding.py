"""Networks that say what an image shows."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...rectifid_core.networks.onnx_file import OnnxError, external_files
from ..folders import Choice, NotThereError, files_of, state_of
from ..host.networks.discriminators import load_discriminator
from ..schema import ADVANCED, search_aliases
from ..types import Discriminator

FOLDER = "discriminators"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
FILES = Choice(
    "recogniser",
    lambda: files_of(FOLDER, ".onnx"),
    lambda: " or ".join(folder_paths.get_folder_paths(FOLDER)),
    "Put the ONNX file of a network there that makes an embedding of a picture. The demo model's own recogniser "
    "is in Load Demo Discriminator.",
)


@functools.lru_cache
def _beside(path: Path, state: str) -> tuple[Path, ...]:
    """The other files of an ONNX file, which in that state need not be read again."""
    try:
        return tuple(external_files(path))
    except (OnnxError, ImportError, OSError):  # for `execute` to say
        return ()


class LoadEmbeddingDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def fraction(side: str, default: float) -> io.Float.Input:
            return io.Float.Input(
                side,
                default=default,
                min=0.0,
                max=1.0,
                step=0.01,
                tooltip=f"The {side} edge of the part of the image that the network sees, as a fraction of its size.",
                **ADVANCED,
            )

        files = FILES.names()
        return io.Schema(
            node_id="LoadEmbeddingDiscriminator",
            display_name="Load Embedding Discriminator",
            category="RectifID/discriminators",
            **search_aliases("recogniser", "recognizer", "onnx"),
            description="Loads a recogniser: any network that turns a picture into an embedding, as an ONNX file in "
            f"models/{FOLDER}.",
            inputs=[
                io.Combo.Input(
                    "discriminator",
                    options=files,
                    default=files[0],
                    tooltip=f"An ONNX file in models/{FOLDER}.",
                ),
                io.Int.Input(
                    "input_size",
                    default=0,
                    min=0,
                    max=2048,
                    tooltip="The side, in pixels, of the square that the network takes. 0 reads it from the file.",
                ),
                io.Float.Input(
                    "mean",
                    default=0.5,
                    min=-1.0,
                    max=1.0,
                    step=0.001,
                    tooltip="What the network wants subtracted from pixel values in [0, 1].",
                ),
                io.Float.Input(
                    "std",
                    default=0.5,
                    min=0.001,
                    max=2.0,
                    step=0.001,
                    tooltip="What the network wants them divided by then. Mean 0.5 and std 0.5 make [-1, 1].",
                ),
                io.Combo.Input(
                    "channel_order",
                    options=["rgb", "bgr"],
                    default="rgb",
                    tooltip="bgr for networks that were trained on OpenCV's images.",
                ),
                fraction("left", 0.0),
                fraction("top", 0.0),
                fraction("right", 1.0),
                fraction("bottom", 1.0),
            ],
            outputs=[Discriminator.Output(display_name="discriminator", tooltip="For Encode Reference Identity.")],
        )

    @classmethod
    def validate_inputs(cls, discriminator: str | None = None):
        """Instead of the host's own check, which cannot say where a missing file should be."""
        try:
            if discriminator is not None:  # None: comes from another node
                FILES.path(discriminator)
        except NotThereError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, discriminator: str, **_):
        path = FILES.path(discriminator)
        return state_of(path, *_beside(path, str(state_of(path))))

    @classmethod
    def execute(cls, discriminator, input_size, mean, std, channel_order, left, top, right, bottom) -> io.NodeOutput:
        loaded = load_discriminator(
            FILES.path(discriminator),
            input_size,
            mean=mean,
            std=std,
            channel_order=channel_order,
            box=(left, top, right, bottom),
        )
        return io.NodeOutput(loaded)
