"""How `mtab` is used: wrong use, help, versions, and devices, engines and bundles that are not there."""

import subprocess
from pathlib import Path

import pytest

import mtab
from mtab.errors import BundleError

from .commands import MTAB, answers, failure, run, wrong_use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict",), "Missing argument 'BUNDLE'."),
        (("predict", "b"), "give AUDIO, --text or --manifest"),
        (("predict", "b", "--text-file", "t"), "give AUDIO, --text or --manifest"),
        (("predict", "b", "a", "--text", "t", "--text-file", "t"), "give one of --text, --text-file and"),
        (
            ("predict", "b", "--text", "t", "--manifest", "m"),
            "give one of --text, --text-file and --manifest",
        ),
        (("predict", "b", "a", "--manifest", "m"), "give AUDIO or --manifest, not both"),
        (("predict", "b", "a", "--columns", "audio=path"), "--columns needs --manifest"),
        (
            ("predict", "b", "a", "c", "--text", "t"),
            "--text is one transcript, expected one AUDIO, got 2; see",
        ),
        (
            ("predict", "b", "--manifest", "m", "--columns", "sound=path"),
            "Invalid value for '--columns': unknown column 'sound', expected one of audio, text, label, id",
        ),
        (
            ("predict", "b", "--manifest", "m", "--columns", "audio=path,text=path"),
            "Invalid value for '--columns': 'path' is both audio and text, expected a column for each",
        ),
        (("predict", "b", "a", "--format", "xml"), "Invalid value for '--format'"),
        (("predict", "b", "a", "--threads", "0"), "Invalid value for '--threads'"),
        (("predict", "b", "a", "--batch-size", "0"), "Invalid value for '--batch-size'"),
        (("predict", "b", "a", "--batch-seconds", "0"), "Invalid value for '--batch-seconds'"),
        (("predict", "b", "a", "--top-k", "0"), "Invalid value for '--top-k'"),
        (("predict", "b", "a", "--abstain", "1.5"), "Invalid value for '--abstain'"),
        (("predict", "b", "a", "--on-error", "ignore"), "Invalid value for '--on-error'"),
        (("predict", "b", "a", "--colour", "red"), "No such option"),
        (("predicts",), "No such command"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], message: str) -> None:
    assert wrong_use(*arguments).startswith(message)


def test_without_arguments_it_teaches() -> None:
    code, _, err = run()
    assert code == 2
    assert "Example:" in err


def test_help_has_examples_that_work(drop_bundle: Path, clip: Path, other: Path, tmp_path: Path) -> None:
    """Every line of the help's examples runs as it stands, of a model that does without text too."""
    (tmp_path / "bundle").symlink_to(drop_bundle)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "a.wav").write_bytes(clip.read_bytes())
    for name, source in {"clip": clip, "a": clip, "b": other}.items():
        (tmp_path / f"{name}.wav").write_bytes(source.read_bytes())
    (tmp_path / "transcripts.txt").write_text("it is high\nit is low\n")
    (tmp_path / "recordings.csv").write_text("audio,text\na.wav,it is high\nb.wav,it is low\n")
    examples = 0
    for arguments in (("--help",), ("predict", "--help"), ("info", "--help")):
        code, out, _ = run(*arguments)
        assert code == 0
        for line in out.split("Example")[1].split("Options:")[0].splitlines():
            if line.strip().startswith("mtab "):
                command = line.strip().replace("mtab", str(MTAB), 1)
                done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                assert not done.stderr or "--ray" in line  # where Ray says things of its own
                examples += 1
    assert examples == 9
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "emotions" / "part-000000.parquet").is_file()
    assert (tmp_path / "emotions.csv").read_text().startswith("utterance,label,high,low,")


def test_version() -> None:
    assert run("--version") == (0, f"mtab, version {mtab.__version__}\n", "")


@pytest.mark.parametrize(
    ("device", "message"),
    [("tpu", "device 'tpu', expected cpu, cuda or cuda:N"), ("cpu:1", "device 'cpu:1', expected cpu")],
)
def test_a_device_that_there_is_not(tone_bundle: Path, clip: Path, device: str, message: str) -> None:
    assert failure(tone_bundle, clip, "--text", "a", "--device", device).startswith(message)


def test_engine_and_precision(tone_bundle: Path, clip: Path) -> None:
    arguments = (tone_bundle, clip, "--text", "a")
    found = answers(*arguments, "--engine", "onnxruntime", "--precision", "fp32", "--device", "cpu")
    assert found == answers(*arguments)
    assert "expected fused int8" in failure(*arguments, "--precision", "int8")
    assert "engines are none" in failure(*arguments, "--engine", "tensorrt")
    assert "'tvm' is not one of 'auto', 'onnxruntime'" in wrong_use("predict", *arguments, "--engine", "tvm")
    assert "'fp7' is not one of 'auto', 'fp32'" in wrong_use("predict", *arguments, "--precision", "fp7")


def test_what_is_no_bundle(tone_run: Path, clip: Path) -> None:
    assert failure(tone_run, clip, "--text", "a") == (
        f"{tone_run}: holds no manifest.json, expected a bundle made by mtab-export"
    )
    with pytest.raises(BundleError):
        mtab.load(tone_run)
