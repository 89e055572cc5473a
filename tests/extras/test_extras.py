"""Every command in an environment of each extra alone: it works, or one line names an extra that helps."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mtab.data import Corpus

Call = Callable[..., "subprocess.CompletedProcess[str]"]

HINT = re.compile(r"^Error: .*?needs (\w+), which is not installed: pip install 'mtab\[(\w+)\]'$")
PACKAGES = {"sklearn": "scikit-learn"}
ENVIRONMENTS = ((), ("cpu",), ("cpu", "train"), ("cpu", "export"), ("cpu", "bench"))


@dataclass(frozen=True)
class Run:
    """A command with little to do, and the extras with which it has to work."""

    line: str
    works_with: frozenset[str]


def run(line: str, *works_with: str) -> Run:
    return Run(line, frozenset(works_with))


RUNS = (
    run("mtab predict {bundle} {clip} --text high", "cpu"),
    run("mtab info {bundle}", "cpu"),
    run("mtab tune {bundle} --utterances 1 --min-seconds 0 --device cpu", "cpu"),
    run("mtab-train data --dataset manifest --data-dir {corpus}"),
    run("mtab-train info --preset tiny", "train"),
    run("mtab-train init --preset tiny --out {out}", "train"),
    run("mtab-train fit --dataset manifest --data-dir {corpus} --epochs 1 --out {out}", "train"),
    run("mtab-train synth --layout iemocap --utterances 200 --out {out}", "dev"),
    run("mtab-export --checkpoint {run} --data-dir {corpus} --utterances 2 --out {out}", "cpu", "export"),
    run("mtab-export inspect {bundle}", "cpu", "export"),
    run("mtab-export verify {bundle} --data-dir {corpus}", "cpu", "export"),
    run("mtab-bench --dataset manifest --data-dir {corpus} --bundle {bundle} --out {out}", "cpu", "bench"),
    run(
        "mtab-bench training --dataset manifest --data-dir {corpus} --utterances 20 --epochs 1",
        "bench",
        "train",
    ),
    run(
        "mtab-bench latency --bundle {bundle} --engine onnxruntime-fp32 --min-seconds 0 --starts 0 "
        "--no-parts --batch-size 1 --out {out}",
        *("cpu", "bench"),
    ),
    run("mtab-bench soak {bundle} --requests 4 --threads 2", "cpu"),
)


CASES = [
    pytest.param(each, extras, id=f"{'+'.join(extras) or 'base'}: {' '.join(each.line.split()[:2])}")
    for extras in ENVIRONMENTS
    for each in RUNS
    # What trains is in the extra export too, and takes its time.
    if not ("export" in extras and "train" in each.works_with)
]


@pytest.mark.parametrize(("each", "extras"), CASES)
def test_it_works_or_names_the_extra(
    each: Run,
    extras: tuple[str, ...],
    call: Call,
    declared: Callable[[str], list[Requirement]],
    tone_bundle: Path,
    tone_run: Path,
    tones: Corpus,
    tmp_path: Path,
) -> None:
    places = {
        "bundle": tone_bundle,
        "run": tone_run,
        "clip": tones.root / "0-0.wav",
        "corpus": tones.root / "manifest.csv",
        "out": tmp_path / "out",
    }
    done = call(extras, *each.line.format(**places).split())
    if done.returncode == 0:
        return
    assert not each.works_with <= set(extras), done.stderr
    hint = HINT.match(done.stderr.strip())
    assert (done.returncode, bool(hint)) == (1, True), done.stderr
    assert hint is not None
    module, extra = hint.groups()
    assert extra not in extras
    package = PACKAGES.get(module, module).replace("_", "-")
    assert package in {need.name.replace("_", "-") for need in declared(extra)}
