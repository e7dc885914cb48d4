"""A host and the repository have modules of the same names: each import finds the right one."""

from pathlib import Path

import nodes as host_nodes
import tests.helpers
from tests.helpers.benchmarks import benchmark
from tests.helpers.host import HOST
from tests.helpers.places import ROOT


def test_helpers_are_ours_although_the_host_has_a_folder_of_tests():
    assert Path(tests.helpers.__file__).parent == ROOT / "tests" / "helpers"


def test_nodes_are_the_hosts_even_after_a_benchmark_was_loaded():
    benchmark("discriminators")
    assert Path(host_nodes.__file__) == Path(HOST).resolve() / "nodes.py"


def test_the_repository_is_not_on_the_path(pack):
    import sys

    assert ROOT not in [Path(entry or ".").resolve() for entry in sys.path]
    assert Path(pack("nodes").__file__).is_relative_to(ROOT)
