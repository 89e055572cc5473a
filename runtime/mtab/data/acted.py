"""Acted corpora that code everything in their file names: RAVDESS, CREMA-D, TESS, nEMO and EmoDB.

Each is a row of `ACTED`: what its names look like, and what the codes in them mean.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtab.data.layout import find_root, hidden
from mtab.data.records import Corpus, Problem, Utterance
from mtab.data.text_files import read_utf8

# In the order of preference, where a clip is there twice.
_SUFFIXES = (".flac", ".wav", ".ogg")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptFile:
    """A table of tabs beside the clips: its name, and the columns of a clip's name and what it says."""

    name: str
    clip: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActedCorpus:
    """How a corpus names its clips.

    ``pattern`` matches a whole name without its suffix; its groups are ``speaker``, ``emotion``, ``sentence``
    and, where the corpus holds more than speech, ``channel``. ``parts`` says the same in words. ``emotions``
    are the labels by code, ``genders`` those of the speakers, ``left_out`` the channels that are no speech.
    ``sentences`` are the transcripts by code, one in which the code is a word, or the file that holds them.
    """

    title: str
    example: str
    parts: str
    pattern: re.Pattern[str]
    emotions: Mapping[str, str]
    genders: Mapping[str, str]
    sentences: Mapping[str, str] | str | TranscriptFile
    left_out: Mapping[str, str] = field(default_factory=dict)


def _genders(female: str, male: str) -> dict[str, str]:
    return {**dict.fromkeys(female.split(), "female"), **dict.fromkeys(male.split(), "male")}


ACTED: dict[str, ActedCorpus] = {
    "ravdess": ActedCorpus(
        title="RAVDESS",
        example="Actor_12/03-01-05-01-02-01-12.wav",
        parts="modality 03, channel, emotion, intensity, statement, repetition, actor",
        pattern=re.compile(
            r"03-(?P<channel>\d\d)-(?P<emotion>\d\d)-\d\d-(?P<sentence>\d\d)-\d\d-(?P<speaker>\d\d)"
        ),
        emotions={
            "01": "neutral",
            "02": "calm",
            "03": "happiness",
            "04": "sadness",
            "05": "anger",
            "06": "fear",
            "07": "disgust",
            "08": "surprise",
        },
        genders={f"{actor:02}": "male" if actor % 2 else "female" for actor in range(1, 25)},
        sentences={"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."},
        left_out={"02": "song"},
    ),
    "cremad": ActedCorpus(
        title="CREMA-D",
        example="AudioWAV/1001_DFA_ANG_XX.wav",
        parts="actor, sentence, emotion, level",
        pattern=re.compile(r"(?P<speaker>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}"),
        emotions={
            "ANG": "anger",
            "DIS": "disgust",
            "FEA": "fear",
            "HAP": "happiness",
            "NEU": "neutral",
            "SAD": "sadness",
        },
        # VideoDemographics.csv of the corpus.
        genders=_genders(
            female="1002 1003 1004 1006 1007 1008 1009 1010 1012 1013 1018 1020 1021 1024 1025 1028 1029 "
            "1030 1037 1043 1046 1047 1049 1052 1053 1054 1055 1056 1058 1060 1061 1063 1072 1073 "
            "1074 1075 1076 1078 1079 1082 1084 1089 1091",
            male="1001 1005 1011 1014 1015 1016 1017 1019 1022 1023 1026 1027 1031 1032 1033 1034 1035 1036 "
            "1038 1039 1040 1041 1042 1044 1045 1048 1050 1051 1057 1059 1062 1064 1065 1066 1067 1068 1069 "
            "1070 1071 1077 1080 1081 1083 1085 1086 1087 1088 1090",
        ),
        sentences={
            "DFA": "Don't forget a jacket.",
            "IEO": "It's eleven o'clock.",
            "IOM": "I'm on my way to the meeting.",
            "ITH": "I think I have a doctor's appointment.",
            "ITS": "I think I've seen this before.",
            "IWL": "I would like a new alarm clock.",
            "IWW": "I wonder what this is about.",
            "MTI": "Maybe tomorrow it will be cold.",
            "TAI": "The airplane is almost full.",
            "TIE": "That is exactly what happened.",
            "TSI": "The surface is slick.",
            "WSI": "We'll stop in a couple of minutes.",
        },
    ),
    "tess": ActedCorpus(
        title="TESS",
        example="OAF_angry/OAF_back_angry.wav",
        parts="speaker OAF or YAF, word, emotion",
        # The corpus calls one clip OA_bite_neutral.
        pattern=re.compile(r"(?P<speaker>OA|YA)F?_(?P<sentence>[a-z]+)_(?P<emotion>[a-z]+)"),
        emotions={
            "angry": "anger",
            "disgust": "disgust",
            "fear": "fear",
            "happy": "happiness",
            "neutral": "neutral",
            "ps": "surprise",
            "sad": "sadness",
        },
        genders=_genders(female="OA YA", male=""),
        sentences="Say the word {}.",
    ),
    "nemo": ActedCorpus(
        title="nEMO",
        example="samples/EB0_anger_1.wav",
        parts="speaker, emotion, number of the sentence",
        pattern=re.compile(r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<sentence>\d+)"),
        emotions={
            "anger": "anger",
            "fear": "fear",
            "happiness": "happiness",
            "neutral": "neutral",
            "sadness": "sadness",
            "surprised": "surprise",
        },
        genders=_genders(female="EB0 IC0 KD0 MK0", male="KS0 MP0 SM0 TP0 WR0"),
        sentences=TranscriptFile(name="data.tsv", clip="file_id", text="raw_text"),
    ),
    "emodb": ActedCorpus(
        title="EmoDB",
        example="wav/03a01Fa.wav",
        parts="speaker, sentence, emotion, version",
        pattern=re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[A-Z])[a-z]?"),
        # The letters are of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
        emotions={
            "W": "anger",
            "L": "boredom",
            "E": "disgust",
            "A": "fear",
            "F": "happiness",
            "N": "neutral",
            "T": "sadness",
        },
        genders=_genders(female="08 09 13 14 16", male="03 10 11 12 15"),
        sentences={
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
        },
    ),
}


def read_acted(name: str, path: Path) -> Corpus:
    """Read the corpus ``name`` of `ACTED` from the folder of its clips (wav, flac or ogg), one above, or two.

    Clips are read where they lie side by side in ``path``, or in the folders of it. A name that does not fit
    is a problem; a clip whose sentence is not known is kept without a transcript. Raises `DataError` if no
    name fits.
    """
    layout = ACTED[name]
    root = find_root(
        path, lambda folder: bool(_clips(layout, folder)), f"{layout.title}'s clips, such as {layout.example}"
    )
    problems: list[Problem] = []
    text_of = _transcripts(layout.sentences, root, problems)
    utterances: dict[str, Utterance] = {}
    excluded: Counter[str] = Counter()
    for clip in _clips(layout, root):
        match = layout.pattern.fullmatch(clip.stem)
        if not match:
            found = f"expected a name such as {Path(layout.example).stem}: {layout.parts}"
            problems.append(Problem(clip, found))
            continue
        codes = match.groupdict()
        if (channel := layout.left_out.get(codes.get("channel", ""))) is not None:
            excluded[channel] += 1
            continue
        if codes["emotion"] not in layout.emotions:
            found = f"emotion {codes['emotion']}, expected one of {', '.join(layout.emotions)}"
            problems.append(Problem(clip, found))
            continue
        if clip.stem in utterances:
            problems.append(Problem(clip, f"same utterance as {utterances[clip.stem].audio}, expected one"))
            continue
        text = text_of(clip.stem, codes["sentence"])
        if text is None and isinstance(layout.sentences, Mapping):
            known = ", ".join(layout.sentences)
            found = f"sentence {codes['sentence']}, expected one of {known}; kept without a transcript"
            problems.append(Problem(clip, found))
        utterances[clip.stem] = Utterance(
            id=clip.stem,
            audio=clip,
            text=text,
            label=layout.emotions[codes["emotion"]],
            speaker=codes["speaker"],
            gender=layout.genders.get(codes["speaker"]),
        )
    return Corpus(
        name,
        root,
        tuple(sorted(layout.emotions.values())),
        tuple(utterances.values()),
        tuple(problems),
        dict(excluded),
    )


def _clips(layout: ActedCorpus, folder: Path) -> list[Path]:
    """The clips in ``folder``, and in each folder of it, where at least one has a name that fits."""
    found: list[Path] = []
    inner = sorted(each for each in folder.iterdir() if each.is_dir() and not hidden(each))
    for each in (folder, *inner):
        clips = [file for file in each.iterdir() if file.suffix.lower() in _SUFFIXES and not hidden(file)]
        if any(layout.pattern.fullmatch(clip.stem) for clip in clips):
            found += sorted(clips, key=lambda clip: (clip.stem, _SUFFIXES.index(clip.suffix.lower())))
    return found


def _transcripts(
    sentences: Mapping[str, str] | str | TranscriptFile, root: Path, problems: list[Problem]
) -> Callable[[str, str], str | None]:
    """What a clip says, by its name and the code of its sentence; None where nobody knows."""
    if isinstance(sentences, str):
        return lambda _, code: sentences.format(code)
    if isinstance(sentences, TranscriptFile):
        listed = _listed(sentences, root, problems)
        return lambda clip, _: listed.get(clip)
    return lambda _, code: sentences.get(code)


def _listed(table: TranscriptFile, root: Path, problems: list[Problem]) -> dict[str, str]:
    """Transcripts by the clip's name without suffix, from beside the clips' folder or in it."""
    file = next((file for folder in (root, root.parent) if (file := folder / table.name).is_file()), None)
    if file is None:
        missing = "not found, expected the corpus's transcripts; kept without them"
        problems.append(Problem(root / table.name, missing))
        return {}
    lines = read_utf8(file, f"{table.name} with columns {table.clip} and {table.text}").splitlines()
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    if lacking := [column for column in (table.clip, table.text) if column not in (rows.fieldnames or ())]:
        problems.append(Problem(file, f"no column {lacking[0]!r}, expected one; kept without transcripts", 1))
        return {}
    return {Path(row[table.clip]).stem: row[table.text].strip() for row in rows if row[table.text]}
