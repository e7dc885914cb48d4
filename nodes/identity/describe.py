"""What a face pack can say of an identity, for the prompt."""

from __future__ import annotations

from comfy_api.latest import io

from ...rectifid_core.discriminators.faces.attributes import describe_face, rewrite
from ..checks import checked_identity
from ..host.run.progress import tell
from ..schema import search_aliases
from ..types import Guidance


class DescribeFaceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DescribeFaceIdentity",
            display_name="Describe Face Identity",
            category="RectifID/identity",
            **search_aliases("age", "gender", "prompt"),
            description="Makes a prompt agree with the reference: writes 'man' or 'woman' where it says 'person'. By "
            "the gender and age model of the face pack; nothing else is inferred.",
            inputs=[
                Guidance.Input(
                    "identity",
                    optional=True,
                    tooltip="From Encode Reference Identity, with a face pack; the first reference counts. Without "
                    "one, the prompt stays as it is.",
                ),
                io.String.Input(
                    "prompt",
                    default="close-up portrait photo of a person",
                    multiline=True,
                    tooltip="Each 'person' in it is replaced; a prompt without one stays as it is.",
                ),
                io.Boolean.Input(
                    "age_word", default=False, tooltip="Also say the age in a word, such as 'young' or 'elderly'."
                ),
            ],
            outputs=[
                io.String.Output(display_name="prompt", tooltip="For CLIP Text Encode."),
                io.String.Output(display_name="description", tooltip="What the model guesses, with the age in years."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, prompt, age_word, identity=None) -> io.NodeOutput:
        if identity is None:
            return io.NodeOutput(prompt, "")
        guidance = checked_identity(identity, "Describe Face Identity")
        identity, discriminator = guidance.identity, guidance.discriminator
        pack = getattr(discriminator, "pack", None)
        if pack is None:
            raise ValueError(
                f"This identity is of a {discriminator.noun}, by {discriminator.name}, and only faces are described. "
                "Encode it with Load Face Discriminator, or leave this node out."
            )
        if not identity.references:
            raise ValueError(
                "This identity was loaded from a file, which does not keep the reference image. Encode the image "
                "again, or write 'man' or 'woman' into the prompt yourself."
            )
        first = identity.references[0]
        description = describe_face(pack.attributes, first.image, first.chosen)
        prompt, said = rewrite(prompt, description, age_word), str(description)
        return io.NodeOutput(prompt, said, ui=tell(said, cls.hidden.unique_id))
