"""``mtab-train synth``: a synthetic corpus spoken by espeak-ng, in the layout of a real one.

Emotion shows in the words, in the prosody or in both: an utterance with a plain sentence always has marked
prosody, and one with unmarked prosody a telling sentence, so that each modality alone must guess at some
utterances and both together at few.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr

from mtab.console import Command
from mtab.data.records import SYNTHETIC_MARKER
from mtab.errors import MtabError
from mtab.files import atomic_folder
from mtab.progress import progress
from mtab_train import espeak
from mtab_train.sentences import sentence

SAMPLE_RATE = 16_000
SESSIONS = 5
MIN_UTTERANCES = 4 * SESSIONS
"""Two dialogues in each session with a turn of each voice."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """How something is said, relative to the voice's habit.

    ``pitch`` in espeak's units (about 0.2 semitones), ``range`` from 0 (monotone) to 100, ``rate`` as a
    factor, ``effort`` as the first coefficient of a spectral tilt (above 0: pressed and bright, below:
    soft and dull), ``level`` in dB.
    """

    pitch: float
    range: float
    rate: float
    effort: float
    level: float


PROSODY = {
    "anger": Prosody(4, 74, 1.13, 0.50, 2.0),
    "happiness": Prosody(26, 66, 1.03, 0.05, 1.0),
    "neutral": Prosody(0, 34, 1.00, 0.10, 0.0),
    "sadness": Prosody(-4, 14, 0.87, -0.45, -1.5),
    "disgust": Prosody(-10, 58, 0.88, 0.25, 0.0),
    "fear": Prosody(22, 26, 1.16, -0.25, -1.0),
    "surprise": Prosody(16, 92, 0.98, 0.15, 1.0),
}
"""Class means."""

SPREAD = Prosody(6, 11, 0.07, 0.16, 2.0)
"""Standard deviation within a class: neighbours overlap."""


@dataclass(frozen=True, slots=True)
class Voice:
    """An espeak voice with its habitual pitch (0-100), rate (words a minute) and level (dB RMS)."""

    speaker: str
    gender: str
    name: str
    pitch: int
    rate: int
    level: float


# A woman and a man for each session.
VOICES = (
    Voice("Iris", "F", "en-us+f1", 44, 172, -33),
    Voice("Owen", "M", "en-us+m3", 46, 184, -31),
    Voice("Nora", "F", "en-us+f2", 36, 188, -31),
    Voice("Paul", "M", "en-us+m1", 58, 170, -33),
    Voice("Ruth", "F", "en-gb-x-rp+f3", 40, 178, -34),
    Voice("Karl", "M", "en-us+m7", 36, 190, -32),
    Voice("Lena", "F", "en-us+f4", 54, 184, -32),
    Voice("Hugo", "M", "en-us+m4", 52, 174, -34),
    Voice("Vera", "F", "en-us+f5", 34, 174, -32),
    Voice("Dean", "M", "en-gb-x-rp+m6", 42, 180, -30),
)

SHOWN = {"prosody": 0.45, "words": 0.35, "both": 0.20}
"""How utterances show their emotion. With 0.65 marked prosody and 0.55 telling words, guessing at the rest,
neither modality alone passes about 0.7 on four classes; together they can reach about 0.9."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance before it is spoken; ``dialogue`` counts within ``session``, both from 1."""

    session: int
    dialogue: int
    number: int
    voice: Voice
    emotion: str
    text: str
    prosody: Prosody
    silence: tuple[float, float]


def plan(emotions: Sequence[str], utterances: int, random: np.random.Generator) -> list[Turn]:
    """Who says what and how: emotions as frequent as one another with every voice, in random order."""
    turns = []
    for session in range(1, SESSIONS + 1):
        cast = [
            (VOICES[i % len(VOICES)], emotions[(i // len(VOICES) + i % len(VOICES)) % len(emotions)])
            for i in range(utterances)
            if i % len(VOICES) // 2 == session - 1
        ]
        random.shuffle(cast)
        dialogues = max(2, len(cast) // 16)
        for number, (voice, emotion) in enumerate(cast):
            shown = random.choice(list(SHOWN), p=list(SHOWN.values()))
            turns.append(
                Turn(
                    session=session,
                    dialogue=1 + number * dialogues // len(cast),
                    number=number,
                    voice=voice,
                    emotion=emotion,
                    text=sentence(None if shown == "prosody" else emotion, random),
                    prosody=_prosody((emotion,) if shown != "words" else emotions, random),
                    silence=(random.uniform(0.05, 0.35), random.uniform(0.05, 0.35)),
                )
            )
    return turns


def _prosody(emotions: Sequence[str], random: np.random.Generator) -> Prosody:
    """Drawn around the mean of ``emotions``: one for marked prosody, all for unmarked."""
    mean = np.mean([astuple(PROSODY[emotion]) for emotion in emotions], axis=0)
    return Prosody(*random.normal(mean, astuple(SPREAD)).tolist())


def render(turn: Turn, gain: float) -> np.ndarray:
    """Speak a turn: mono float32 at 16 kHz, silence at both ends; ``gain`` in dB is the recording's own."""
    voice, prosody = turn.voice, turn.prosody
    wave, rate = espeak.speak(
        turn.text,
        voice.name,
        pitch=round(np.clip(voice.pitch + prosody.pitch, 0, 99)),
        pitch_range=round(np.clip(prosody.range, 0, 99)),
        rate=round(voice.rate * np.clip(prosody.rate, 0.7, 1.4)),
    )
    wave = soxr.resample(wave, rate, SAMPLE_RATE)
    wave[1:] -= prosody.effort * wave[:-1]
    level = 10 ** ((voice.level + prosody.level + gain) / 20)
    wave *= min(level / np.sqrt(np.mean(wave**2)), 0.99 / np.abs(wave).max())
    return np.pad(wave, [round(seconds * SAMPLE_RATE) for seconds in turn.silence])


Save = Callable[[Turn, Path], float]
"""Speaks a turn into a file and returns its length in seconds."""


def write_iemocap(root: Path, turns: Sequence[Turn], save: Save, random: np.random.Generator) -> None:
    """``SessionN`` folders with evaluations, transcriptions and sentences."""
    for (session, number), dialogue in groupby(turns, lambda turn: (turn.session, turn.dialogue)):
        # As in the corpus, the woman wears the markers in Ses01F_impro01, the man in Ses01M_impro01.
        name = f"Ses{session:02}{'FM'[(number - 1) % 2]}_impro{(number + 1) // 2:02}"
        folder = root / f"Session{session}"
        evaluations = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        transcripts = []
        spoken = {"F": 0, "M": 0}
        end = 0.0
        for turn in dialogue:
            gender = turn.voice.gender
            clip = f"{name}_{gender}{spoken[gender]:03}"
            spoken[gender] += 1
            start = end + random.uniform(0.2, 1.5)
            end = start + save(turn, folder / "sentences" / "wav" / name / f"{clip}.wav")
            label = random.choice(("hap", "exc")) if turn.emotion == "happiness" else turn.emotion[:3]
            valence, arousal, dominance = rate(turn, random)
            evaluations += [
                f"[{start:.4f} - {end:.4f}]\t{clip}\t{label}\t"
                f"[{valence:.4f}, {arousal:.4f}, {dominance:.4f}]",
                "",
            ]
            transcripts.append(f"{clip} [{start:08.4f}-{end:08.4f}]: {turn.text}")
        for kind, lines in (("EmoEvaluation", evaluations), ("transcriptions", transcripts)):
            file = folder / "dialog" / kind / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")


RATINGS = {
    "anger": (2.0, 3.8, 4.0),
    "happiness": (4.0, 3.4, 3.2),
    "neutral": (3.0, 2.8, 3.0),
    "sadness": (2.2, 2.4, 2.8),
}
"""Mean valence, arousal and dominance, from 1 to 5."""

HEARD = (
    Prosody(0.3, 0.2, 0.0, 0.0, 0.0),
    Prosody(0.2, 0.3, 0.3, 0.2, 0.3),
    Prosody(-0.2, 0.0, 0.1, 0.4, 0.3),
)
"""How much an utterance is rated above its emotion's valence, arousal and dominance for each standard
deviation (`SPREAD`) that it is spoken above its emotion's prosody."""


def rate(turn: Turn, random: np.random.Generator) -> list[float]:
    """Valence, arousal and dominance, in steps of 0.5 from 1 to 5, by the emotion and by how it is spoken.

    Raters differ by 0.25 (standard deviation).
    """
    spoken = np.subtract(astuple(turn.prosody), astuple(PROSODY[turn.emotion])) / astuple(SPREAD)
    # Unmarked prosody is that of another emotion, which raters do not follow without bound.
    heard = np.array([astuple(each) for each in HEARD]) @ np.clip(spoken, -2, 2)
    ratings = np.clip(random.normal(RATINGS[turn.emotion] + heard, 0.25), 1, 5)
    return (np.round(2 * ratings) / 2).tolist()


def write_meld(root: Path, turns: Sequence[Turn], save: Save, random: np.random.Generator) -> None:
    """Three CSV files and their folders of clips, as wav; dialogues divided about as MELD's own."""
    dialogues = [list(dialogue) for _, dialogue in groupby(turns, lambda turn: (turn.session, turn.dialogue))]
    random.shuffle(dialogues)
    dev, test = max(1, round(0.1 * len(dialogues))), max(1, round(0.2 * len(dialogues)))
    for split, folder, part in (
        ("train", "train_splits", dialogues[dev + test :]),
        ("dev", "dev_splits_complete", dialogues[:dev]),
        ("test", "output_repeated_splits_test", dialogues[dev : dev + test]),
    ):
        rows = []
        for number, dialogue in enumerate(part):
            end = 0.0
            for turn_number, turn in enumerate(dialogue):
                start = end + random.uniform(0.2, 1.5)
                end = start + save(turn, root / folder / f"dia{number}_utt{turn_number}.wav")
                emotion = "joy" if turn.emotion == "happiness" else turn.emotion
                rows.append(
                    {
                        "Sr No.": len(rows) + 1,
                        "Utterance": turn.text,
                        "Speaker": turn.voice.speaker,
                        "Emotion": emotion,
                        "Sentiment": SENTIMENT[emotion] or random.choice(("positive", "negative")),
                        "Dialogue_ID": number,
                        "Utterance_ID": turn_number,
                        "Season": turn.session,
                        "Episode": turn.dialogue,
                        "StartTime": _clock(start),
                        "EndTime": _clock(end),
                    }
                )
        _write_csv(root / f"{split}_sent_emo.csv", rows)


SENTIMENT = {
    "anger": "negative",
    "disgust": "negative",
    "fear": "negative",
    "joy": "positive",
    "neutral": "neutral",
    "sadness": "negative",
    "surprise": "",
}
"""Surprise is either."""


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"


def write_manifest(root: Path, turns: Sequence[Turn], save: Save, random: np.random.Generator) -> None:
    """``manifest.csv`` and a folder ``wav``."""
    rows = []
    for number, turn in enumerate(turns):
        audio = f"wav/{number:05}.wav"
        save(turn, root / audio)
        rows.append(
            {
                "audio": audio,
                "text": turn.text,
                "label": turn.emotion,
                "speaker": turn.voice.speaker,
                "session": turn.session,
            }
        )
    _write_csv(root / "manifest.csv", rows)


def _write_csv(file: Path, rows: Sequence[dict[str, object]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


FOUR = ("anger", "happiness", "neutral", "sadness")
SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

LAYOUTS = {
    "iemocap": (FOUR, write_iemocap),
    "meld": (SEVEN, write_meld),
    "manifest": (FOUR, write_manifest),
}
"""The emotions of each layout, and what writes it."""


def synthesize(out: Path, layout: str, utterances: int, seed: int, overwrite: bool = False) -> None:
    """Write a corpus of ``utterances`` to the folder ``out``; the same seed gives the same bytes.

    ``layout`` is one of `LAYOUTS`. Shows its progress on stderr. Raises `MtabError` if
    ``out`` exists, unless ``overwrite``, and for fewer than `MIN_UTTERANCES`; nothing is left behind on
    failure.
    """
    if utterances < MIN_UTTERANCES:
        raise MtabError(f"{out}: {utterances} utterances, expected {MIN_UTTERANCES} or more")
    emotions, write = LAYOUTS[layout]
    random = np.random.default_rng(seed)
    turns = plan(emotions, utterances, random)
    with (
        atomic_folder(out, overwrite) as folder,
        progress(f"speaking {layout}", utterances, "utterances") as shown,
    ):

        def save(turn: Turn, file: Path) -> float:
            wave = render(turn, gain=random.uniform(-6, 6))
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, wave, SAMPLE_RATE, subtype="PCM_16")
            shown.update()
            return len(wave) / SAMPLE_RATE

        write(folder, turns, save, random)
        (folder / SYNTHETIC_MARKER).write_text(
            f"This corpus is synthetic: {utterances} utterances in the layout {layout}, seed {seed}, "
            f"spoken by espeak-ng {espeak.version()} and written by mtab-train synth. No figure measured on "
            "it says anything about real emotion.\n",
            encoding="utf-8",
        )


@click.command(cls=Command)
@click.option(
    "--layout", type=click.Choice(list(LAYOUTS)), required=True, help="Corpus whose layout to write."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--utterances",
    type=click.IntRange(min=MIN_UTTERANCES),
    default=1000,
    show_default=True,
    help="Number of utterances to speak.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of sentences and voices."
)
@click.option("--overwrite", is_flag=True, help="Replace the folder if it exists.")
def synth(layout: str, out: Path, utterances: int, seed: int, overwrite: bool) -> None:
    """Speak a synthetic corpus with espeak-ng, in the layout of a real one.

    Ten voices in five sessions of two; emotion shows in words and prosody. For tests and demonstrations: its
    figures say nothing about real emotion. The same seed gives the same files.

    \b
    Example:
      mtab-train synth --layout iemocap --out data/iemocap --utterances 1000 --seed 0
    """
    synthesize(out, layout, utterances, seed, overwrite)
    click.echo(f"{utterances} synthetic utterances in {out}")
