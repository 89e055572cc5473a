"""trtexec's command line, and what it writes, through a command that stands where there is no GPU."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mtab.errors import EngineError
from mtab_bench.trtexec import read_times, time_trtexec

INPUTS = {"input_values": np.arange(12, dtype=np.float32).reshape(2, 6), "lengths": np.array([6, 4])}

# What NVIDIA's command takes and writes, as its manual describes them.
SCRIPT = """#!/usr/bin/env python3
import json, pathlib, sys
options = dict(each.lstrip("-").split("=", 1) for each in sys.argv[1:])
if options["onnx"] == "bad.onnx":
    sys.exit("[I] reading\\n[E] cannot parse bad.onnx\\n&&&& FAILED")
files = [each.split(":", 1) for each in options["loadInputs"].split(",")]
sizes = {name: pathlib.Path(file).stat().st_size for name, file in files}
assert options["shapes"] == "input_values:2x6,lengths:2", options
assert sizes == {"input_values": 48, "lengths": 16}, sizes
assert options["duration"] == "2"
runs = [{"latencyMs": 4.0, "computeMs": 3}, {"latencyMs": 5}]
pathlib.Path(options["exportTimes"]).write_text(json.dumps(runs))
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    path = tmp_path / "trtexec"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return os.fspath(path)


def test_every_run_is_read(command: str) -> None:
    assert time_trtexec(command, Path("model.onnx"), INPUTS, 2.0).tolist() == [0.004, 0.005]


def test_a_failure_is_its_error(command: str) -> None:
    with pytest.raises(EngineError, match=r"^bad.onnx: trtexec fails \(\[E\] cannot parse bad.onnx\)$"):
        time_trtexec(command, Path("bad.onnx"), INPUTS, 2.0)


@pytest.mark.parametrize("written", [[], [{"computeMs": 1}], {"latencyMs": 1}, [1]])
def test_other_files_are_refused(tmp_path: Path, written: object) -> None:
    (tmp_path / "times.json").write_text(json.dumps(written))
    with pytest.raises(EngineError, match="times"):
        read_times(tmp_path / "times.json")
