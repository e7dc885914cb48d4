"""Who or what the pictures shall show."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..rectifid_core.choice import CHOICES
from ..rectifid_core.drawing import draw_regions, on_one_size
from ..rectifid_core.guidance import IdentityGuidance as GuidanceByIdentity
from ..rectifid_core.identity import MATCHINGS
from ..rectifid_core.identity import Identity as EncodedIdentity
from ..rectifid_core.identity_file import save_identity
from ..rectifid_core.measure import Measurement
from ..rectifid_core.plot import plot_identity
from .host.discriminator import encode_images, load_saved, measure_images
from .host.progress import tell
from .masks import one_mask
from .types import Discriminator, Guidance, Identity

FOLDER, ENDING = "identities", ".safetensors"
NOTHING_SAVED = "none saved yet"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class EncodeReferenceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EncodeReferenceIdentity",
            display_name="Encode Reference Identity",
            category="RectifID",
            description="Remembers who or what the reference images show, and displays what it found in them, what it "
            "took, and the embeddings.",
            is_input_list=True,  # a list of images of different sizes is one identity, not several
            inputs=[
                Discriminator.Input("discriminator", tooltip="The recogniser that shall tell the identity."),
                io.Image.Input(
                    "images",
                    tooltip="Pictures of one person or thing, as a batch or a list; several make a steadier identity.",
                ),
                io.Combo.Input(
                    "which",
                    options=list(CHOICES),
                    default=CHOICES[0],
                    tooltip="Which of several faces is meant. only: there is just one, else an error lists them. "
                    "largest; central: nearest to the middle; leftmost; index: by its number. A mask goes before.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=999,
                    tooltip="For 'index': the number that the boxes picture shows, from 0.",
                ),
                io.String.Input(
                    "text",
                    default="",
                    tooltip="What to look for in the images, such as 'a dog'. Only for subject discriminators with a "
                    "detector; leave it empty for faces.",
                ),
                io.Combo.Input(
                    "matching",
                    options=list(MATCHINGS),
                    default=MATCHINGS[0],
                    tooltip="With several references: mean compares with their average, nearest with the most similar.",
                ),
                io.String.Input(
                    "weights",
                    default="",
                    tooltip="How much each reference counts: numbers with commas between, such as '1, 0.5'. Empty: all "
                    "the same.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="One for each image, of its size: takes the face under it; without a detector, takes what "
                    "it covers.",
                ),
            ],
            outputs=[
                Identity.Output(display_name="identity", tooltip="For the guidance input of the sampler."),
                io.Image.Output(display_name="crops", tooltip="What the recogniser saw of each image."),
                io.Image.Output(
                    display_name="boxes",
                    tooltip="The images with all that was found in them, numbered; what was taken is green.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, discriminator, images, which, index, text, matching, weights, mask=None) -> io.NodeOutput:
        identity = encode_images(
            discriminator[0],
            [image for batch in images for image in batch],
            None if mask is None else [each for batch in mask for each in batch.reshape(-1, *batch.shape[-2:])],
            by=which[0],
            index=index[0],
            text=text[0],
            matching=matching[0],
            weights=_numbers(weights[0]),
        )
        for doubt in identity.doubts:
            logging.warning("RectifID: %s", doubt)
        boxes = [draw_regions(each.image, each.regions, each.chosen) for each in identity.seen]
        shown = _show(cls, [*boxes, *identity.crops, _plot(identity)], _taken(identity))
        return io.NodeOutput(identity, identity.crops.movedim(1, -1), on_one_size(boxes).movedim(1, -1), ui=shown)


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveIdentity",
            display_name="Save Identity",
            category="RectifID",
            description=f"Keeps an identity as a file in models/{FOLDER}, for Load Identity. The reference images are "
            "not in it, but what the recogniser saw of them is.",
            is_output_node=True,
            inputs=[
                Identity.Input("identity", tooltip="From Encode Reference Identity."),
                io.String.Input(
                    "filename_prefix",
                    default="identity",
                    tooltip="The file's name, to which a number is added; nothing is overwritten. 'family/anna' puts "
                    "it into the folder 'family'.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, identity, filename_prefix) -> io.NodeOutput:
        folder = Path(folder_paths.get_folder_paths(FOLDER)[0]).resolve()
        path = _next(folder, filename_prefix)
        save_identity(identity, path)
        text = f"saved as {path.relative_to(folder).as_posix()} in {folder}"
        logging.info("RectifID: identity %s", text)
        return io.NodeOutput(ui=tell(text, cls.hidden.unique_id))


class LoadIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        files = [file for file in folder_paths.get_filename_list(FOLDER) if file.lower().endswith(ENDING)]
        files = files or [NOTHING_SAVED]
        return io.Schema(
            node_id="LoadIdentity",
            display_name="Load Identity",
            category="RectifID",
            description="An identity that Save Identity has kept. It wants the discriminator that encoded it: an "
            "embedding means nothing to another one.",
            inputs=[
                Discriminator.Input("discriminator", tooltip="The one that the identity was encoded with."),
                io.Combo.Input("file", options=files, default=files[0], tooltip=f"A file in models/{FOLDER}."),
            ],
            outputs=[
                Identity.Output(display_name="identity", tooltip="For the guidance input of the sampler."),
                io.Image.Output(display_name="crops", tooltip="What the recogniser saw of each reference."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None):
        """In the place of the host's own check, which cannot say where a missing file should be."""
        try:
            if file is not None:  # None: comes from another node
                _saved(file)
        except FileNotFoundError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str, **_):
        return _saved(file).stat().st_mtime

    @classmethod
    def execute(cls, discriminator, file) -> io.NodeOutput:
        identity = load_saved(_saved(file), discriminator)
        shown = _show(cls, [*identity.crops, _plot(identity)], f"loaded {file}")
        return io.NodeOutput(identity, identity.crops.movedim(1, -1), ui=shown)


class MeasureIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="MeasureIdentity",
            display_name="Measure Identity",
            category="RectifID",
            description="How similar pictures are to an identity: 1 is the same embedding, 0 has nothing in common.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures to measure; in each, the most similar face counts."),
                Identity.Input(
                    "identity",
                    tooltip="To measure honestly, encode it with another recogniser than the one that guides.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="similarity",
                    tooltip="The mean over the pictures in which something was found, from -1 to 1; 0 if in none.",
                ),
                io.String.Output(display_name="text", tooltip="A line for each picture."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, images, identity) -> io.NodeOutput:
        measured = measure_images(identity, images)
        found = [each.similarity for each in measured if each]
        text = _measured(measured, identity.discriminator.noun)
        return io.NodeOutput(sum(found) / max(len(found), 1), text, ui=tell(text, cls.hidden.unique_id))


class IdentityGuidance(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="IdentityGuidance",
            display_name="Identity Guidance",
            category="RectifID",
            description="An identity as guidance, with options. The sampler also takes the identity itself.",
            inputs=[
                Identity.Input("identity", tooltip="Whom or what the picture shall show."),
                io.Int.Input(
                    "detect_every",
                    default=1,
                    min=1,
                    max=100,
                    tooltip="Look for the face anew at every n-th iteration only; its place stays in between. Saves "
                    "time where the detector is slow.",
                ),
                io.Float.Input(
                    "pixels",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    round=0.01,
                    tooltip="How much the pixels themselves count: 1 for rigid things, as published; 0 for faces and "
                    "animals, which may move.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where in the new picture the identity shall be, in a mask of its shape, at any size: only "
                    "faces whose middle it covers count. For several people: left and right.",
                ),
            ],
            outputs=[Guidance.Output(display_name="guidance", tooltip="For the guidance input of the sampler.")],
        )

    @classmethod
    def execute(cls, identity, detect_every, pixels, mask=None) -> io.NodeOutput:
        mask = one_mask(mask, "where the identity shall be")
        return io.NodeOutput(GuidanceByIdentity(identity, detect_every, pixels, mask))


def _numbers(text: str) -> list[float] | None:
    if not text.strip():
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"the weights {text!r} are not numbers with commas between; write one for each reference, such as '1, 0.5'"
        ) from error


def _taken(identity: EncodedIdentity) -> str:
    """A line for each reference, and the warnings."""
    noun = identity.discriminator.noun
    lines = []
    for number, each in enumerate(identity.seen, 1):
        one = next(i for i, region in enumerate(each.regions) if region is each.chosen)
        what = f"{noun} number {one} of {len(each.regions)} found" if len(each.regions) > 1 else f"the {noun}"
        size = f"{each.chosen.width:.0f} x {each.chosen.height:.0f} pixels"
        lines.append(f"reference image {number}: took {what}, {size}")
    return "\n".join([*lines, *(f"Warning: {doubt}" for doubt in identity.doubts)])


def _measured(measured: list[Measurement | None], noun: str) -> str:
    lines = []
    for number, each in enumerate(measured, 1):
        if each is None:
            lines.append(f"image {number}: no {noun} found")
        else:
            x, y = each.region.centre
            place = f"{noun} at ({x:.0f}, {y:.0f}), {each.region.width:.0f} x {each.region.height:.0f} pixels"
            lines.append(f"image {number}: similarity {each.similarity:.3f}, {place}")
    return "\n".join(lines)


def _next(folder: Path, prefix: str) -> Path:
    """A path in ``folder``, or in a folder of it, that does not exist."""
    place = (folder / prefix).resolve()
    if place == folder or not place.is_relative_to(folder):
        raise ValueError(
            f"{prefix!r} is no name for a file in {folder}; write a name, with folders before it if you like, such as "
            "'family/anna'"
        )
    where, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(folder))
    return Path(where, f"{name}_{counter:05}_{ENDING}")


def _saved(file: str) -> Path:
    path = folder_paths.get_full_path(FOLDER, file)
    if path is None:
        folders = " or ".join(folder_paths.get_folder_paths(FOLDER))
        raise FileNotFoundError(
            f"There is no identity{'' if file == NOTHING_SAVED else f' {file}'} in {folders}. Save one with Save "
            "Identity, then reload the list of files (press R)."
        )
    return Path(path)


def _plot(identity: EncodedIdentity) -> Tensor:
    return torch.from_numpy(plot_identity(identity)).movedim(-1, 0).float() / 255


def _show(cls: type[io.ComfyNode], pictures: list[Tensor], text: str) -> dict:
    """Previews of pictures ``(3, H, W)`` of any sizes, and a text."""
    previews = ui.PreviewImage([picture.movedim(0, -1) for picture in pictures], cls=cls)
    return previews.as_dict() | tell(text, cls.hidden.unique_id)
