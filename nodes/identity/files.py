"""Identities as files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...rectifid_core.identity.files import save_identity
from ..host.networks.discriminators import load_saved
from ..host.run.progress import tell
from ..types import Discriminator, Identity
from .encode import _plot, _show

FOLDER, ENDING = "identities", ".safetensors"
NOTHING_SAVED = "none saved yet"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


class SaveIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SaveIdentity",
            display_name="Save Identity",
            category="RectifID/identity",
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
            category="RectifID/identity",
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
