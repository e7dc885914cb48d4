"""Downloads a face pack for `Load Face Discriminator`, by insightface's own downloader, and checks what arrived.

    python -m scripts.download_face_pack buffalo_l --to /path/to/ComfyUI

The nodes never download anything; this is for people with internet.  Of a pack come the detector, the recogniser and,
if it has one, the gender and age model; its landmark models, which nothing here uses, are left out.  Nothing is put in
place unless every file has the SHA-256 written down here.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rectifid_core.networks.digest import file_digest

FOLDER = Path("models", "insightface", "models")
LARGEST = 300 << 20  # bytes of an unpacked file; the largest of these packs has 249 MiB
DENSEST = 20  # times smaller than unpacked; weights hardly get smaller at all

INSIGHTFACE = "https://github.com/deepinsight/insightface/releases/download/model-zoo"
RESEARCH = "insightface's terms: non-commercial research only (https://github.com/deepinsight/insightface#license)"
# Of this revision, since what a branch points to may change.
AURAFACE = "https://huggingface.co/fal/AuraFace-v1/resolve/af6d057c9b0ec4071d4c49c80e3539258798b609"
APACHE = (
    "Apache-2.0 by its publisher (https://huggingface.co/fal/AuraFace-v1), commercial use included; its detector is "
    "byte for byte insightface's scrfd_10g_bnkps.onnx"
)

DETECTOR_10G = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
DETECTOR_2_5G = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"
DETECTOR_500M = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
RESNET_100 = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"
RESNET_50 = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
MOBILEFACENET = "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"
AURAFACE_RESNET_100 = "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60"
GENDER_AGE = "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb"


class DownloadError(Exception):
    """Why nothing was installed, with advice."""


@dataclass(frozen=True)
class Pack:
    """urls: each a zip, or one of the files itself; files: name -> SHA-256 of what is installed."""

    urls: tuple[str, ...]
    files: Mapping[str, str]
    licence: str


def _insightface(name: str, files: Mapping[str, str]) -> Pack:
    return Pack((f"{INSIGHTFACE}/{name}.zip",), files, RESEARCH)


PACKS = {
    "antelopev2": _insightface(
        "antelopev2",
        {"scrfd_10g_bnkps.onnx": DETECTOR_10G, "glintr100.onnx": RESNET_100, "genderage.onnx": GENDER_AGE},
    ),
    "buffalo_l": _insightface(
        "buffalo_l", {"det_10g.onnx": DETECTOR_10G, "w600k_r50.onnx": RESNET_50, "genderage.onnx": GENDER_AGE}
    ),
    "buffalo_m": _insightface(
        "buffalo_m", {"det_2.5g.onnx": DETECTOR_2_5G, "w600k_r50.onnx": RESNET_50, "genderage.onnx": GENDER_AGE}
    ),
    "buffalo_s": _insightface(
        "buffalo_s", {"det_500m.onnx": DETECTOR_500M, "w600k_mbf.onnx": MOBILEFACENET, "genderage.onnx": GENDER_AGE}
    ),
    "buffalo_sc": _insightface("buffalo_sc", {"det_500m.onnx": DETECTOR_500M, "w600k_mbf.onnx": MOBILEFACENET}),
    "auraface": Pack(
        (f"{AURAFACE}/scrfd_10g_bnkps.onnx", f"{AURAFACE}/glintr100.onnx"),
        {"scrfd_10g_bnkps.onnx": DETECTOR_10G, "glintr100.onnx": AURAFACE_RESNET_100},
        APACHE,
    ),
}


def download_pack(name: str, models: Path, packs: Mapping[str, Pack] = PACKS) -> Path:
    """Install a pack into ``models / name`` and return that folder; DownloadError says why it was not installed."""
    if name not in packs:
        raise DownloadError(
            f"{name} is not downloaded, because no checksum of it is known here; there are {', '.join(packs)}. Another "
            f"pack can be put into {models / name} by hand."
        )
    pack, folder = packs[name], models / name
    if all(_digest(folder / file) == digest for file, digest in pack.files.items()):
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".download-") as temporary:
        arrived = Path(temporary, "files")
        arrived.mkdir()
        for url in pack.urls:
            _fetch(url, Path(temporary), arrived, pack.files)
        _check(arrived, pack.files)
        folder.mkdir(exist_ok=True)
        for file in pack.files:
            (arrived / file).replace(folder / file)
    return folder


def _fetch(url: str, temporary: Path, arrived: Path, wanted: Iterable[str]) -> None:
    """Download one URL, and put those of the wanted files that it holds into ``arrived``."""
    import requests
    from insightface.utils.download import download_file

    file = temporary / url.rpartition("/")[2]
    try:
        download_file(url, path=str(file), overwrite=True)
    except (RuntimeError, requests.RequestException) as error:  # insightface's word for "not found", and the network's
        raise DownloadError(f"{url} could not be downloaded: {error}") from error
    if file.suffix != ".zip":
        file.replace(arrived / file.name)
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.rpartition("/")[2]  # antelopev2.zip nests its files in a folder of its own
                if name in wanted:
                    _refuse_bomb(url, member)
                    with archive.open(member) as source, (arrived / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{url} sent something that is no zip file; try again later") from error


def _refuse_bomb(url: str, member: zipfile.ZipInfo) -> None:
    """Before a byte of it is written; zipfile never unpacks more than an entry says that it has."""
    if member.file_size > min(LARGEST, DENSEST * max(member.compress_size, 1)):
        raise DownloadError(
            f"{url} sent a {member.filename} of {member.file_size >> 20} MiB in {member.compress_size >> 10} KiB, "
            "which is none of a face pack; nothing was unpacked or installed"
        )


def _check(folder: Path, files: Mapping[str, str]) -> None:
    for file, digest in files.items():
        found = _digest(folder / file)
        if found is None:
            raise DownloadError(f"{file} is not in what was downloaded; nothing was installed")
        if found != digest:
            raise DownloadError(
                f"{file} is not the file that is known here (SHA-256 {found}, not {digest}); it was deleted, and "
                "nothing was installed"
            )


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file, None where there is none."""
    return file_digest(path) if path.is_file() else None


def main(arguments: list[str]) -> int:
    """Download and install the pack that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m scripts.download_face_pack", description=__doc__.splitlines()[0])
    parser.add_argument("pack", help=f"one of {', '.join(PACKS)}")
    parser.add_argument("--to", type=Path, required=True, help="the folder of your ComfyUI, the one that holds models/")
    chosen = parser.parse_args(arguments)
    if not (chosen.to / "models").is_dir():
        print(f"There is no folder {chosen.to / 'models'}; name the folder of your ComfyUI with --to.")
        return 1
    try:
        folder = download_pack(chosen.pack, chosen.to / FOLDER)
    except DownloadError as error:
        print(f"\n{error}")
        return 1
    print(f"{chosen.pack} is in {folder}\nIts licence: {PACKS[chosen.pack].licence}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
