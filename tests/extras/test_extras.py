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
LACKING = ((), ("cpu",), ("cpu", "train"))
"""Environments in which commands end with a hint, most of them."""


@dataclass(frozen=True)
class Run:
    """A command with little to do, and the environment that is just enough for it.

    Where it is not ``tried`` there, that takes long, or another command needs no less.
    """

    line: str
    enough: tuple[str, ...]
    tried: bool = True


def run(line: str, *enough: str, tried: bool = True) -> Run:
    return Run(line, enough, tried)


RUNS = (
    run("mtab predict {bundle} {clip} --text high", "cpu"),
    run("mtab info {bundle}", "cpu"),
    run("mtab tune {bundle} --utterances 1 --min-seconds 0 --device cpu", "cpu"),
    run("mtab-train data --dataset manifest --data-dir {corpus}"),
    run("mtab-train info --preset tiny", "train", tried=False),
    run("mtab-train init --preset tiny --out {out}", "train", tried=False),
    run("mtab-train fit --dataset manifest --data-dir {corpus} --epochs 1 --out {out}", "train"),
    run(
        "mtab-train fit --dataset manifest --data-dir {corpus} --epochs 1 --lora-rank 2 --out {out}",
        *("train", "lora"),
        tried=False,
    ),
    run("mtab-train synth --layout iemocap --utterances 200 --out {out}", "dev", tried=False),
    run("mtab-export --checkpoint {run} --data-dir {corpus} --utterances 2 --out {out}", "cpu", "export"),
    run("mtab-export inspect {bundle}", "cpu", "export"),
    run("mtab-export verify {bundle} --data-dir {corpus}", "cpu"),
    run("mtab-bench --dataset manifest --data-dir {corpus} --bundle {bundle} --out {out}", "cpu", "bench"),
    run(
        "mtab-bench training --dataset manifest --data-dir {corpus} --utterances 20 --epochs 1",
        *("bench", "train"),
        tried=False,
    ),
    run(
        "mtab-bench latency --bundle {bundle} --engine onnxruntime-fp32 --min-seconds 0 --starts 0 "
        "--no-parts --batch-size 1 --out {out}",
        *("cpu", "bench"),
        tried=False,
    ),
    run("mtab-bench soak {bundle} --requests 4 --threads 2", "cpu"),
    run("mtab serve {bundle}", "cpu", "serve", tried=False),
    run(
        "mtab predict {bundle} --ray local --manifest {corpus}/manifest.csv --dry-run",
        *("cpu", "ray"),
        tried=False,
    ),
)


def _ends_soon(each: Run, extras: tuple[str, ...]) -> bool:
    """Whether something that the command needs is not there: the bench finds all that it needs in train."""
    return not set(each.enough) <= {*extras, *(("bench",) if "train" in extras else ())}


CASES = [
    pytest.param(each, extras, id=f"{'+'.join(extras) or 'base'}: {' '.join(each.line.split()[:2])}")
    for each in RUNS
    for extras in (
        *(lacking for lacking in LACKING if _ends_soon(each, lacking)),
        *((each.enough,) if each.tried else ()),
    )
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
    assert not set(each.enough) <= set(extras), done.stderr
    hint = HINT.match(done.stderr.strip())
    assert (done.returncode, bool(hint)) == (1, True), done.stderr
    assert hint is not None
    module, extra = hint.groups()
    assert extra not in extras
    package = PACKAGES.get(module, module).replace("_", "-")
    assert package in {need.name.replace("_", "-") for need in declared(extra)}
