"""The embedded model: a small world of cartoon portraits to try guidance in."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io

from ..demo.portrait import draw_portrait
from ..rectifid_core.discriminators.panels import PanelDiscriminator
from .host.networks import demo
from .host.networks.discriminators import load_discriminator
from .schema import search_aliases
from .types import Discriminator

CATEGORY = "RectifID/demo"


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            **search_aliases("quickstart", "example"),
            description="The small rectified flow that comes with the pack. It draws cartoon portraits of 128 x 128 "
            "pixels in four steps on any machine, from prompts like 'a smiling person in a red hat, blue background'.",
            outputs=[
                io.Model.Output(tooltip="A flow for 4 steps, the scheduler 'simple' and cfg 1."),
                io.Clip.Output(tooltip="Its text encoder, for CLIP Text Encode."),
                io.Vae.Output(tooltip="Its autoencoder: 16 channels, an eighth of the picture's size."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(demo.load_model(), demo.load_clip(), demo.load_vae())


class LoadDemoDiscriminator(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadDemoDiscriminator",
            display_name="Load Demo Discriminator",
            category=CATEGORY,
            **search_aliases("recogniser", "recognizer"),
            description="The small recogniser that comes with the pack. It tells the people of the demo model apart: "
            "one in a square picture, two in one twice as wide as high.",
            outputs=[Discriminator.Output(display_name="discriminator", tooltip="For Encode Reference Identity.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(load_discriminator(demo.weights("recogniser_guide.onnx"), kind=PanelDiscriminator))


class LoadDemoVision(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LoadDemoVision",
            display_name="Load Demo CLIP Vision",
            category=CATEGORY,
            **search_aliases("clip vision"),
            description="The small CLIP vision model that comes with the pack. It knows the portraits of the demo "
            "model: colours, hat, expression, place and light.",
            outputs=[io.ClipVision.Output(tooltip="For Style Guidance.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(demo.load_clip_vision())


class DrawDemoPortrait(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DrawDemoPortrait",
            display_name="Draw Demo Portrait",
            category=CATEGORY,
            **search_aliases("face", "reference"),
            description="Draws a person of the demo world, without any model: a reference image for trying things out.",
            inputs=[
                io.Int.Input(
                    "identity",
                    default=7,
                    min=0,
                    max=2**31 - 1,
                    tooltip="The person's number. The same number is the same person, whatever the prompt.",
                ),
                io.String.Input(
                    "prompt",
                    default="a person",
                    multiline=True,
                    tooltip="The scene: expression, hat, shirt and background, such as 'a smiling person in a red hat, "
                    "blue background'. What it leaves out is the usual.",
                ),
            ],
            outputs=[io.Image.Output(tooltip="The portrait, 128 x 128 pixels.")],
        )

    @classmethod
    def execute(cls, identity: int, prompt: str) -> io.NodeOutput:
        portrait = np.asarray(draw_portrait(identity, prompt), dtype=np.float32) / 255
        return io.NodeOutput(torch.from_numpy(portrait)[None])
