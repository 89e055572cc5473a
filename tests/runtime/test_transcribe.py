"""Transcripts by commands and functions; what recognisers that are not installed need is told."""

import importlib.util
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.errors import MtabError, TextError
from mtab.timeline.transcript import Word
from mtab.transcribe import Transcriber, as_transcriber

SAMPLES = (0.5 * np.sin(np.arange(8_000))).astype(np.float32)


def script(tmp_path: Path, code: str) -> str:
    """A command that runs ``code``."""
    path = tmp_path / "recognise it.py"
    path.write_text(f"import sys\n{code}\n")
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


def test_a_command_gets_a_wav_file(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    command = script(
        tmp_path, f"import shutil; shutil.copy(sys.argv[1], {str(heard)!r}); print('Grüße an dich ')"
    )
    recogniser = as_transcriber(command)
    assert recogniser(SAMPLES) == "Grüße an dich"
    assert recogniser.name == sys.executable
    found, rate = soundfile.read(heard, dtype="float32")
    assert (rate, soundfile.info(heard).subtype) == (16_000, "PCM_16")
    np.testing.assert_allclose(found, SAMPLES, atol=1e-4)


def test_the_place_of_the_file(tmp_path: Path) -> None:
    command = script(
        tmp_path, "assert sys.argv[1].startswith('--file=') and sys.argv[2] == 'x'; print('yes')"
    )
    assert as_transcriber(f"{command} --file={{}} x")(SAMPLES) == "yes"


def test_a_function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_recogniser.py").write_text(
        "def hear(samples): return f'{len(samples)} samples'\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recogniser = as_transcriber("my_recogniser:hear")
    assert (recogniser(SAMPLES), recogniser.name) == ("8000 samples", "my_recogniser:hear")
    words = [Word(0.0, 0.2, "hey")]
    assert as_transcriber(lambda samples: words)(SAMPLES) == words
    assert as_transcriber(recogniser) is recogniser
    unsorted = [Word(1.0, 2.0, "b"), Word(0.0, 1.0, "a")]
    assert as_transcriber(lambda samples: unsorted).text_of(SAMPLES) == "a b"
    kept = SAMPLES.copy()
    as_transcriber(lambda samples: samples.fill(0) or "silent")(SAMPLES)
    assert (kept == SAMPLES).all()
    (tmp_path / "broken_recogniser.py").write_text("1 / 0\n")
    with pytest.raises(MtabError, match="'broken_recogniser:hear': division by zero"):
        as_transcriber("broken_recogniser:hear")
    with pytest.raises(MtabError, match=r"'my_recogniser:number': is int, expected a function"):
        as_transcriber("my_recogniser:number")
    with pytest.raises(
        MtabError, match=r"'my_recogniser:none': .*no attribute 'none', expected module:function"
    ):
        as_transcriber("my_recogniser:none")
    with pytest.raises(MtabError, match=r"'no_such_module:hear': No module named"):
        as_transcriber("no_such_module:hear")


def test_what_a_recogniser_may_not_answer() -> None:
    def breaks(samples: np.ndarray) -> str:
        raise RuntimeError("out of\nmemory")

    with pytest.raises(TextError) as raised:
        as_transcriber(breaks)(SAMPLES)
    assert str(raised.value) == "breaks: fails (out of memory), expected a transcript"
    for words in ([Word(0, 1, None)], [Word(1, 0, "a")], [Word(0, float("nan"), "a")]):  # pyright: ignore
        with pytest.raises(TextError, match="answers with list, expected a text or words with times"):
            as_transcriber(lambda samples, words=words: words)(SAMPLES)
    with pytest.raises(TextError, match="answers with int, expected a text or words with times"):
        Transcriber("counts", lambda samples: 3)(SAMPLES)  # pyright: ignore[reportArgumentType]


def test_what_a_command_may_not_do(tmp_path: Path) -> None:
    failing = as_transcriber(script(tmp_path, "print('no model', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(TextError, match=r": exit code 3: no model, expected a transcript"):
        failing(SAMPLES)
    binary = as_transcriber(script(tmp_path, "sys.stdout.buffer.write(b'\\xff')"))
    with pytest.raises(TextError, match=r"prints what is not UTF-8 \(invalid start byte\), expected a text"):
        binary(SAMPLES)
    with pytest.raises(MtabError) as raised:
        as_transcriber("no-such-command {}")(SAMPLES)
    assert (
        str(raised.value) == "no-such-command: No such file or directory, expected a command that transcribes"
    )
    with pytest.raises(MtabError, match="No closing quotation, expected a command"):
        as_transcriber("whisper 'a")
    with pytest.raises(MtabError, match="is empty, expected a command"):
        as_transcriber("  ")
    with pytest.raises(MtabError, match="transcribe is int, expected a function or a command"):
        as_transcriber(3)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("value", "module", "package"),
    [
        ("faster-whisper", "faster_whisper", "faster-whisper"),
        ("whisper.cpp:base.en", "pywhispercpp", "pywhispercpp"),
        ("sherpa-onnx:folder", "sherpa_onnx", "sherpa-onnx"),
    ],
)
def test_what_is_not_installed(value: str, module: str, package: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MtabError) as raised:
        as_transcriber(value)
    assert str(raised.value) == f"transcribe needs {package}, which is not installed: pip install {package}"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    pytest.importorskip("sherpa_onnx")
    with pytest.raises(MtabError, match="no folder, expected sherpa-onnx:FOLDER of a model"):
        as_transcriber("sherpa-onnx")
    with pytest.raises(MtabError, match=r"no model that sherpa-onnx reads, expected tokens\.txt with"):
        as_transcriber(f"sherpa-onnx:{tmp_path}")
