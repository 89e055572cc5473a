"""Checking that the clips of a corpus exist and can be read, from their headers alone."""

import importlib.util
from dataclasses import replace
from pathlib import Path

from mtab.audio.containers import open_container
from mtab.audio.samples import NO_SAMPLE, span
from mtab.audio.soundfiles import is_soundfile, open_soundfile
from mtab.audio.sources import opened, require_file
from mtab.data.records import Corpus, Problem, Utterance
from mtab.errors import AudioError


def validate(corpus: Corpus) -> Corpus:
    """The corpus without the utterances whose clip is missing or unreadable; each of those is a problem."""
    return measure(corpus)[0]


def measure(corpus: Corpus) -> tuple[Corpus, dict[str, float]]:
    """`validate`, and the seconds of speech of each utterance left, by id, where a clip's header tells."""
    usable: list[Utterance] = []
    problems: list[Problem] = []
    seconds: dict[str, float] = {}
    lengths: dict[Path, float | AudioError | None] = {}
    for utterance in corpus.utterances:
        if utterance.audio is not None:
            try:
                length = _speech_seconds(utterance, _length(utterance.audio, lengths))
            except AudioError as error:
                problems.append(Problem(utterance.audio, f"{error}; {utterance.id} left out"))
                continue
            if length is not None:
                seconds[utterance.id] = length
        usable.append(utterance)
    checked = replace(corpus, utterances=tuple(usable), problems=(*corpus.problems, *problems))
    return checked, seconds


def clip_seconds(path: Path) -> float | None:
    """A clip's length from its header; None where the header does not say.

    Also None where it takes PyAV to tell (mp4 and the like) and PyAV is not installed: then the clip is only
    known to exist. Raises `AudioError` if it is missing, unreadable or empty, or a truncated wav or ogg; the
    message leaves the file's name out.
    """
    # A pipe could not be read a second time.
    require_file(path)
    with opened(path) as recording:
        if is_soundfile(recording):
            with open_soundfile(recording) as (sound, _, promised):
                return None if promised is None else promised / sound.samplerate
        if importlib.util.find_spec("av") is None:
            return None
        with open_container(recording) as (container, stream):
            import av

            if stream.duration is not None and stream.time_base is not None:
                seconds = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                seconds = container.duration / av.time_base
            else:
                return None
    if not seconds > 0:
        raise AudioError(NO_SAMPLE)
    return seconds


def _length(clip: Path, known: dict[Path, float | AudioError | None]) -> float | None:
    # A recording that many utterances are cut from is opened once.
    if clip not in known:
        try:
            known[clip] = clip_seconds(clip)
        except AudioError as error:
            known[clip] = error
    length = known[clip]
    if isinstance(length, AudioError):
        raise length
    return length


def _speech_seconds(utterance: Utterance, length: float | None) -> float | None:
    if length is None:
        return None
    start, end = span(length, *utterance.span)
    return end - start
