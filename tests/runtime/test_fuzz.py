"""Whatever is fed in, an utterance has an answer or an error of mtab's that names it: no crash, no hang.

``MTAB_FUZZ`` is how many audio files, and how many texts, are tried.
"""

import faulthandler
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtab import Limits, Model, load
from mtab.errors import AudioError, TextError
from mtab.results import Failure, Result

NUMBER = int(os.environ.get("MTAB_FUZZ", "300"))
HANGS = 120
"""Seconds without an answer after which the process shows where it is, and ends."""
FORMATS = [
    *(("wav", "WAV", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "ULAW", "IMA_ADPCM")),
    ("wav", "WAVEX", "PCM_16"),
    ("wav", "RF64", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("ogg", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
]
EXTREMES = [
    bytes(4),
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x01\x00\x00\x00",
    b"RIFF",
    b"OggS",
]


@pytest.fixture(scope="module")
def model(drop_bundle: Path) -> Model:
    model = load(drop_bundle, "cpu", threads=1)
    model.limits = Limits(seconds=60)
    return model


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    yield
    faulthandler.cancel_dump_traceback_later()


def clips() -> list[tuple[str, bytes]]:
    """A second of sound in each of `FORMATS`, and as mp4 where PyAV is here: suffix and content."""
    random = np.random.default_rng(0)
    sound = 0.1 * random.standard_normal((16_000, 2))
    found = []
    for suffix, container, subtype in FORMATS:
        stream = io.BytesIO()
        soundfile.write(stream, sound, 16_000, format=container, subtype=subtype)
        found.append((suffix, stream.getvalue()))
    try:
        import av
    except ImportError:
        return found
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        track = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[:, :1].T.astype(np.float32).copy(), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux([*track.encode(frame), *track.encode(None)])
    return [*found, ("mp4", stream.getvalue())]


def mutated(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """``content`` with one to four things wrong with it, most of them near its head."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        end = len(data) if random.random() < 0.4 else min(len(data), 80)
        if end == 0:
            break
        at, size = int(random.integers(end)), int(random.integers(1, 64))
        match random.integers(8):
            case 0:
                data[at] ^= 1 << int(random.integers(8))
            case 1:
                data[at : at + 4] = EXTREMES[random.integers(len(EXTREMES))]
            case 2:
                data[at : at + size] = random.bytes(size)
            case 3:
                del data[int(random.integers(len(data))) :]
            case 4:
                del data[at : at + size]
            case 5:
                data[at:at] = data[at : at + size]
            case 6:
                data[at:] = other[at:]
            case _:
                data[at : at + size] = bytes(size)
    return bytes(data)


def test_audio_that_is_broken_in_any_way_has_an_answer_or_an_error_that_names_it(
    model: Model, tmp_path: Path
) -> None:
    originals = clips()
    outcomes: list[Result | Failure] = []
    for number in range(NUMBER):
        random = np.random.default_rng(number)
        suffix, content = originals[random.integers(len(originals))]
        _, other = originals[random.integers(len(originals))]
        if random.random() < 0.1:  # what one format is called another holds
            suffix, _ = originals[random.integers(len(originals))]
        path = tmp_path / f"{number}.{suffix}"
        path.write_bytes(mutated(content, other, random))
        faulthandler.dump_traceback_later(HANGS, exit=True)
        outcome = model.predict([path], on_error="skip")[0]
        if isinstance(outcome, Failure):
            assert type(outcome.error) is AudioError, path
            assert str(outcome.error).startswith(f"{path}: ")
            assert "\n" not in str(outcome.error)
        else:
            assert np.isclose(sum(outcome.probabilities.values()), 1, atol=1e-5), path
        outcomes.append(outcome)
        path.unlink()
    answered = sum(isinstance(outcome, Result) for outcome in outcomes)
    print(f"{NUMBER} audio files: {answered} answered, {NUMBER - answered} refused")
    assert 0 < answered < NUMBER


# As a program may hand them over: any code point, half a surrogate pair included.
TEXTS = st.one_of(
    st.text(st.characters(), max_size=400),
    st.text("\ud800\udfff\x00\ufeff<>/smak |\n\u200d🙂́", max_size=100),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=8), st.integers(1, 4000)),
)


@settings(
    deadline=None,
    max_examples=NUMBER,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(TEXTS)
def test_any_text_has_an_answer_or_an_error_that_names_it(model: Model, text: str) -> None:
    faulthandler.dump_traceback_later(HANGS, exit=True)
    outcome = model.predict(None, [text], on_error="skip")[0]
    if isinstance(outcome, Failure):
        assert type(outcome.error) is TextError
        assert str(outcome.error).startswith("utterance 0: ")
        assert "\n" not in str(outcome.error)
    else:
        assert outcome.modalities == ("text",)
        assert np.isclose(sum(outcome.probabilities.values()), 1, atol=1e-5)
