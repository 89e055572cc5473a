"""`mtab info`: what the bundle's files and an opened engine say, and nothing that cannot be had."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import mtab
from mtab.bundle import open_bundle
from mtab.choice import Choice, store_choice
from mtab.cli import main
from mtab.errors import BundleError, EngineError
from mtab.info import describe, format_report
from mtab.machine import limited_cores, usable_cores


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path / "cache"))


def test_it_is_what_the_files_say(tone_bundle: Path) -> None:
    found = describe(tone_bundle, "cpu", threads=1)
    manifest = json.loads((tone_bundle / "manifest.json").read_text())
    sizes = {path.name: path.stat().st_size for path in tone_bundle.iterdir() if path.name != "manifest.json"}
    assert found["size"] == sum(sizes.values())
    assert found["engine"] == {
        "name": "onnxruntime",
        "title": "ONNX Runtime",
        "device": "cpu",
        "precision": "fp32",
        "unquantized": [],
        "threads": 1,
        "streams": 1,
        "batch_size": 8,
        "tuned_for": None,
        "file": "model.onnx",
        "size": sizes["model.onnx"] + sizes["model.onnx.data"],
    }
    assert found["modalities"] == [["audio", "text"]]
    assert found["labels"] == ["high", "low"]
    assert found["checkpoint"]["sha256"] == manifest["checkpoint"]["sha256"]
    (graph,) = found["graphs"]
    certificate = manifest["graphs"][0]["certificate"]
    assert (graph["part"], graph["precision"], graph["opset"]) == ("fused", "fp32", 18)
    assert graph["certificate"]["max_difference"] == certificate["max_probability_difference"]
    assert found["calibration"] == manifest["training"]["calibration"]


def test_inputs_are_those_of_the_session(tone_bundle: Path) -> None:
    """ONNX Runtime itself says what the graph takes and answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(tone_bundle / "model.onnx", providers=["CPUExecutionProvider"])
    found = describe(tone_bundle, "cpu")
    for key, tensors in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        expected = [(each.name, each.shape, each.type) for each in tensors]
        names = {"float32": "tensor(float)", "int64": "tensor(int64)"}
        assert [(each["name"], each["shape"], names[each["dtype"]]) for each in found[key]] == expected


def test_what_was_tuned(tone_bundle: Path) -> None:
    store_choice(open_bundle(tone_bundle), Choice("onnxruntime", "cpu", "fp32", 1))
    engine = describe(tone_bundle)["engine"]
    assert (engine["threads"], engine["tuned_for"]) == (1, "latency")
    told = "threads: 1, batches of 8, 1 at once, as mtab tune chose for latency"
    assert told in format_report(describe(tone_bundle))
    assert describe(tone_bundle, engine="onnxruntime")["engine"]["tuned_for"] is None
    assert describe(tone_bundle, tuned_for="throughput")["engine"]["tuned_for"] is None
    store_choice(open_bundle(tone_bundle), Choice("onnxruntime", "cpu", "fp32", 2, 2, 16), "throughput")
    done = CliRunner().invoke(main, ["info", str(tone_bundle), "--for", "throughput"])
    assert "threads: 2, batches of 16, 2 at once, as mtab tune chose for throughput" in done.stdout


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
@pytest.mark.skipif(limited_cores() is not None or usable_cores() < 2, reason="no core to be left out")
def test_a_process_that_may_not_use_every_core(tone_bundle: Path) -> None:
    script = f"""
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import mtab.engines.onnxruntime, mtab.model
from mtab.info import describe, format_report
before = len(os.listdir("/proc/self/task"))
found = describe({str(tone_bundle)!r}, "cpu", "onnxruntime")
print(found["engine"]["threads"], len(os.listdir("/proc/self/task")) - before)
print("threads: 1" in format_report(found))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0", "True"]  # the thread that asks is the one that computes


def test_it_claims_nothing_that_cannot_be_had(tone_bundle: Path) -> None:
    store_choice(open_bundle(tone_bundle), Choice("tensorrt", "cuda", "fp32"))
    engine = describe(tone_bundle)["engine"]
    assert (engine["name"], engine["tuned_for"]) == ("onnxruntime", None)
    for options in ({"engine": "tensorrt"}, {"precision": "int8"}):
        with pytest.raises(BundleError) as caught:
            describe(tone_bundle, **options)  # pyright: ignore[reportArgumentType]
        with pytest.raises(BundleError) as expected:
            mtab.load(tone_bundle, **options)  # pyright: ignore[reportArgumentType]
        assert str(caught.value) == str(expected.value)
    with pytest.raises(EngineError, match="device 'tpu'"):
        describe(tone_bundle, "tpu")


def test_calibration(copied: Path, change: Callable[..., None]) -> None:
    def edit(values: dict) -> None:
        scores = {"utterances": 9, "nll": {"before": 1, "after": 1}, "ece": {"before": 0.25, "after": 0.125}}
        values["training"]["calibration"] = {
            "temperature": 1.5,
            "validation": scores,
            "test": scores,
            "reason": None,
        }
        values["checkpoint"]["temperature"] = 1.5

    change(copied, "manifest.json", edit)
    found = format_report(describe(copied, "cpu"))
    assert "temperature 1.5; ECE on validation 0.250 before, 0.125 after; ECE on test 0.250 before" in found


def test_the_command(tone_bundle: Path) -> None:
    done = CliRunner().invoke(main, ["info", str(tone_bundle), "--device", "cpu", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == describe(tone_bundle, "cpu")
    done = CliRunner().invoke(main, ["info", str(tone_bundle), "--device", "cpu"])
    assert done.stdout == format_report(describe(tone_bundle, "cpu")) + "\n"
