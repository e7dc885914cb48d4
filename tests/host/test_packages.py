"""Python packages that are broken take away what needs them, and no node; tests/core has each of them alone."""

from __future__ import annotations

import subprocess
import sys

from tests.helpers.host import PACK
from tests.helpers.places import ROOT

LOAD = """
import asyncio, importlib, importlib.machinery, sys
from tests.helpers.host import HOST, PACK, load_host, load_host_and_pack

class Broken:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in {packages!r} else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        raise ImportError("DLL load failed")

load_host(HOST)
import utils.extra_config, comfy.sd, comfy.sd1_clip, nodes
for name in [name for name in sys.modules if name.split(".")[0] in {packages!r}]:  # the host itself may need it
    del sys.modules[name]
sys.meta_path.insert(0, Broken())
load_host_and_pack()
extension = asyncio.run(sys.modules[PACK].comfy_entrypoint())
nodes = {{node.GET_NODE_INFO_V1()["name"]: node for node in asyncio.run(extension.get_node_list())}}
print(len(nodes), "nodes")
nodes["LoadDemoModel"].execute()
picture = nodes["DrawDemoPortrait"].execute(identity=1, prompt="a person").result[0]
nodes["ColorGuidance"].execute(image=picture)
print("the demo runs")
try:
    nodes["LoadDemoDiscriminator"].execute()
except ImportError as error:
    print(error)
"""


PACKAGES = ["insightface", "matplotlib", "onnx", "onnx2torch", "onnxruntime", "scipy", "transformers"]


def test_all_nodes_load_and_the_demo_runs():
    code = LOAD.format(packages=PACKAGES)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{len(sys.modules[f'{PACK}.nodes'].NODES)} nodes\nthe demo runs\n" in done.stdout
    assert "need the Python package onnx" in done.stdout
