"""What recordings suffer, held against how each is defined."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import welch

from mtab_bench.distortions import (
    CODECS,
    LEVELS,
    babble,
    clipping,
    codec,
    conditions,
    gain,
    reverberation,
    telephone,
    white_noise,
    wrong_words,
)

SECONDS = 2
TIME = np.arange(SECONDS * 16_000) / 16_000
SPEECH = (0.3 * np.sin(2 * np.pi * 440 * TIME) * (1 + np.sin(2 * np.pi * 3 * TIME)) / 2).astype(np.float32)


def seeded() -> np.random.Generator:
    return np.random.default_rng(1)


def voice(random: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * random.uniform(100, 300) * TIME[: random.integers(4_000, 20_000)])


def share_of_power(samples: np.ndarray, low: float, high: float) -> float:
    frequencies, power = welch(samples, 16_000, nperseg=1024)
    return float(power[(frequencies >= low) & (frequencies <= high)].sum() / power.sum())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("make", [white_noise, lambda level: babble(voice, level)], ids=["white", "babble"])
def test_noise_has_its_level(make, level: int) -> None:
    noise = make(level)(SPEECH, seeded()) - SPEECH
    assert 10 * np.log10(np.mean(SPEECH**2) / np.mean(noise**2)) == pytest.approx(level, abs=1e-3)


def test_white_noise_is_white_and_babble_is_of_voices() -> None:
    quiet = np.full(32_000, 1e-6, np.float32)
    white, voices = (each(quiet, seeded()) - quiet for each in (white_noise(0), babble(voice, 0)))
    assert share_of_power(white, 4_000, 8_000) == pytest.approx(0.5, abs=0.03)
    assert share_of_power(voices, 50, 400) > 0.95


def test_silence_stays_silent() -> None:
    assert not white_noise(0)(np.zeros(16_000), seeded()).any()


def test_the_telephone_has_its_band() -> None:
    noise = seeded().normal(0, 0.1, 32_000)
    heard = telephone(noise, seeded())
    assert len(heard) == len(noise)
    assert share_of_power(heard, 300, 3_400) > 0.9
    # Half of the power is lost at either end, nearly all of it an octave below.
    assert share_of_power(heard, 0, 150) < 1e-3
    assert share_of_power(heard, 4_100, 8_000) < 1e-3
    # What lies in it comes through as loud as it was.
    through = telephone(SPEECH, seeded())
    assert np.std(through) == pytest.approx(np.std(SPEECH), rel=0.05)
    assert share_of_power(through, 400, 480) > 0.99


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_keeps_speech_in_its_place(name: str) -> None:
    heard = codec(*CODECS[name])(SPEECH, seeded())
    assert len(heard) == len(SPEECH)
    assert not np.array_equal(heard, SPEECH)
    assert np.corrcoef(heard, SPEECH)[0, 1] > 0.95


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_an_echo_falls_by_60_db_in_its_time(seconds: float) -> None:
    """By Schroeder's integral of the response, from -5 to -25 dB, as ISO 3382 has it."""
    impulse = np.zeros(32_000)
    impulse[0] = 1
    response = reverberation(seconds)(impulse, seeded())
    assert response[0] == pytest.approx(1)
    echo = response[1:]
    assert np.sum(echo**2) == pytest.approx(1, rel=1e-6)
    decay = 10 * np.log10(np.cumsum(echo[::-1] ** 2)[::-1] + 1e-30)
    falling = np.flatnonzero((decay < decay[0] - 5) & (decay > decay[0] - 25))
    slope = np.polyfit(falling / 16_000, decay[falling], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


def test_gain_and_clipping() -> None:
    softer = gain(-20)(SPEECH, seeded())
    assert np.abs(softer - SPEECH / 10).max() < 1 / 65_000
    louder = gain(20)(SPEECH, seeded())
    assert np.abs(louder).max() == 1
    clipped = clipping(0.1)(SPEECH, seeded())
    assert np.mean(clipped != SPEECH) == pytest.approx(0.1, abs=0.001)


def edits(one: Sequence[str], other: Sequence[str]) -> int:
    """The least number of words to replace, leave out or add."""
    row = list(range(len(other) + 1))
    for i, word in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != theirs))
    return row[-1]


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_transcripts_have_their_word_error_rate(rate: float) -> None:
    words = [f"word{i}" for i in range(3_000)]
    vocabulary = [f"other{i}" for i in range(50)]
    wrong = wrong_words(" ".join(words[:1_000]), rate, vocabulary, seeded()).split()
    assert edits(words[:1_000], wrong) / 1_000 == pytest.approx(rate, rel=0.15)


@given(st.text(), st.integers(0, 2**32 - 1))
def test_a_transcript_is_never_left_empty(text: str, seed: int) -> None:
    wrong = wrong_words(text, 1.0, ["hm"], np.random.default_rng(seed))
    assert wrong.split() or not text.split()


def test_a_model_is_asked_what_it_can_be() -> None:
    heard, read = (
        [each.name for each in conditions(voice, listens=listens, reads=not listens)]
        for listens in (True, False)
    )
    assert read == ["transcripts, WER 10%", "transcripts, WER 20%", "transcripts, WER 40%"]
    assert not set(heard) & set(read)
    assert [each.name for each in conditions(voice, listens=True, reads=True)] == heard + read
