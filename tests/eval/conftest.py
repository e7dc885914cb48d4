"""What needs the extra `eval` is skipped where that is not installed; the rest runs anywhere."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

LACKING = [name for name in ("filelock", "jinja2", "psutil", "pyarrow", "ray", "tqdm") if find_spec(name) is None]
WITHOUT_EXTRA = {"test_intervals.py", "test_protocol.py", "test_scorers.py", "test_workflows.py"}

if LACKING:

    class Skipped(pytest.Module):
        def collect(self):
            told = f'needs {", ".join(LACKING)}: python -m pip install -e ".[eval]"'
            pytest.skip(told, allow_module_level=True)

    def pytest_pycollect_makemodule(module_path, parent):
        if module_path.name not in WITHOUT_EXTRA:
            return Skipped.from_parent(parent, path=module_path)
        return None
