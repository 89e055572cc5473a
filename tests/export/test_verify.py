"""`mtab-export verify`: with PyTorch and without, and what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

from mtab.bundle import file_entries, open_bundle
from mtab.config import to_dict
from mtab.parity import budget_of
from mtab_export.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


@pytest.fixture
def own_run(tone_run: Path, tone_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the run with its bundle."""
    return Path(shutil.copytree(tone_run, tmp_path / "run"))


def row(output: str) -> list[str]:
    (found,) = [line.split() for line in output.splitlines() if line.startswith("fused")]
    return found


def test_with_pytorch(own_run: Path) -> None:
    done = run(own_run / "bundle")
    assert done.exit_code == 0, done.output
    assert "9 files are as they were written" in done.output
    assert "Against PyTorch, run here" in done.output
    graph = open_bundle(own_run / "bundle").manifest.graph("fused", "fp32")
    assert graph is not None
    measured = f"{graph.certificate.max_probability_difference:.1e}"
    assert row(done.output) == ["fused", "fp32", measured, *row(done.output)[3:-1], "passed"]


ALL = "torch transformers safetensors onnx onnx_ir onnxscript tqdm sklearn scipy accelerate huggingface_hub"


@pytest.mark.parametrize("missing", ["torch transformers", ALL])
def test_without_pytorch(own_run: Path, tmp_path: Path, missing: str) -> None:
    """In a process that has no torch, or nothing but mtab[cpu], far from the checkpoint."""
    moved = tmp_path / "moved"
    (own_run / "bundle").rename(moved)
    script = (
        "import importlib.abc, sys\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in sys.argv[2].split():\n"
        "            raise ModuleNotFoundError(f'{name} is blocked', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"arguments = ['mtab-export', 'verify', {str(moved)!r}, '--data-dir', sys.argv[1]]\n"
        "from mtab_export.cli import main\n"
        "main(arguments[1:], prog_name='mtab-export')"
    )
    corpus = open_run_corpus(own_run)
    done = subprocess.run(
        [sys.executable, "-c", script, corpus, missing], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Against PyTorch's answers at export, as stored" in done.stdout
    assert row(done.stdout)[-1] == "passed"


def open_run_corpus(run_folder: Path) -> str:
    from mtab_train.run import open_run

    return str(open_run(run_folder).config.data_dir)


def test_a_graph_that_was_changed_and_sealed_again(own_run: Path) -> None:
    """Hashes can be made right again; the answers cannot."""
    bundle = own_run / "bundle"
    model = onnx.load(bundle / "model.onnx")
    (weight,) = [w for w in model.graph.initializer if w.name == "head.classifier.weight"]
    spoilt = numpy_helper.to_array(weight).copy()
    spoilt[0] += 0.05
    weight.CopyFrom(numpy_helper.from_array(spoilt, weight.name))
    (bundle / "model.onnx.data").unlink()
    onnx.save(model, bundle / "model.onnx", save_as_external_data=True, location="model.onnx.data")
    done = run(bundle)
    assert done.exit_code == 1
    assert "bytes, expected" in done.stderr or "SHA-256" in done.stderr
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: to_dict(entry) for name, entry in file_entries(bundle).items()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = run(bundle)
    assert done.exit_code == 1
    assert row(done.output)[-2:] == ["over", "budget"]
    assert "expected at most 1e-05" in done.stderr


def test_another_corpus_needs_pytorch(own_run: Path, tmp_path: Path, make_tones) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_tones(other)
    done = run(own_run / "bundle", "--dataset", "manifest", "--data-dir", other)
    assert done.exit_code == 0, done.output
    moved = tmp_path / "moved"
    (own_run / "bundle").rename(moved)
    refused = run(moved, "--dataset", "manifest", "--data-dir", other)
    assert refused.exit_code == 1
    assert "give --checkpoint RUN; expected both to compare on another corpus" in refused.stderr


def test_recordings_that_have_changed(own_run: Path, tmp_path: Path, make_tones) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_tones(other)
    for number in range(6):
        (other / f"0-{number}.wav").write_bytes((other / "1-1.wav").read_bytes())
    refused = run(own_run / "bundle", "--data-dir", other)
    assert refused.exit_code == 1
    assert "has changed since the export" in refused.stderr


def test_the_budget_that_the_export_granted_counts(own_run: Path) -> None:
    """Here as in `mtab tune`: both ask `mtab.parity.budget_of`."""
    bundle = own_run / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    (graph,) = manifest["graphs"]
    graph["certificate"]["budget"]["max_difference"] = 1e-12
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert budget_of(open_bundle(bundle), "fp32").max_difference == 1e-12
    refused = run(bundle)
    assert refused.exit_code == 1
    assert "expected at most 1e-12" in refused.stderr
    assert "budget of fp32: differences up to 1e-12, 100% of labels kept; 1 more may change" in refused.stdout
