"""The tables of the C++ SDK are those that the Python runtime declares."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "runtime" / "cpp" / "tools" / "write_tables.py"


def test_what_python_declares_is_in_the_sdk() -> None:
    checked = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
