"""Python packages that are missing or broken are missed where they are used, and only there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rectifid_core.packages import importing

REPOSITORY = Path(__file__).resolve().parents[2]
CORE = REPOSITORY / "rectifid_core"
OPTIONAL = ["insightface", "matplotlib", "onnx", "onnx2torch", "onnxruntime", "scipy", "transformers"]
BREAK = """
import importlib.machinery, sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] == {package!r} else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        raise {error}
sys.meta_path.insert(0, Broken())
"""


def run(code: str, package: str, error: str = "ImportError('DLL load failed')") -> str:
    """What the code prints in an interpreter where that package is installed and broken."""
    code = BREAK.format(package=package, error=error) + code
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", OPTIONAL)
def test_every_module_imports_without(package):
    modules = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in CORE.rglob("*.py")]
    modules = [module.removesuffix(".__init__") for module in modules]
    assert run(f"import {', '.join(modules)}; print('all')", package) == "all\n"


USES = {
    "onnx": "from rectifid_core.networks.onnx import load_onnx; load_onnx('demo/weights/recogniser_guide.onnx')",
    "onnx2torch": "from rectifid_core.networks.onnx import load_onnx; load_onnx('demo/weights/recogniser_guide.onnx')",
    "onnxruntime": "from pathlib import Path; from rectifid_core.discriminators.faces.runtime import open_session; "
    "open_session(Path('demo/weights/attributes.onnx'))",
    "insightface": "from rectifid_core.discriminators.faces.runtime import import_insightface; import_insightface()",
    "matplotlib": "from rectifid_core.images.figure import new_figure; new_figure(3, 3)",
    "scipy": "import torch; from rectifid_core.guidance.assignment import assign; assign(torch.eye(2))",
    "transformers": "from pathlib import Path; from rectifid_core.discriminators.segmenter import load_segmenter; "
    "load_segmenter(Path('demo/weights/segmenter'))",
}


@pytest.mark.parametrize("package", USES)
@pytest.mark.parametrize("error", ["ImportError('DLL load failed')", "AttributeError('_ARRAY_API not found')"])
def test_where_it_is_used_the_message_says_how_to_install_it(package, error):
    code = f"try:\n    exec({USES[package]!r})\nexcept ImportError as error:\n    print(error)"
    said = run(code, package, error)
    assert f"package {package}" in said and "-m pip install" in said and error.split("'")[1] in said


def test_what_is_advised_is_what_the_pack_requires():
    required = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").split()
    advised = {
        requirement
        for path in CORE.rglob("*.py")
        for requirement in re.findall(r'importing\("([^"]+)"', path.read_text(encoding="utf-8"))
        if path.name != "packages.py"
    }
    assert advised and advised <= set(required)


def test_an_interrupt_is_no_missing_package():
    with pytest.raises(KeyboardInterrupt), importing("onnx", "ONNX files"):
        raise KeyboardInterrupt


def test_the_oldest_insightface_is_the_one_that_ci_tries():
    said = {
        "requirements.txt": r"insightface>=([\d.]+)",
        "rectifid_core/discriminators/faces/runtime.py": r"insightface>=([\d.]+)",
        ".github/workflows/test.yml": r"insightface==([\d.]+)",
        "web/docs/LoadFaceDiscriminator.md": r"\*insightface\* \(([\d.]+) or later",
    }
    found = {file: re.findall(pattern, (REPOSITORY / file).read_text("utf-8")) for file, pattern in said.items()}
    assert all(found.values()) and len({version for versions in found.values() for version in versions}) == 1, found
