"""What ``mtab-bench timeline`` measures: what a timeline says of a long recording of known clips."""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from mtab.audio import SAMPLE_RATE
from mtab.config import from_dict
from mtab.errors import DataError
from mtab.files import write_json
from mtab.machine import OtherLoad, load_warning
from mtab.model import Model
from mtab.progress import progress
from mtab.timeline.timeline import Timeline
from mtab.timeline.transcript import Cue
from mtab_bench.processes import run_process
from mtab_bench.test_set import LoadedTestSet
from mtab_train.metrics import scores

PAUSES = 0.6, 3.0
"""Seconds between two clips, drawn evenly."""
NOISE = 3e-4
"""The noise floor under everything, of a full scale of 1: about -70 dB."""
RATE, CHANNELS = 48_000, 2
"""The recording is as a studio's: what is decoded is six times what is judged."""


class Turn(NamedTuple):
    """A clip in the recording: seconds, and the number of its utterance in the test set."""

    start: float
    end: float
    utterance: int


@dataclass(frozen=True, slots=True)
class LongRecording:
    """What became of a recording of ``seconds``, of ``turns`` clips with pauses between them.

    ``wall`` are the seconds of the process that answered it, ``real_time_factor`` the share of these in the
    recording's, ``max_ram`` the most bytes that it held. A turn's answer is the label that most of its time
    has: ``war`` and ``uar`` are of these, ``clips_war`` and ``clips_uar`` of the clips alone.
    ``time_agreement`` is the share of the turns' time that has the true label, ``covered`` the share that has
    any, and ``outside`` the share of the segments' time that is in no turn.
    """

    seconds: float
    turns: int
    segments: int
    wall: float
    real_time_factor: float
    max_ram: float
    war: float
    uar: float
    clips_war: float
    clips_uar: float
    time_agreement: float
    covered: float
    outside: float
    warning: str | None


def measure_timeline(model: Model, test: LoadedTestSet, hours: float, seed: int = 0) -> LongRecording:
    """Join clips of the test set, drawn again and again, and hold the timeline of a new process against them.

    Where the model reads text too, each clip's transcript is given word by word. Raises `DataError` where no
    clip has sound, `MtabError` as ``mtab timeline``.
    """
    if all(features.input_values is None for features in test.features):
        raise DataError(f"{test.corpus.place}: no clip with sound, expected some to join")
    with tempfile.TemporaryDirectory() as folder:
        recording, words, out = (Path(folder) / name for name in ("recording.wav", "words.json", "out.json"))
        turns = list(_write(recording, model, test, 3_600 * hours, np.random.default_rng(seed)))
        command = [sys.executable, "-m", "mtab.cli", "timeline", str(model.bundle.folder), str(recording)]
        if "text" in model.bundle.config.modalities:
            write_json(words, list(_words(turns, test)))
            command += ["--transcript", str(words)]
        engine = ["--engine", model.engine.name, "--device", model.engine.device]
        command += [*engine, "--precision", model.engine.precision, "--out", str(out), "--on-error", "skip"]
        with OtherLoad() as beside:
            run = run_process(command)
        timeline = from_dict(Timeline, json.loads(out.read_text(encoding="utf-8")), out)
    labels = model.labels
    true = [labels.index(test.utterances[turn.utterance].label) for turn in turns]
    alone = {turn.utterance: model.answer([test.features[turn.utterance]])[0].label for turn in turns}
    clips = scores(true, [labels.index(alone[turn.utterance]) for turn in turns], labels)
    shares = _shares(timeline, turns)
    # A turn that nothing covers is answered wrongly: by any class but its own.
    answered = [
        labels.index(max(share, key=lambda label: share[label])) if share else (label + 1) % len(labels)
        for share, label in zip(shares, true, strict=True)
    ]
    found = scores(true, answered, labels)
    spoken = sum(turn.end - turn.start for turn in turns)
    covered = sum(sum(share.values()) for share in shares)
    right = sum(share[labels[label]] for share, label in zip(shares, true, strict=True))
    told = sum(segment.seconds for segment in timeline.segments)
    return LongRecording(
        seconds=timeline.duration,
        turns=len(turns),
        segments=len(timeline.segments),
        wall=run.seconds,
        real_time_factor=run.seconds / timeline.duration,
        max_ram=run.bytes,
        war=found["war"],
        uar=found["uar"],
        clips_war=clips["war"],
        clips_uar=clips["uar"],
        time_agreement=right / spoken,
        covered=covered / spoken,
        outside=1 - covered / told if told else 0.0,
        # What the process itself computed is others' to this one.
        warning=None if beside.cores is None else load_warning(beside.cores - run.cpu / run.seconds),
    )


def _write(
    path: Path, model: Model, test: LoadedTestSet, seconds: float, random: np.random.Generator
) -> Iterator[Turn]:
    """Write the recording, and tell where each clip is in it."""
    place = 0.0
    with (
        soundfile.SoundFile(path, "w", RATE, CHANNELS, format="RF64", subtype="PCM_16") as file,
        progress("joining clips", round(seconds), "s") as shown,
    ):
        while place < seconds:
            for number in random.permutation(len(test.utterances)).tolist():
                utterance = test.utterances[number]
                if utterance.audio is None:
                    continue
                start, end = utterance.span
                clip = model.preprocess.samples(utterance.audio, start=start, end=end)
                pause = random.uniform(*PAUSES)
                samples = np.concatenate([clip, np.zeros(round(pause * SAMPLE_RATE), np.float32)])
                wide = soxr.resample(samples + random.normal(0, NOISE, len(samples)), SAMPLE_RATE, RATE)
                file.write(np.repeat(wide[:, None], CHANNELS, axis=1))
                length = len(clip) / SAMPLE_RATE
                yield Turn(place, place + length, number)
                place += len(wide) / RATE
                shown.done = round(place)
                if place >= seconds:
                    return


def _words(turns: Sequence[Turn], test: LoadedTestSet) -> Iterator[dict[str, object]]:
    for turn in turns:
        for word in Cue(turn.start, turn.end, test.utterances[turn.utterance].text or "").timed_words():
            yield {"word": word.text, "start": word.start, "end": word.end}


def _shares(timeline: Timeline, turns: Sequence[Turn]) -> list[Counter[str]]:
    """Of each turn the seconds by label."""
    shares: list[Counter[str]] = [Counter() for _ in turns]
    first = 0
    for segment in timeline.segments:
        while first < len(turns) and turns[first].end <= segment.start:
            first += 1
        for i in range(first, len(turns)):
            if turns[i].start >= segment.end:
                break
            common = min(segment.end, turns[i].end) - max(segment.start, turns[i].start)
            shares[i][segment.label] += common  # pyright: ignore[reportArgumentType]
    return shares
