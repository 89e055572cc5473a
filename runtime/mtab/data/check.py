"""Checking that the clips of a corpus exist and can be read, from their headers alone."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import soundfile

from mtab.data.records import Corpus, Problem, Utterance
from mtab.errors import AudioError

_SOUNDFILE_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


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
    known to exist. Raises `AudioError` if it is missing, unreadable or empty; the message leaves the file's
    name out.
    """
    try:
        if not path.is_file():
            raise AudioError("not found, expected a clip")
        if path.suffix.lower() in _SOUNDFILE_SUFFIXES:
            seconds = soundfile.info(path).duration
        elif importlib.util.find_spec("av") is None:
            return None
        else:
            seconds = _container_seconds(path)
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        raise AudioError(f"unreadable ({reason.strip().rstrip('.')}), expected a clip") from None
    if seconds is not None and not seconds > 0:
        raise AudioError("holds no sample, expected a clip")
    return seconds


def _container_seconds(path: Path) -> float | None:
    import av
    import av.error

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError("no audio stream, expected a clip with one")
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return None if container.duration is None else container.duration / av.time_base
    except av.error.FFmpegError as error:
        raise AudioError(f"unreadable ({error.strerror}), expected a clip") from None


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
    start, end = utterance.span
    if length is None:
        return None
    if max(start or 0.0, end or 0.0) > length + 0.01:
        raise AudioError(f"{length:.2f} s long, expected at least {max(start or 0.0, end or 0.0):.2f} s")
    return min(end if end is not None else length, length) - (start or 0.0)
