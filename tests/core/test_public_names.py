"""The public names of the method, for use without a host."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rectifid_core


@pytest.mark.parametrize("name", rectifid_core.__all__)
def test_each_public_name_can_be_imported(name):
    each = getattr(rectifid_core, name)
    assert name in dir(rectifid_core)
    assert not callable(each) or each.__module__.startswith("rectifid_core.")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="guess"):
        _ = rectifid_core.guess


def test_the_package_itself_imports_nothing():
    code = "import rectifid_core, sys; print([name for name in sys.modules if name in ('torch', 'onnx', 'scipy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
