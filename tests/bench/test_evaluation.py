"""The command on a real bundle: figures against the trainer's own, sides that are missing, wrong use."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, recall_score

import mtab
from mtab.cli import main as runtime
from mtab.data import Corpus, corpus_hash
from mtab_bench.cli import main
from mtab_bench.commands.target import newest_bundle
from mtab_export.cli import main as export

WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Missing())
from mtab_bench.cli import main
main()
"""


def bench(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tone_bundle: Path, tones: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "report"
    options = ("--bundle", tone_bundle, "--data-dir", tones.root, "--out", out, "--threads", 1)
    code, output = bench("--dataset", "manifest", *options)
    assert code == 0, output
    assert "PyTorch's label for all 6 test utterances" in output
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())["evaluation"]


def test_writes_three_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]


def test_every_engine_is_measured_or_skipped(report: dict) -> None:
    engines = report["backends"]
    assert list(engines)[:3] == ["pytorch", "onnxruntime-fp32", "openvino-fp32"]
    for key, engine in engines.items():
        assert {engine[group] is None for group in ("accuracy", "timed")} == {engine["skipped"] is not None}
        assert (key in report["utterances"][0]["probabilities"]) == (engine["skipped"] is None)
    assert engines["pytorch"]["parity"] is None


def test_probabilities_are_the_trainers_and_the_runtimes(
    report: dict, tone_run: Path, tone_bundle: Path, tones: Corpus
) -> None:
    with (tone_run / "predictions.csv").open() as file:
        predictions = {row["utterance"]: row for row in csv.DictReader(file)}
    model = mtab.load(tone_bundle)
    utterances = {utterance.id: utterance for utterance in tones.utterances}
    assert {each["id"] for each in report["utterances"]} == set(predictions)
    for each in report["utterances"]:
        trained = [float(predictions[each["id"]][label]) for label in model.labels]
        assert each["probabilities"]["pytorch"] == pytest.approx(trained, abs=1e-5)
        utterance = utterances[each["id"]]
        answer = model.predict(utterance.audio, utterance.text)
        assert each["probabilities"]["onnxruntime-fp32"] == pytest.approx(
            list(answer.probabilities.values()), abs=1e-6
        )
        assert each["seconds"] == answer.duration


def test_accuracy_is_that_of_the_probabilities(report: dict) -> None:
    classes = report["protocol"]["classes"]
    true = [each["true"] for each in report["utterances"]]
    for name in report["utterances"][0]["probabilities"]:
        engine = report["backends"][name]
        predicted = [classes[int(np.argmax(each["probabilities"][name]))] for each in report["utterances"]]
        assert engine["accuracy"]["war"] == pytest.approx(accuracy_score(true, predicted))
        assert engine["accuracy"]["uar"] == pytest.approx(recall_score(true, predicted, average="macro"))
    results = report["backends"]["onnxruntime-fp32"]["parity"]
    assert results["figures"]["label_agreement"] == 1.0
    assert 0 < results["figures"]["max_probability_difference"] < 1e-5
    assert results["failures"] == []
    assert results["war_difference"] == 0.0


def test_protocol(report: dict, tones: Corpus) -> None:
    protocol = report["protocol"]
    test = tuple(utterance for utterance in tones.utterances if utterance.speaker == "0")
    assert protocol["utterances"] == len(test) == 6
    assert protocol["corpus_sha256"] == corpus_hash(test)
    assert (protocol["folds"], protocol["fold"], protocol["protocol"]) == ("speaker", "speaker-0", "honest")
    assert protocol["utterances_per_class"] == {"high": 3, "low": 3}
    assert protocol["problem_count"] == 0


def test_speed(report: dict) -> None:
    assert report["timing"]["threads"] == 1
    seconds = sum(each["seconds"] for each in report["utterances"])
    for engine in (each for each in report["backends"].values() if not each["skipped"]):
        timed = engine["timed"]
        samples = timed["latency"]["values"]
        assert engine["threads"] == 1
        assert len(samples) >= 200
        assert min(samples) > 0
        assert len(engine["medians"]) == len(report["utterances"])
        # Every utterance is cut, by up to an eighth.
        spoken = np.mean(samples) / timed["rtf"]["value"]
        assert 7 / 8 * seconds < spoken * len(report["utterances"]) < seconds
        assert timed["repeated"]["count"] >= len(report["utterances"])
    speedup = report["backends"]["onnxruntime-fp32"]["timed"]["speedup"]
    assert 0 < speedup["low"] <= speedup["value"] <= speedup["high"]


def test_without_its_checkpoint_pytorch_is_skipped(tone_bundle: Path, tones: Corpus, tmp_path: Path) -> None:
    shutil.copytree(tone_bundle, tmp_path / "alone")
    code, output = bench(
        "--dataset", "manifest", "--data-dir", tones.root,
        "--bundle", tmp_path / "alone", "--out", tmp_path / "out", "--threads", 1,
    )  # fmt: skip
    assert code == 0, output
    report = json.loads((tmp_path / "out" / "report.json").read_text())["evaluation"]
    assert "model.safetensors: not found" in report["backends"]["pytorch"]["skipped"]
    assert report["backends"]["pytorch"]["accuracy"] is None
    assert report["backends"]["onnxruntime-fp32"]["accuracy"]["war"] == 1.0
    assert report["backends"]["onnxruntime-fp32"]["parity"] is None
    assert {"onnxruntime-fp32", "openvino-fp32"} <= set(report["utterances"][0]["probabilities"])
    assert "skipped" in output


def test_without_torch_pytorch_is_skipped(tone_bundle: Path, tones: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--dataset", "manifest", "--data-dir", tones.root, "--bundle", tone_bundle, "--out", out)
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())["evaluation"]
    expected = "PyTorch's side needs torch, which is not installed: pip install 'mtab[export]'"
    assert report["backends"]["pytorch"]["skipped"] == expected
    assert report["backends"]["onnxruntime-fp32"]["accuracy"]["war"] == 1.0


def test_export_tune_and_bench_judge_alike(
    tone_run: Path, tone_bundle: Path, tones: Corpus, tmp_path: Path
) -> None:
    """By the budget that the export granted, as with ``--atol``: here one that no arithmetic can keep."""
    bundle, corpus = tmp_path / "bundle", ("--dataset", "manifest", "--data-dir", tones.root)
    shutil.copytree(tone_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for graph in manifest["graphs"]:
        graph["certificate"]["budget"]["max_difference"] = 1e-12
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    verified = CliRunner().invoke(export, ["verify", str(bundle), "--checkpoint", str(tone_run)])
    tuned = CliRunner().invoke(runtime, ["tune", str(bundle), *map(str, corpus), "--min-seconds", "0.01"])
    code, output = bench(
        *corpus, "--bundle", bundle, "--checkpoint", tone_run, "--out", tmp_path / "out", "--threads", 1
    )
    assert (verified.exit_code, tuned.exit_code, code) == (1, 1, 0)
    assert "Over budget: ONNX Runtime fp32" in output
    backends = json.loads((tmp_path / "out" / "report.json").read_text())["evaluation"]["backends"]
    measured = "; ".join(backends["onnxruntime-fp32"]["parity"]["failures"])
    for said in (verified.output, tuned.output, measured):
        assert "expected at most 1e-12" in said


def test_what_cannot_be_read_is_counted(
    tone_bundle: Path, make_tones: Callable[[Path], Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make_tones(data)
    clips = sorted(data.glob("0-*.wav"))
    clips[0].unlink()
    # Its header is sound; what follows is not there.
    clips[1].write_bytes(clips[1].read_bytes()[:60])
    code, output = bench(
        "--dataset", "manifest", "--data-dir", data,
        "--bundle", tone_bundle, "--out", tmp_path / "out", "--threads", 1,
    )  # fmt: skip
    assert code == 0, output
    protocol = json.loads((tmp_path / "out" / "report.json").read_text())["evaluation"]["protocol"]
    assert (protocol["utterances"], protocol["problem_count"]) == (4, 2)
    assert sorted(Path(problem["file"]).name for problem in protocol["problems"]) == ["0-0.wav", "0-1.wav"]


def test_failures_are_one_line(tone_bundle: Path, tones: Corpus, folder: Path, tmp_path: Path) -> None:
    here = ("--bundle", tone_bundle, "--data-dir", tones.root)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "model.safetensors").write_bytes(b"another model")
    for expected, arguments in {
        "has a section 'evaluation' already": ("--dataset", "manifest", *here, "--out", folder),
        "expected EmoDB's clips": ("--dataset", "emodb", *here, "--out", tmp_path / "x"),
        "model.safetensors: SHA-256": (
            "--dataset", "manifest", *here, "--out", tmp_path / "x", "--checkpoint", wrong,
        ),
        "expected a bundle": ("--dataset", "manifest", "--bundle", tmp_path, "--out", tmp_path / "x"),
    }.items():  # fmt: skip
        code, output = bench(*arguments)
        assert code == 1
        assert output.startswith("Error: ")
        assert output.count("\n") == 1
        assert expected in output
    assert not (tmp_path / "x").exists()


def test_a_run_or_a_bundle_that_is_half_there(
    tone_run: Path, tone_bundle: Path, tones: Corpus, tmp_path: Path
) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    shutil.copytree(tone_run, run, ignore=shutil.ignore_patterns("bundle", "checkpoints"))
    shutil.copytree(tone_bundle, bundle)
    options = ("--dataset", "manifest", "--data-dir", tones.root, "--out", tmp_path / "x")
    manifest = json.loads((bundle / "manifest.json").read_text())

    def fails(expected: str) -> None:
        code, output = bench(*options, "--bundle", bundle, "--checkpoint", run)
        assert (code, output.count("\n")) == (1, 1), output
        assert expected in output

    # As if calibrated at the end of a training that the run folder has not seen.
    checkpoint = manifest["checkpoint"] | {"temperature": 1.75}
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"checkpoint": checkpoint}))
    fails("calibration.json: temperature 1, expected 1.75")
    training = {key: value for key, value in manifest["training"].items() if key != "fold"}
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"training": training}))
    fails("manifest.json: training lacks 'fold', expected dataset, folds, fold, protocol, seed")
    (run / "config.json").write_text('{"labels": ["hi')
    fails("config.json: is not JSON")
    (run / "model.safetensors").unlink()
    fails("model.safetensors: not found, expected the checkpoint")
    assert not (tmp_path / "x").exists()


def test_wrong_use() -> None:
    for arguments in ((), ("--dataset", "savee"), ("nonsense",), ("--dataset", "emodb", "--threads", 0)):
        assert bench(*arguments)[0] == 2
    assert bench("--version")[1].strip().endswith(mtab.__version__)
    code, output = bench("--help")
    assert code == 0
    assert "mtab-bench --dataset iemocap" in output


def test_newest_bundle(tmp_path: Path) -> None:
    for age, name in enumerate(("new/fold-1", "old")):
        manifest = tmp_path / name / "bundle" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.touch()
        os.utime(manifest, (1e9 - age, 1e9 - age))
    assert newest_bundle(tmp_path) == tmp_path / "new" / "fold-1" / "bundle"
