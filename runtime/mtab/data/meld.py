"""MELD: dialogues from a television series, three official splits, seven classes."""

import re
from collections.abc import Iterator
from pathlib import Path

from mtab.data.layout import find_root, hidden
from mtab.data.records import Corpus, Problem, Utterance
from mtab.data.tables import Table, read_table
from mtab.data.text_files import read_mended

LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")

_CLIP_FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
# The corpus ships mp4; whoever converts it keeps the names.
_SUFFIXES = (".wav", ".flac", ".mp4")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


def read_meld(path: Path) -> Corpus:
    """Read MELD from its root (the folder of ``train_sent_emo.csv``) or the folder that holds it.

    A split whose CSV is absent is listed as a problem. ``start`` and ``end`` are times in the episode; each
    clip holds its utterance alone. Where a split's folder of clips is absent, its utterances have
    ``audio=None`` and a notice says so. Stray bytes of cp1252, which the corpus's files hold, are mended and
    counted in ``notices``. No clip is opened. Raises `DataError` if there is no CSV at all.
    """
    root = find_root(
        path,
        lambda folder: any(_annotations(folder, split) for split in _CLIP_FOLDERS),
        "MELD's train_sent_emo.csv, dev_sent_emo.csv or test_sent_emo.csv",
    )
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    notices: list[Problem] = []
    for split in _CLIP_FOLDERS:
        file = _annotations(root, split)
        if file is None:
            missing = root / f"{split}_sent_emo.csv"
            problems.append(
                Problem(missing, f"not found, expected the annotations of {split}; split left out")
            )
            continue
        table = read_table(file, read_mended(file, notices), _COLUMNS)
        notices += table.notices
        clips = _clip_folder(file, split)
        if not clips.is_dir():
            found = f"not found, expected the clips of {split}; its utterances have transcripts alone"
            notices.append(Problem(clips, found))
        found = list(_read_split(split, table, clips, notices))
        utterances += [each for each in found if isinstance(each, Utterance)]
        skipped = [*table.problems, *(each for each in found if isinstance(each, Problem))]
        problems += sorted(skipped, key=lambda problem: problem.line or 0)
    return Corpus("meld", root, LABELS, tuple(utterances), tuple(problems), notices=tuple(notices))


def _annotations(root: Path, split: str) -> Path | None:
    # Unpacked, each split's archive may have left a folder of its own.
    name = f"{split}_sent_emo.csv"
    return next((file for file in (root / name, root / split / name) if file.is_file()), None)


def _clip_folder(annotations: Path, split: str) -> Path:
    beside = annotations.parent / _CLIP_FOLDERS[split]
    below = annotations.parent / split / _CLIP_FOLDERS[split]
    return below if below.is_dir() and not beside.is_dir() else beside


def _read_split(
    split: str, table: Table, clips: Path, notices: list[Problem]
) -> Iterator[Utterance | Problem]:
    file = table.file
    spoken = clips.is_dir()
    present = {clip.name for clip in clips.iterdir() if not hidden(clip)} if spoken else set()
    seen: set[str] = set()
    for each in table.rows:
        line, row = each.line, each.cells
        dialogue, number, label = row["Dialogue_ID"], row["Utterance_ID"], row["Emotion"].lower()
        if not (dialogue.isdecimal() and number.isdecimal()):
            found = f"Dialogue_ID {dialogue!r}, Utterance_ID {number!r}"
            yield Problem(file, f"{found}, expected two whole numbers", line)
            continue
        if label not in LABELS:
            yield Problem(file, f"Emotion {label!r}, expected one of {', '.join(LABELS)}", line)
            continue
        start, end = _seconds(row["StartTime"]), _seconds(row["EndTime"])
        if start is None or end is None:
            found = f"StartTime {row['StartTime']!r}, EndTime {row['EndTime']!r}"
            yield Problem(file, f"{found}, expected hours:minutes:seconds,milliseconds", line)
            continue
        stem = f"dia{int(dialogue)}_utt{int(number)}"
        if stem in seen:
            yield Problem(file, f"{stem} a second time, expected once", line)
            continue
        seen.add(stem)
        if not spoken and not row["Utterance"]:
            yield Problem(file, f"{stem} has no transcript and no clip, expected one of them", line)
            continue
        if row["Emotion"] != label:
            notices.append(Problem(file, f"Emotion {row['Emotion']!r} read as {label!r}", line))
        name = next((stem + suffix for suffix in _SUFFIXES if stem + suffix in present), f"{stem}.mp4")
        yield Utterance(
            id=f"{split}_{stem}",
            audio=clips / name if spoken else None,
            text=row["Utterance"] or None,
            label=label,
            speaker=row["Speaker"] or None,
            dialogue=f"{split}_dia{int(dialogue)}",
            split=split,
            start=start,
            end=end,
        )


def _seconds(time: str) -> float | None:
    match = _TIME.fullmatch(time)
    if not match:
        return None
    hours, minutes, seconds, milliseconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(milliseconds.ljust(3, "0")) / 1000
