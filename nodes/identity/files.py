"""Identities as files."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...rectifid_core.guidance.identity import IdentityGuidance
from ...rectifid_core.identity.files import IdentityExistsError, save_identity
from ...rectifid_core.identity.identity import Identity
from ...rectifid_core.networks.digest import file_digest
from ..checks import checked_discriminator, checked_identity
from ..folders import Choice, NotThereError, files_of, state_of
from ..host.networks.discriminators import load_saved
from ..host.run.progress import tell
from ..schema import search_aliases
from ..types import Discriminator, Guidance
from .display import show

FOLDER, ENDING = "identities", ".safetensors"
LONGEST = 200  # bytes of a name or a folder's name; file systems allow 255, and the number and the ending follow
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # as a folder, on Windows
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
SAVED = Choice(
    "identity",
    lambda: files_of(FOLDER, ENDING),
    lambda: " or ".join(folder_paths.get_folder_paths(FOLDER)),
    "Save one with Save Identity.",
)


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveIdentity",
            display_name="Save Identity",
            category="RectifID/identity",
            **search_aliases("face", "character"),
            description=f"Keeps an identity as a file in models/{FOLDER}, for Load Identity. The reference images are "
            "not in it, but what the recogniser looked at in them is.",
            is_output_node=True,
            inputs=[
                Guidance.Input("identity", optional=True, tooltip="From Encode Reference Identity."),
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
    def execute(cls, filename_prefix, identity=None) -> io.NodeOutput:
        if identity is None:
            text = "no identity is connected, so nothing was saved"
        else:
            folder = Path(folder_paths.get_folder_paths(FOLDER)[0]).resolve()
            path = _save(checked_identity(identity, "Save Identity").identity, folder, filename_prefix)
            text = f"saved as {path.relative_to(folder).as_posix()} in {folder}"
        logging.log(logging.WARNING if identity is None else logging.INFO, "RectifID: %s", text)
        return io.NodeOutput(ui=tell(text, cls.hidden.unique_id))


class LoadIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        files = SAVED.names()
        return io.Schema(
            node_id="LoadIdentity",
            display_name="Load Identity",
            category="RectifID/identity",
            **search_aliases("face", "character"),
            description="An identity that Save Identity has kept. It wants the discriminator that encoded it, with the "
            "same settings: an embedding means nothing to another one.",
            inputs=[
                Discriminator.Input("discriminator", tooltip="The one that the identity was encoded with."),
                io.Combo.Input("file", options=files, default=files[0], tooltip=f"A file in models/{FOLDER}."),
            ],
            outputs=[
                Guidance.Output(
                    display_name="identity", tooltip="For the guidance input of the sampler, or for Identity Guidance."
                ),
                io.Image.Output(display_name="crops", tooltip="What the recogniser looked at in each reference."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None):
        """In the place of the host's own check, which knows only the files that there were when it started."""
        try:
            if file is not None:  # None: comes from another node
                SAVED.path(file)
        except NotThereError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str, **_):
        path = SAVED.path(file)
        return [*state_of(path), file_digest(path)]

    @classmethod
    def execute(cls, discriminator, file) -> io.NodeOutput:
        path = SAVED.path(file)
        discriminator = checked_discriminator(discriminator, "Load Identity")
        identity = load_saved(path, discriminator)
        shown = show(cls, list(identity.crops), f"loaded {file}")
        return io.NodeOutput(IdentityGuidance(identity, discriminator), identity.crops.movedim(1, -1), ui=shown)


def _save(identity: Identity, folder: Path, prefix: str) -> Path:
    """Saves under the next number of ``prefix`` that is free, and returns the path."""
    _check_name(folder, prefix)
    try:
        where, name, number, _, _ = folder_paths.get_save_image_path(prefix, str(folder))
    except OSError as error:
        raise ValueError(
            f"{prefix!r} cannot be a file in {folder}: {error.strerror or error}. Write another name"
        ) from error
    while True:
        path = Path(where, f"{name}_{number:05}_{ENDING}")
        try:
            save_identity(identity, path)
        except IdentityExistsError:  # another server was faster
            number += 1
        else:
            return path


def _check_name(folder: Path, prefix: str) -> None:
    """Raises ValueError, with advice, unless ``prefix`` is a name in ``folder`` or in a folder of it."""
    example = "write a name, with folders before it if you like, such as 'family/anna'"
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in prefix):
        raise ValueError(f"{prefix!r} has letters that no file's name can have; {example}")
    if any(len(part.encode()) > LONGEST for part in Path(prefix).parts):
        raise ValueError(
            f"the name {prefix[:40]!r}... is too long for a file: {len(prefix)} letters, where {LONGEST} are the most; "
            "write a shorter one"
        )
    folders = prefix.replace("\\", "/").split("/")[:-1]
    if ":" in prefix or any(
        _DEVICE.fullmatch(part) or part.rstrip(". ") != part for part in folders if part.strip(".")
    ):
        raise ValueError(f"{prefix!r} is a name that Windows takes for something else; {example}")
    place = (folder / prefix).resolve()
    if place == folder or not place.is_relative_to(folder):
        raise ValueError(f"{prefix!r} is no name for a file in {folder}; {example}")
