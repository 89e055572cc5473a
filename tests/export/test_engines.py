"""TensorRT engines in a bundle: built where no GPU is, and what is refused in one line."""

import json
import shutil
from pathlib import Path

import pytest

from mtab.bundle import open_bundle

from .commands import run

SHAPES = "input_values:{0}x{1},audio_lengths:{0},input_ids:{0}x{2},text_lengths:{0}"


@pytest.fixture
def own_run(tone_run: Path, tone_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the run with its bundle."""
    return Path(shutil.copytree(tone_run, tmp_path / "run"))


@pytest.mark.slow
def test_engines_are_built_kept_and_built_again(own_run: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="engines need mtab[rtx]")
    bundle = own_run / "bundle"
    asked = ("--checkpoint", own_run, "--target", "tensorrt", "--sm", "89")
    asked += ("--max-shapes", SHAPES.format(2, 8000, 8))
    opt = "--opt-shapes", SHAPES.format(1, 4000, 4)
    built = run(*asked, *opt)
    assert built.exit_code == 0, built.output
    assert "built, not run" in built.output
    manifest = open_bundle(bundle).manifest
    (entry,) = manifest.engines
    assert (entry.file, entry.graph, entry.compute_capability) == (
        *("model_rtx_sm89.engine", "model.onnx", "89"),
    )
    assert entry.verified is False
    assert entry.profile["max"]["input_values"] == (2, 8000)
    assert "built, not run" in (bundle / "README.md").read_text()

    again = run(*asked, *opt)
    assert "there already, nothing has changed" in again.output
    other = run(*asked, "--opt-shapes", opt[1].replace("4000", "5000"))
    assert other.exit_code == 0, other.output
    assert "is built again: its opt shapes are" in other.output
    assert len(open_bundle(bundle).manifest.engines) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sm", "12"), "compute capability 12"),
        (
            ("--sm", "89", "--max-shapes", "input_values:1x10,audio_lengths:1,input_ids:1x3,text_lengths:1"),
            "samples",
        ),
        (
            (
                "--sm",
                "89",
                "--min-shapes",
                "input_values:9x9999,audio_lengths:9,input_ids:9x9,text_lengths:9",
                "--opt-shapes",
                "input_values:1x400,audio_lengths:1,input_ids:1x1,text_lengths:1",
            ),
            "min",
        ),
        (("--sm", "89", "--opt-shapes", "sound:1x400"), "has no input 'sound'"),
        (("--sm", "89", "--refit"), "beside a GPU alone"),
        (("--flavor", "trt", "--sm", "89"), "tensorrt"),
    ],
)
def test_what_cannot_be_built(own_run: Path, arguments: tuple[str, ...], message: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="engines need mtab[rtx]")
    before = (own_run / "bundle" / "manifest.json").read_bytes()
    refused = run("--checkpoint", own_run, "--target", "tensorrt", *arguments)
    assert refused.exit_code == 1, refused.output
    assert refused.stderr.count("\n") == 1
    assert message in refused.stderr
    assert (own_run / "bundle" / "manifest.json").read_bytes() == before
    assert not list((own_run / "bundle").glob("*.engine"))


def test_options_for_onnx_runtimes_providers(own_run: Path) -> None:
    done = run("--checkpoint", own_run, "--target", "ort-trt")
    assert done.exit_code == 0, done.output
    options = json.loads((own_run / "bundle" / "model_ort_trt.json").read_text())
    assert set(options) == {"TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"}
    assert "input_values:1x400" in options["TensorrtExecutionProvider"]["trt_profile_min_shapes"]
    assert "model_ort_trt.json" in open_bundle(own_run / "bundle").manifest.files
    assert "model_ctx.onnx: not written: " in done.output
