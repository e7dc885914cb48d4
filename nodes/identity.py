"""Who or what the pictures shall show."""

from __future__ import annotations

from comfy_api.latest import io, ui

from .host.discriminator import encode_images
from .types import Discriminator, Identity


class EncodeReferenceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EncodeReferenceIdentity",
            display_name="Encode Reference Identity",
            category="RectifID",
            description="Remembers who or what the reference images show, and displays the part of them that it saw.",
            inputs=[
                Discriminator.Input("discriminator", tooltip="The recogniser that shall tell the identity."),
                io.Image.Input("images", tooltip="Pictures of one person or thing; several make a steadier identity."),
            ],
            outputs=[
                Identity.Output(display_name="identity", tooltip="For the guidance input of the sampler."),
                io.Image.Output(display_name="crops", tooltip="What the recogniser saw of each image."),
            ],
        )

    @classmethod
    def execute(cls, discriminator, images) -> io.NodeOutput:
        identity = encode_images(discriminator, images)
        crops = identity.crops.movedim(1, -1)
        return io.NodeOutput(identity, crops, ui=ui.PreviewImage(crops, cls=cls))
