"""Ctrl-C while the clock runs: a real signal, and a report of what was complete."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtab.data import Corpus

# The signal comes as a block begins: which one is counted, for a time would depend on the machine.
AT_A_BLOCK = """
import os, signal, sys
from mtab.timing import _Run

clock, block = int(sys.argv.pop(1)), int(sys.argv.pop(1))
clocks, measure = [], _Run.measure

def counted(self, items):
    if self not in clocks:
        clocks.append(self)
    if (len(clocks), len(self.blocks) + 1) == (clock, block):
        os.kill(os.getpid(), signal.SIGINT)
    return measure(self, items)

_Run.measure = counted
from mtab_bench.cli import main
main()
"""


def interrupted(clock: int, block: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``mtab-bench``, with a SIGINT as a block begins of what is the ``clock``-th to be timed."""
    command = [sys.executable, "-c", AT_A_BLOCK, str(clock), str(block), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def section(out: Path, name: str) -> dict[str, Any]:
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json", "report.md"]
    return json.loads((out / "report.json").read_text())[name]


def latency(bundle: Path, out: Path, min_seconds: float = 0.0) -> tuple[object, ...]:
    options = ("--batch-size", 1, "--batch-size", 2, "--seconds", 0.2, "--min-seconds", min_seconds)
    options += ("--engine", "onnxruntime-fp32", "--no-parts", "--starts", 0, "--threads", 1)
    return ("latency", "--bundle", bundle, "--out", out, *options)


@pytest.fixture
def alone(tone_bundle: Path, tmp_path: Path) -> Path:
    """The bundle without its run: PyTorch, which takes long to open, is skipped."""
    return Path(shutil.copytree(tone_bundle, tmp_path / "alone" / "bundle"))


# Each case has two: of new lengths, and of one length again.
@pytest.mark.parametrize(
    ("clock", "block", "min_seconds", "kept", "repeated"),
    [(3, 2, 0.0, [1], True), (1, 8, 600.0, [1], False)],
)
def test_latency_keeps_the_cases_that_are_complete(
    alone: Path,
    tmp_path: Path,
    clock: int,
    block: int,
    min_seconds: float,
    kept: list[int],
    repeated: bool,
) -> None:
    out = tmp_path / "out"
    done = interrupted(clock, block, *latency(alone, out, min_seconds))
    assert done.returncode == 130, done.stderr
    assert "The section holds what was complete when it was interrupted." in done.stderr
    assert done.stderr.splitlines()[-1] == "Interrupted"
    found = section(out, "speed")
    assert found["interrupted"] is True
    assert [case["batch_size"] for case in found["cases"]] == kept
    timed = found["cases"][0]["backends"]["onnxruntime-fp32"]["timed"]
    assert timed["latency"]["count"] >= 6
    assert (timed["repeated"] is not None) == repeated


def test_latency_writes_nothing_where_nothing_is_complete(alone: Path, tmp_path: Path) -> None:
    done = interrupted(1, 2, *latency(alone, tmp_path / "out"))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == "Interrupted"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("clock", "timed"), [(1, False), (2, True)])
def test_accuracy_is_kept_whatever_was_timed(
    tone_bundle: Path, tones: Corpus, tmp_path: Path, clock: int, timed: bool
) -> None:
    out = tmp_path / "out"
    corpus = ("--dataset", "manifest", "--data-dir", tones.root)
    done = interrupted(clock, 2, *corpus, "--bundle", tone_bundle, "--out", out, "--threads", 1)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "Interrupted"
    found = section(out, "evaluation")
    assert found["interrupted"] is True
    assert len(found["utterances"]) == 6
    ours = found["backends"]["onnxruntime-fp32"]
    assert ours["accuracy"]["war"] == 1.0
    assert ours["parity"]["figures"]["label_agreement"] == 1.0
    assert (ours["timed"] is not None) == timed
    if timed:
        assert ours["timed"]["latency"]["count"] >= 200
        assert ours["timed"]["repeated"] is None
