"""Networks that say what an image shows."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...rectifid_core.discriminators.base import EmbeddingDiscriminator
from ...rectifid_core.discriminators.panels import PanelDiscriminator
from ..host.networks.demo import weights
from ..host.networks.discriminators import load_discriminator
from ..types import Discriminator

FOLDER = "discriminators"
EMBEDDED = "embedded"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def _path(discriminator: str) -> Path:
    if discriminator == EMBEDDED:
        return weights("recogniser_guide.onnx")
    return Path(folder_paths.get_full_path_or_raise(FOLDER, discriminator))


class LoadEmbeddingDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        files = [file for file in folder_paths.get_filename_list(FOLDER) if file.lower().endswith(".onnx")]

        def fraction(side: str, default: float) -> io.Float.Input:
            return io.Float.Input(
                side,
                default=default,
                min=0.0,
                max=1.0,
                step=0.01,
                tooltip=f"The {side} edge of the part of the image that the network sees, as a fraction of its size.",
            )

        return io.Schema(
            node_id="LoadEmbeddingDiscriminator",
            display_name="Load Embedding Discriminator",
            category="RectifID/discriminators",
            description="Loads a recogniser: any network that turns a picture into an embedding, as an ONNX file in "
            f"models/{FOLDER}, or the one that belongs to the demo model.",
            inputs=[
                io.Combo.Input(
                    "discriminator",
                    options=[EMBEDDED, *files],
                    default=EMBEDDED,
                    tooltip=f"An ONNX file in models/{FOLDER}; 'embedded' recognises the people of the demo model, "
                    "alone or side by side.",
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
                    tooltip="By what the network wants them divided then. Mean 0.5 and std 0.5 make [-1, 1].",
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
    def fingerprint_inputs(cls, discriminator: str, **_):
        return _path(discriminator).stat().st_mtime

    @classmethod
    def execute(cls, discriminator, input_size, mean, std, channel_order, left, top, right, bottom) -> io.NodeOutput:
        loaded = load_discriminator(
            _path(discriminator),
            input_size,
            PanelDiscriminator if discriminator == EMBEDDED else EmbeddingDiscriminator,
            mean=mean,
            std=std,
            channel_order=channel_order,
            box=(left, top, right, bottom),
        )
        return io.NodeOutput(loaded)
