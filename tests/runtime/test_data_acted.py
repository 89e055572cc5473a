"""Corpora whose file names say everything: RAVDESS, CREMA-D, TESS, nEMO and EmoDB."""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.data import make_folds, read_corpus
from mtab.errors import DataError


def write_clips(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        soundfile.write(folder / name, np.zeros(1600), 16000)
    return folder


@pytest.mark.parametrize("folder", ["wav", "audio", "EmoDB/wav", "."])
def test_clip_folder_root_and_parent(tmp_path: Path, folder: str) -> None:
    write_clips(tmp_path / folder, "03a01Fa.wav", "16b10Wb.flac")
    (tmp_path / folder / "._03a01Fa.wav").write_bytes(b"\x00\x05\x16\x07")
    corpus = read_corpus("emodb", tmp_path)
    first, second = corpus.utterances
    assert (first.id, first.label, first.speaker) == ("03a01Fa", "happiness", "03")
    assert first.text == "Der Lappen liegt auf dem Eisschrank."
    assert (second.id, second.label, second.speaker) == ("16b10Wb", "anger", "16")
    assert corpus.problems == ()


def test_problems(tmp_path: Path) -> None:
    write_clips(tmp_path, "03a01Fa.wav", "03a01Fa.flac", "03a01Xa.wav", "notes.wav", "03b07Ta.wav")
    corpus = read_corpus("emodb", tmp_path)
    assert [utterance.id for utterance in corpus.utterances] == ["03a01Fa", "03b07Ta"]
    assert corpus.utterances[1].text is None
    assert {problem.file.name for problem in corpus.problems} == {
        "03a01Fa.wav",
        "03a01Xa.wav",
        "notes.wav",
        "03b07Ta.wav",
    }


@pytest.mark.parametrize(
    ("dataset", "clip", "label", "speaker", "gender", "text"),
    [
        (
            "ravdess",
            "Actor_12/03-01-06-01-02-01-12.wav",
            "fear",
            "12",
            "female",
            "Dogs are sitting by the door.",
        ),
        (
            "ravdess",
            "Actor_01/03-01-01-01-01-02-01.wav",
            "neutral",
            "01",
            "male",
            "Kids are talking by the door.",
        ),
        ("cremad", "AudioWAV/1001_DFA_ANG_XX.wav", "anger", "1001", "male", "Don't forget a jacket."),
        ("cremad", "AudioWAV/1091_IEO_SAD_HI.wav", "sadness", "1091", "female", "It's eleven o'clock."),
        (
            "tess",
            "YAF_pleasant_surprised/YAF_youth_ps.wav",
            "surprise",
            "YA",
            "female",
            "Say the word youth.",
        ),
        ("tess", "OAF_neutral/OA_bite_neutral.wav", "neutral", "OA", "female", "Say the word bite."),
        ("nemo", "samples/WR0_surprised_64.wav", "surprise", "WR0", "male", "„Ucho” wykrywa dźwięki."),
        ("emodb", "wav/03a01Fa.wav", "happiness", "03", "male", "Der Lappen liegt auf dem Eisschrank."),
        (
            "emodb",
            "wav/16b10Lb.wav",
            "boredom",
            "16",
            "female",
            "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
        ),
    ],
)
def test_what_a_name_says(
    tmp_path: Path, dataset: str, clip: str, label: str, speaker: str, gender: str, text: str
) -> None:
    file = tmp_path / clip
    write_clips(file.parent, file.name)
    (tmp_path / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\n"
        "WR0_surprised_64.wav\tsurprised\t„Ucho” wykrywa dźwięki.\tucho\n",
        encoding="utf-8",
    )
    for path in (tmp_path, file.parent):
        corpus = read_corpus(dataset, path)
        (found,) = corpus.utterances
        assert (found.id, found.audio) == (file.stem, file)
        assert (found.label, found.speaker, found.gender, found.text) == (label, speaker, gender, text)
        assert label in corpus.labels
        assert corpus.problems == ()


def test_songs_are_left_out_and_counted(tmp_path: Path) -> None:
    write_clips(tmp_path / "Actor_02", "03-01-04-01-01-01-02.wav", "03-02-04-01-01-01-02.wav")
    corpus = read_corpus("ravdess", tmp_path)
    assert [utterance.id for utterance in corpus.utterances] == ["03-01-04-01-01-01-02"]
    assert corpus.excluded == {"song": 1}
    assert corpus.problems == ()


def test_an_emotion_or_a_sentence_that_is_none(tmp_path: Path) -> None:
    write_clips(tmp_path, "1001_DFA_ANG_XX.wav", "1001_DFA_JOY_XX.wav", "1001_XYZ_ANG_XX.wav", "1001.wav")
    corpus = read_corpus("cremad", tmp_path)
    assert [(each.id, each.text is None) for each in corpus.utterances] == [
        ("1001_DFA_ANG_XX", False),
        ("1001_XYZ_ANG_XX", True),
    ]
    found = {problem.file.stem: problem.message for problem in corpus.problems}
    assert found["1001"] == "expected a name such as 1001_DFA_ANG_XX: actor, sentence, emotion, level"
    assert found["1001_DFA_JOY_XX"] == "emotion JOY, expected one of ANG, DIS, FEA, HAP, NEU, SAD"
    assert found["1001_XYZ_ANG_XX"].startswith("sentence XYZ, expected one of DFA, IEO, ")


@pytest.mark.parametrize("table", [None, "clip\traw_text\nEB0_fear_1.wav\tLubię czytać.\n"])
def test_nemo_without_its_transcripts(tmp_path: Path, table: str | None) -> None:
    write_clips(tmp_path / "samples", "EB0_fear_1.wav")
    if table is not None:
        (tmp_path / "data.tsv").write_text(table, encoding="utf-8")
    corpus = read_corpus("nemo", tmp_path)
    assert [utterance.text for utterance in corpus.utterances] == [None]
    (problem,) = corpus.problems
    assert problem.file == tmp_path / "data.tsv"
    assert ("not found" if table is None else "no column 'file_id'") in problem.message


@pytest.mark.parametrize(
    ("dataset", "title"),
    [("ravdess", "RAVDESS"), ("cremad", "CREMA-D"), ("tess", "TESS"), ("nemo", "nEMO"), ("emodb", "EmoDB")],
)
def test_no_clip_is_an_error(tmp_path: Path, dataset: str, title: str) -> None:
    write_clips(tmp_path, "notes.wav")
    with pytest.raises(DataError, match=f"expected {title}'s clips"):
        read_corpus(dataset, tmp_path)


def test_a_corpus_beside_others(tmp_path: Path) -> None:
    write_clips(tmp_path / "emodb", "03a01Fa.wav")
    write_clips(tmp_path / "cremad", "1001_DFA_ANG_XX.wav")
    assert read_corpus("emodb", tmp_path).problems == ()


def real(name: str) -> Path:
    data = os.environ.get("MTAB_TEST_DATA")
    if not data:
        pytest.skip(f"needs {name}: set MTAB_TEST_DATA to the folder that holds {name}/")
    return Path(data) / name


@pytest.mark.parametrize(
    ("dataset", "count", "speakers"), [("emodb", 408, 8), ("ravdess", 1200, 20), ("nemo", 3493, 7)]
)
def test_a_real_corpus_agrees_with_its_manifest(dataset: str, count: int, speakers: int) -> None:
    root = real(dataset)
    corpus = read_corpus(dataset, root)
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {
        (root / row["audio"], row["label"], row["speaker"].removeprefix("Actor_"), row["gender"])
        for row in rows
    }
    assert len(corpus.utterances) == len(expected) == count
    assert {(u.audio, u.label, u.speaker, u.gender) for u in corpus.utterances} == expected
    assert len({u.speaker for u in corpus.utterances}) == speakers
    if dataset == "nemo":
        assert [problem.file.name for problem in corpus.problems] == ["data.tsv"]
    else:
        assert corpus.problems == ()
        assert {(u.audio, u.text) for u in corpus.utterances} == {
            (root / row["audio"], row["text"]) for row in rows
        }
    own = read_corpus("manifest", root)
    assert Counter(u.gender for u in own.utterances) == Counter(u.gender for u in corpus.utterances)


def test_the_groups_of_ravdess_have_men_and_women() -> None:
    corpus = read_corpus("ravdess", real("ravdess"))
    for fold in make_folds(corpus, "speaker-group:5"):
        assert Counter(gender for _, gender in {(u.speaker, u.gender) for u in fold.test}) == {
            "male": 2,
            "female": 2,
        }


def test_the_real_names_of_cremad(tmp_path: Path) -> None:
    """All 7,442 names; the counts are those that the corpus's own paper and tables give."""
    with (real("cremad") / "audiowav_sha256.csv").open(encoding="utf-8", newline="") as file:
        names = [row[0] for row in csv.reader(file)]
    folder = tmp_path / "AudioWAV"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    corpus = read_corpus("cremad", tmp_path)
    assert corpus.problems == ()
    assert len(corpus.utterances) == len(names) == 7442
    assert Counter(u.label for u in corpus.utterances) == {
        **dict.fromkeys(("anger", "disgust", "fear", "happiness", "sadness"), 1271),
        "neutral": 1087,
    }
    assert Counter(gender for _, gender in {(u.speaker, u.gender) for u in corpus.utterances}) == {
        "male": 48,
        "female": 43,
    }
    # One sentence was said in three levels.
    assert Counter(u.text for u in corpus.utterances).most_common(1) == [("It's eleven o'clock.", 1456)]
    assert len({u.text for u in corpus.utterances}) == 12
