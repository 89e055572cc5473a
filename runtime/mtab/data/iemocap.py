"""IEMOCAP: five sessions of two actors, read from the corpus's own files; four classes."""

import re
from collections import Counter
from pathlib import Path

from mtab.data.layout import find_root, hidden
from mtab.data.records import Corpus, Problem, Utterance
from mtab.data.text_files import read_lines

LABELS = ("anger", "happiness", "neutral", "sadness")

_LABEL_OF = {"ang": "anger", "hap": "happiness", "exc": "happiness", "neu": "neutral", "sad": "sadness"}
_OTHER_EMOTIONS = ("fru", "sur", "fea", "dis", "oth", "xxx")

_NUMBER = r"-?\d+(?:\.\d+)?"
_EVALUATION = re.compile(
    rf"\[({_NUMBER}) - ({_NUMBER})\]\t(Ses(\d\d)[FM]_\w+_([FM])\w+)\t(\w+)\t"
    rf"\[({_NUMBER}), ({_NUMBER}), ({_NUMBER})\]\s*"
)
# Lines such as "M: [LAUGHTER]" between the turns name no utterance.
_TRANSCRIPT = re.compile(r"(Ses\d\d[FM]_\w+)\s*\[[^\]]*\]\s*:\s*(.*)")


def read_iemocap(path: Path) -> Corpus:
    """Read IEMOCAP from its root (the folder of ``Session1`` to ``Session5``) or the folder that holds it.

    Excitement counts as happiness. Other emotions are counted in ``excluded``. An utterance without a
    transcript is kept with ``text=None`` and listed as a problem. No clip is opened.
    Raises `DataError` if there is no session.
    """
    root = find_root(
        path,
        lambda folder: any(_evaluations(session) for session in _sessions(folder)),
        "IEMOCAP's Session1/dialog/EmoEvaluation/*.txt",
    )
    utterances: dict[str, Utterance] = {}
    problems: list[Problem] = []
    notices: list[Problem] = []
    excluded: Counter[str] = Counter()
    for session in _sessions(root):
        for evaluation in _evaluations(session):
            file = session / "dialog" / "transcriptions" / evaluation.name
            transcripts = _read_transcripts(file, problems, notices)
            for number, line in read_lines(evaluation, notices):
                if not line.lstrip().startswith("["):
                    continue
                try:
                    turn = _read_turn(line, session, evaluation.stem, transcripts or {})
                    if turn.id in utterances:
                        raise ValueError(f"{turn.id} a second time, expected once")
                except ValueError as error:
                    problems.append(Problem(evaluation, str(error), number))
                    continue
                if turn.label in _OTHER_EMOTIONS:
                    excluded[turn.label] += 1
                    continue
                utterances[turn.id] = turn
                if transcripts is not None and turn.text is None:
                    problems.append(
                        Problem(evaluation, f"{turn.id} has no transcript, kept without one", number)
                    )
    return Corpus(
        "iemocap",
        root,
        LABELS,
        tuple(utterances.values()),
        tuple(problems),
        dict(excluded),
        notices=tuple(notices),
    )


def _read_turn(line: str, session: Path, dialogue: str, transcripts: dict[str, str]) -> Utterance:
    """One evaluated turn, labelled with one of `LABELS` or another emotion; ``ValueError`` otherwise."""
    match = _EVALUATION.fullmatch(line)
    if not match:
        raise ValueError(
            f"{line.strip()[:60]!r}, expected '[start - end]<tab>name<tab>emotion<tab>[v, a, d]'"
        )
    start, end, name, actors, gender, emotion, valence, arousal, dominance = match.groups()
    if emotion not in _LABEL_OF and emotion not in _OTHER_EMOTIONS:
        known = ", ".join((*_LABEL_OF, *_OTHER_EMOTIONS))
        raise ValueError(f"emotion {emotion!r} of {name}, expected one of {known}")
    return Utterance(
        id=name,
        audio=session / "sentences" / "wav" / dialogue / f"{name}.wav",
        text=transcripts.get(name) or None,
        label=_LABEL_OF.get(emotion, emotion),
        # Ses01F_impro01_M002 is a turn of the man of session 1: the first letter says who wore the
        # motion-capture markers.
        speaker=f"Ses{actors}{gender}",
        gender="female" if gender == "F" else "male",
        session=session.name.removeprefix("Session"),
        dialogue=dialogue,
        start=float(start),
        end=float(end),
        valence=float(valence),
        arousal=float(arousal),
        dominance=float(dominance),
    )


def _sessions(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("Session[1-5]") if folder.is_dir())


def _evaluations(session: Path) -> list[Path]:
    return sorted(file for file in (session / "dialog" / "EmoEvaluation").glob("*.txt") if not hidden(file))


def _read_transcripts(file: Path, problems: list[Problem], notices: list[Problem]) -> dict[str, str] | None:
    """Text by utterance; None, and a problem, if the file is missing."""
    if not file.is_file():
        problems.append(Problem(file, "not found, expected the dialogue's transcripts; kept without them"))
        return None
    transcripts: dict[str, str] = {}
    for number, line in read_lines(file, notices):
        if match := _TRANSCRIPT.fullmatch(line.strip()):
            if match[1] in transcripts:
                problems.append(Problem(file, f"{match[1]} a second time, expected once; left out", number))
            transcripts.setdefault(match[1], match[2].strip())
        elif line.lstrip().startswith("Ses"):
            problems.append(
                Problem(file, f"{line.strip()[:60]!r}, expected 'name [start-end]: text'", number)
            )
    return transcripts
