"""EmoDB: ten German sentences in seven emotions by ten actors; everything is in the file names."""

import re
from pathlib import Path

from mtab.data.layout import find_root, hidden
from mtab.data.records import Corpus, Problem, Utterance

LABELS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")

# The letters are of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
_LABEL_OF = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFNT])[a-z]?")


def read_emodb(path: Path) -> Corpus:
    """Read EmoDB from the folder of its clips (``03a01Fa.wav``; wav or flac), its root, or the root's parent.

    Raises `DataError` if there is no such clip.
    """
    root = find_root(
        path, lambda folder: _clip_folder(folder) is not None, "EmoDB's clips, such as wav/03a01Fa.wav"
    )
    utterances: dict[str, Utterance] = {}
    problems: list[Problem] = []
    # flac sorts before wav: where both are there, one is enough and neither is better.
    for clip in _clips(_clip_folder(root) or root):
        match = _NAME.fullmatch(clip.stem)
        if not match:
            problems.append(
                Problem(clip, "expected a name such as 03a01Fa: speaker, sentence, emotion, version")
            )
            continue
        speaker, sentence, emotion = match.groups()
        if clip.stem in utterances:
            problems.append(Problem(clip, f"same utterance as {utterances[clip.stem].audio}, expected one"))
            continue
        if sentence not in _SENTENCES:
            found = f"sentence {sentence}, expected one of {', '.join(_SENTENCES)}; kept without a transcript"
            problems.append(Problem(clip, found))
        utterances[clip.stem] = Utterance(
            id=clip.stem,
            audio=clip,
            text=_SENTENCES.get(sentence),
            label=_LABEL_OF[emotion],
            speaker=speaker,
        )
    return Corpus("emodb", root, LABELS, tuple(utterances.values()), tuple(problems))


def _clips(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.glob("*") if file.suffix.lower() in (".wav", ".flac") and not hidden(file)
    )


def _clip_folder(folder: Path) -> Path | None:
    for candidate in (folder, folder / "wav", folder / "audio"):
        if any(_NAME.fullmatch(clip.stem) for clip in _clips(candidate)):
            return candidate
    return None
