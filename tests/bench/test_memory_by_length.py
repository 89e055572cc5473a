"""``mtab-bench memory``: what a clip takes, measured from outside."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtab_bench.cli import main

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")


def test_memory_and_time_by_length(tone_bundle: Path) -> None:
    lengths = ["--seconds", "1", "--seconds", "40"]
    done = CliRunner().invoke(main, ["memory", str(tone_bundle), *lengths, "--json"])
    assert done.exit_code == 0, done.output
    short, long = json.loads(done.output)
    assert (short["seconds"], long["seconds"]) == (1, 40)
    assert long["time"] > 0
    assert long["bytes"] > short["bytes"] + 10e6


def test_an_engine_that_refuses_says_why(tone_bundle: Path) -> None:
    done = CliRunner().invoke(main, ["memory", str(tone_bundle), "--precision", "bf16", "--seconds", "1"])
    assert done.exit_code == 1
    assert "bf16" in done.output
