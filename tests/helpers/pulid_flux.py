"""PuLID for FLUX by three packs: their own *Apply* nodes, on small networks of their own classes.

From a file their loaders take the widths of the real network alone, which is 2 GB; a face's reading is downloads too.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from .compositions import Composition, noise
from .families import FLUX_WIDTHS, filled
from .other_packs import a_face, finds_faces, module

LLDACING, BALAZIK, SIPIE = "ComfyUI_PuLID_Flux_ll", "ComfyUI-PuLID-Flux", "ComfyUI-PuLID-Flux-Enhanced"


class SeesFaces(torch.nn.Module):
    """In the place of EVA-CLIP: random numbers in the shapes of what it sees."""

    image_size, image_mean, image_std = 336, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def forward(self, face, **_):
        return noise(1, 768), [noise(1, 577, 1024, seed=layer) for layer in range(5)]


class AlignsFaces:
    """In the place of facexlib's networks: the whole picture is the face, and its parts are random."""

    def __init__(self, **_):
        self.cropped_faces = [a_face()[0].mul(255).byte().numpy()]

    def unchanged(self, *_, **__):
        """What would find and align the face."""

    clean_all = read_image = get_face_landmarks_5 = align_warp_face = unchanged

    def face_parse(self, face):
        return [noise(1, 19, *face.shape[-2:])]


def small_pulid(pack) -> torch.nn.Module:
    with torch.device("meta"):
        pulid = pack.PulidFluxModel()
    pulid.pulid_encoder = pack.IDFormer(dim=32, depth=5, dim_head=16, heads=2, num_queries=4)
    width = FLUX_WIDTHS["hidden_size"]
    pulid.pulid_ca = torch.nn.ModuleList(
        pack.PerceiverAttentionCA(dim=width, dim_head=16, heads=2) for _ in pulid.pulid_ca
    )
    pulid.load_state_dict(filled(pulid))
    return pulid


def without_downloads(files, folder: str) -> ModuleType:
    """The pack's module; what its *Apply* node finds and parses a face with is replaced."""
    pack = module(files.packs, folder, "pulidflux")
    files.monkeypatch.setattr(pack, "FaceRestoreHelper", AlignsFaces)
    files.monkeypatch.setattr(pack, "init_parsing_model", lambda **_: AlignsFaces().face_parse, raising=False)
    return pack


def put_pulid_flux(folder: str, held: Callable = lambda network: network) -> Callable:
    """``held``: how the pack's loader holds the network."""

    def put(job, files):
        pack = without_downloads(files, folder)
        node = pack.ApplyPulidFlux()
        (job.model,) = node.apply_pulid_flux(
            job.model.clone(),
            held(small_pulid(pack)),
            SeesFaces(),
            finds_faces(files.loras),
            a_face(),
            weight=0.8,
            start_at=0.0,
            end_at=1.0,
            unique_id="7",
        )
        job.model.set_attachments("node", node)  # what it put onto the network goes when the host lets go of the node

    return put


COMPOSITIONS = {"PuLID for FLUX": Composition("flux_dev", put_pulid_flux(SIPIE))}
