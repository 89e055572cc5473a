"""IEMOCAP: five sessions of two actors, read from the corpus's own files; four classes."""

import re
from collections import Counter
from pathlib import Path

from mtab.data.layout import find_root, hidden, read_lines
from mtab.data.records import Corpus, Problem, Utterance

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
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    excluded: Counter[str] = Counter()
    seen: set[str] = set()
    for session in _sessions(root):
        for evaluation in _evaluations(session):
            transcripts = _read_transcripts(session / "dialog" / "transcriptions" / evaluation.name, problems)
            for number, line in read_lines(evaluation):
                if not line.startswith("["):
                    continue
                match = _EVALUATION.fullmatch(line)
                if not match:
                    expected = "'[start - end]<tab>name<tab>emotion<tab>[v, a, d]'"
                    problems.append(
                        Problem(evaluation, f"{line.strip()[:60]!r}, expected {expected}", number)
                    )
                    continue
                start, end, name, actors, gender, emotion, *dimensions = match.groups()
                if name in seen:
                    problems.append(Problem(evaluation, f"{name} a second time, expected once", number))
                    continue
                seen.add(name)
                if emotion in _OTHER_EMOTIONS:
                    excluded[emotion] += 1
                    continue
                if emotion not in _LABEL_OF:
                    known = ", ".join((*_LABEL_OF, *_OTHER_EMOTIONS))
                    problems.append(
                        Problem(evaluation, f"emotion {emotion!r} of {name}, expected one of {known}", number)
                    )
                    continue
                if transcripts is not None and name not in transcripts:
                    problems.append(
                        Problem(evaluation, f"{name} has no transcript, kept without one", number)
                    )
                valence, arousal, dominance = map(float, dimensions)
                dialogue = evaluation.stem
                utterances.append(
                    Utterance(
                        id=name,
                        audio=session / "sentences" / "wav" / dialogue / f"{name}.wav",
                        text=(transcripts or {}).get(name),
                        label=_LABEL_OF[emotion],
                        # Ses01F_impro01_M002: turn 2 of the man of session 1 (the first letter says who
                        # wore the motion-capture markers).
                        speaker=f"Ses{actors}{gender}",
                        session=session.name.removeprefix("Session"),
                        dialogue=dialogue,
                        start=float(start),
                        end=float(end),
                        valence=valence,
                        arousal=arousal,
                        dominance=dominance,
                    )
                )
    return Corpus("iemocap", root, LABELS, tuple(utterances), tuple(problems), dict(excluded))


def _sessions(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("Session[1-5]") if folder.is_dir())


def _evaluations(session: Path) -> list[Path]:
    return sorted(file for file in (session / "dialog" / "EmoEvaluation").glob("*.txt") if not hidden(file))


def _read_transcripts(file: Path, problems: list[Problem]) -> dict[str, str] | None:
    """Text by utterance; None, and a problem, if the file is missing."""
    if not file.is_file():
        problems.append(Problem(file, "not found, expected the dialogue's transcripts; kept without them"))
        return None
    transcripts: dict[str, str] = {}
    for number, line in read_lines(file):
        if match := _TRANSCRIPT.fullmatch(line.strip()):
            transcripts.setdefault(match[1], match[2].strip())
        elif line.startswith("Ses"):
            problems.append(
                Problem(file, f"{line.strip()[:60]!r}, expected 'name [start-end]: text'", number)
            )
    return transcripts
