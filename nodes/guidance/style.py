"""The style of a picture as guidance."""

from __future__ import annotations

from comfy_api.latest import io

from ...rectifid_core.guidance.style import StyleGuidance as GuidanceByStyle
from ..checks import checked_images
from ..host.networks.discriminators import encode_images
from ..host.networks.style import FEATURES, StyleDiscriminator
from ..schema import search_aliases
from ..types import Guidance


class StyleGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StyleGuidance",
            display_name="Style Guidance",
            category="RectifID/guidance",
            **search_aliases("clip vision", "redux"),
            description="Draws the new picture to the look of another one, as a CLIP vision model sees it.",
            inputs=[
                io.ClipVision.Input(
                    "clip_vision", tooltip="From Load CLIP Vision: CLIP (ViT-L, H or G), SigLIP or DINOv2."
                ),
                io.Image.Input("image", tooltip="The picture with the style; of a batch, the mean counts."),
                io.Combo.Input(
                    "features",
                    options=list(FEATURES),
                    default=FEATURES[0],
                    tooltip="embedding: the model's summary, of the style and of what is shown. gram: which features "
                    "occur together, wherever they do: more of texture, less of content.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, clip_vision, image, features) -> io.NodeOutput:
        discriminator = StyleDiscriminator(clip_vision, features)
        reference = encode_images(discriminator, checked_images(image, "Style Guidance"))
        return io.NodeOutput(GuidanceByStyle(reference, discriminator))
