"""What recordings and transcripts suffer on their way, made by a stated recipe: for one clip at a time."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, fftconvolve, sosfilt

from mtab.audio import SAMPLE_RATE

LEVELS = (20, 10, 5, 0)
"""Signal-to-noise ratios in dB, over the whole clip."""
VOICES = 6
"""Clips that speak at once in babble."""
REVERBERATION_TIMES = (0.3, 0.6, 1.0)
"""RT60: seconds in which an echo falls by 60 dB."""
CODECS = {"MP3": ("MP3", "MPEG_LAYER_III"), "Opus": ("OGG", "OPUS"), "Vorbis": ("OGG", "VORBIS")}
COMPRESSION = 0.9
"""libsndfile's level of compression, 0 to 1: about 16 kbit/s of MP3, 21 of the others, at 16 kHz."""
GAINS = (-20, 20)
"""In dB; what is louder than full scale is clipped, and samples are rounded to 16 bits."""
CLIPPED = (0.01, 0.1)
"""Shares of a clip's samples that are clipped."""
WORD_ERROR_RATES = (0.1, 0.2, 0.4)

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A clip's samples, float (n,) at 16 kHz, to as many others."""
Voice = Callable[[np.random.Generator], np.ndarray]
"""A clip that is drawn from a corpus, float (n,) at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One way in which utterances are spoilt: their ``sound``, or the share of their words that are wrong."""

    name: str
    sound: Change | None = None
    word_error_rate: float = 0.0


def conditions(voice: Voice, listens: bool, reads: bool) -> list[Condition]:
    """All of them for a model that ``listens`` or ``reads``; babble is of ``voice``."""
    found: list[Condition] = []
    if listens:
        found += [
            *(Condition(f"white noise, {level} dB", white_noise(level)) for level in LEVELS),
            *(Condition(f"babble, {level} dB", babble(voice, level)) for level in LEVELS),
            Condition("telephone", telephone),
            *(Condition(name, codec(*kind)) for name, kind in CODECS.items()),
            *(Condition(f"reverberation, {t} s", reverberation(t)) for t in REVERBERATION_TIMES),
            *(Condition(f"gain, {decibels:+} dB", gain(decibels)) for decibels in GAINS),
            *(Condition(f"clipping, {share:.0%}", clipping(share)) for share in CLIPPED),
        ]
    if reads:
        found += [
            Condition(f"transcripts, WER {rate:.0%}", word_error_rate=rate) for rate in WORD_ERROR_RATES
        ]
    return found


def add_noise(samples: np.ndarray, noise: np.ndarray, level: float) -> np.ndarray:
    """Samples (n,) with noise (n,) at a signal-to-noise ratio of ``level`` dB; silence stays as it is."""
    power, disturbance = (float(np.mean(np.square(each, dtype=np.float64))) for each in (samples, noise))
    if not power or not disturbance:
        return samples
    return samples + noise * np.sqrt(power / disturbance / 10 ** (level / 10))


def white_noise(level: float) -> Change:
    """Gaussian noise of the same power at every frequency."""
    return lambda samples, random: add_noise(samples, random.standard_normal(len(samples)), level)


def babble(voice: Voice, level: float) -> Change:
    """`VOICES` clips at once, each of the same power, repeated from a random place."""

    def change(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        noise = np.zeros(len(samples))
        for _ in range(VOICES):
            clip = voice(random)
            looped = np.resize(np.roll(clip, int(random.integers(len(clip)))), len(samples))
            noise += looped / (np.sqrt(np.mean(np.square(looped, dtype=np.float64))) or 1)
        return add_noise(samples, noise, level)

    return change


def telephone(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """300 to 3,400 Hz at 8 kHz, in the 8-bit mu-law of G.711."""
    band = butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = soxr.resample(np.asarray(sosfilt(band, samples)), SAMPLE_RATE, 8_000)
    heard, rate = _coded(narrow, 8_000, "WAV", "ULAW")
    return _fitted(soxr.resample(heard, rate, SAMPLE_RATE), len(samples))


def codec(format: str, subtype: str) -> Change:
    """What is left after a lossy codec, at `COMPRESSION`."""

    def change(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
        heard, rate = _coded(samples, SAMPLE_RATE, format, subtype, compression_level=COMPRESSION)
        return _fitted(
            heard if rate == SAMPLE_RATE else soxr.resample(heard, rate, SAMPLE_RATE), len(samples)
        )

    return change


def reverberation(seconds: float) -> Change:
    """The direct sound and as much energy of echo: noise that falls by 60 dB in ``seconds``."""

    def change(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        count = round(seconds * SAMPLE_RATE)
        # 60 dB are a factor of 1,000 in amplitude.
        echo = random.standard_normal(count) * 1000 ** (-np.arange(count) / count)
        response = np.concatenate([[1.0], echo / np.linalg.norm(echo)])
        return fftconvolve(samples, response)[: len(samples)]

    return change


def gain(decibels: float) -> Change:
    """Louder or softer, as a recording of 16 bits."""
    return lambda samples, _: np.round(np.clip(samples * 10 ** (decibels / 20), -1, 1) * 32_767) / 32_767


def clipping(share: float) -> Change:
    """The loudest ``share`` of the samples cut to one level."""

    def change(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
        most = np.quantile(np.abs(samples), 1 - share)
        return np.clip(samples, -most, most)

    return change


def wrong_words(text: str, rate: float, vocabulary: Sequence[str], random: np.random.Generator) -> str:
    """A transcript in which each word is, with probability ``rate``, replaced, left out or followed by one.

    One of the three is drawn evenly, other words are drawn from ``vocabulary``. Nothing is left empty.
    """
    words: list[str] = []
    for word in text.split():
        kind = random.integers(3) if random.random() < rate else -1
        if kind != 0:
            words.append(str(random.choice(vocabulary)) if kind == 1 else word)
        if kind == 2:
            words.append(str(random.choice(vocabulary)))
    return " ".join(words) or text


def _coded(
    samples: np.ndarray, rate: int, format: str, subtype: str, **options: float
) -> tuple[np.ndarray, int]:
    """Samples after a coding of libsndfile, and their rate."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), rate, format=format, subtype=subtype, **options)  # pyright: ignore[reportArgumentType]
    file.seek(0)
    return soundfile.read(file)


def _fitted(samples: np.ndarray, count: int) -> np.ndarray:
    """As many samples as there were."""
    return np.pad(samples[:count], (0, max(count - len(samples), 0)))
