"""What simple classifiers reach on the synthetic corpus, leaving one session out.

``python -m mtab_bench.synth_floor DIR`` prints the table of docs/synthetic-corpus.md for a corpus that
``mtab-train synth --layout iemocap --out DIR`` wrote.
"""

from pathlib import Path

import click
import numpy as np
import soundfile
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtab.console import Command, table
from mtab.data import Corpus, Utterance, read_corpus

FRAME, HOP = 0.040, 0.010
"""Seconds."""


def accuracies(corpus: Corpus) -> dict[str, dict[str, float]]:
    """Accuracy over all held-out sessions, by what is looked at and by classifier."""
    utterances = corpus.utterances
    waves = [_read(utterance) for utterance in utterances]
    length_and_level = np.array([_length_and_level(wave, rate) for wave, rate in waves])
    prosody = np.array([_prosody(wave, rate) for wave, rate in waves])
    texts = [utterance.text or "" for utterance in utterances]
    # Marks count as words: a question is one.
    vocabulary = CountVectorizer(binary=True, token_pattern=r"[\w']+|[!?]").fit(texts)
    words = vocabulary.transform(texts).toarray()
    return {
        "duration and level": _leave_one_session_out(corpus, length_and_level),
        "who, when, silences": _leave_one_session_out(corpus, _circumstances(corpus, waves)),
        "words": _leave_one_session_out(corpus, words),
        "prosody": _leave_one_session_out(corpus, prosody),
        "words and prosody": _leave_one_session_out(corpus, np.hstack([words, prosody])),
    }


def _leave_one_session_out(corpus: Corpus, features: np.ndarray) -> dict[str, float]:
    labels = np.array([utterance.label for utterance in corpus.utterances])
    sessions = [utterance.session for utterance in corpus.utterances]
    classifiers = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)),
        "gradient boosting": GradientBoostingClassifier(
            n_estimators=60, subsample=0.7, max_features=0.3, random_state=0
        ),
    }
    return {
        name: float(
            np.mean(
                cross_val_predict(classifier, features, labels, groups=sessions, cv=LeaveOneGroupOut())
                == labels
            )
        )
        for name, classifier in classifiers.items()
    }


def _read(utterance: Utterance) -> tuple[np.ndarray, int]:
    assert utterance.audio is not None
    return soundfile.read(utterance.audio, dtype="float32")


def _length_and_level(wave: np.ndarray, rate: int) -> tuple[float, float]:
    """Seconds, and dB RMS."""
    return len(wave) / rate, 10 * np.log10(np.mean(wave**2) + 1e-12)


def _circumstances(corpus: Corpus, waves: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Gender, place in the corpus and in the dialogue, words, letters, seconds of silence at both ends."""
    rows = []
    for position, (utterance, (wave, rate)) in enumerate(zip(corpus.utterances, waves, strict=True)):
        sound = np.flatnonzero(np.abs(wave) > 0.05 * np.abs(wave).max())
        text = utterance.text or ""
        rows.append(
            (
                (utterance.speaker or "").endswith("F"),
                position,
                utterance.start or 0.0,
                len(text.split()),
                len(text),
                sound[0] / rate,
                (len(wave) - sound[-1]) / rate,
            )
        )
    return np.array(rows, dtype=float)


def _prosody(wave: np.ndarray, rate: int) -> tuple[float, ...]:
    """Median, spread, rise of F0 (octaves), syllable peaks a second, spectral tilt, level."""
    width, hop = round(FRAME * rate), round(HOP * rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, width)[::hop]
    power = np.mean(frames**2, axis=1)
    loud = power > 0.02 * np.percentile(power, 95)
    spectrum = np.abs(np.fft.rfft(frames - frames.mean(axis=1, keepdims=True), 2 * width)) ** 2
    correlation = np.fft.irfft(spectrum)[:, :width] / (1 - np.arange(width) / width)
    shortest, longest = round(rate / 500), round(rate / 55)
    # The shortest lag that is nearly as good as the best: a multiple of the period is as good as the period.
    candidates = correlation[:, shortest:longest]
    lag = shortest + np.argmax(candidates > 0.9 * candidates.max(axis=1, keepdims=True), axis=1)
    voiced = loud & (candidates.max(axis=1) > 0.6 * correlation[:, 0])
    pitch = np.log2(rate / lag[voiced]) if voiced.any() else np.zeros(1)
    low, median, high = np.percentile(pitch, (10, 50, 90))

    envelope = np.convolve(np.sqrt(power), np.hanning(9), mode="same")
    peaks = (envelope[1:-1] > envelope[:-2]) & (envelope[1:-1] >= envelope[2:]) & loud[1:-1]
    tilt = np.median(correlation[voiced, 1] / correlation[voiced, 0]) if voiced.any() else 0.0
    speech_level = 10 * np.log10(power[loud].mean() + 1e-12)
    return median, high - low, high - median, peaks.sum() / (loud.sum() * HOP), tilt, speech_level


@click.command(cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Print what simple classifiers reach on a corpus in IEMOCAP's layout, leaving one session out.

    \b
    Example:
      python -m mtab_bench.synth_floor data/iemocap
    """
    corpus = read_corpus("iemocap", folder)
    found = accuracies(corpus)
    click.echo(f"{corpus.title}: {len(corpus.utterances)} utterances, chance {1 / len(corpus.labels):.2f}\n")
    rows = [(name, *(f"{accuracy:.2f}" for accuracy in scores.values())) for name, scores in found.items()]
    click.echo(table(rows, ("looking at", *next(iter(found.values())))))


if __name__ == "__main__":
    main()
