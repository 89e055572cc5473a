"""The CSV manifest: a user's own recordings, and a user's own mistakes."""

from pathlib import Path

import pytest

from mtab.data import default_scheme, read_corpus
from mtab.errors import DataError


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_all_columns(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "label,audio,text,id,speaker,session,dialogue,split,start,end,valence,arousal,dominance,gender\n"
        "sad,a/talk.wav,Oh.,u1,ann,s1,d1,train,1.5,3,0.1,0.2,0.3,f\n"
        "angry,a/talk.wav,,,,,,,,,,,,\n"
        "sad,,Only words.,,,,,,,,,,,\n"
        "angry,a/talk.wav,No!,,,,,,4,5.5,,,,\n",
        "mine.csv",
    )
    corpus = read_corpus("manifest", file)
    assert corpus.labels == ("angry", "sad")
    assert corpus.problems == ()
    full, audio_only, text_only, cut = corpus.utterances
    assert (full.id, full.speaker, full.session, full.dialogue, full.split) == (
        "u1",
        "ann",
        "s1",
        "d1",
        "train",
    )
    assert full.audio == tmp_path / "a/talk.wav"
    assert full.span == (1.5, 3.0)
    assert (full.valence, full.arousal, full.dominance) == (0.1, 0.2, 0.3)
    assert (audio_only.id, audio_only.text, audio_only.span) == ("a/talk.wav", None, (None, None))
    assert (text_only.id, text_only.audio, text_only.text) == ("line4", None, "Only words.")
    assert (cut.id, cut.span) == ("a/talk.wav@4-5.5", (4.0, 5.5))


def test_a_folder_means_its_manifest(tmp_path: Path) -> None:
    write(tmp_path, "audio,text,label\na.wav,Hi,x\n")
    assert len(read_corpus("manifest", tmp_path).utterances) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,Hi,,,,", "no label"),
        (",,x,,,", "neither audio nor text"),
        ("a.wav,Hi,x,valid,,", "split 'valid'"),
        ("a.wav,Hi,x,,two,", "start 'two', expected a number"),
        ("a.wav,Hi,x,,nan,", "start 'nan', expected a number"),
        ("a.wav,Hi,x,,-1,2", "start -1"),
        ("a.wav,Hi,x,,2,2", "end 2, expected more than start 2"),
        ("a.wav,Hi,x,,,0", "end 0"),
        ("sound.wav,Hi,x,,,", "a second time"),
        ("a.wav", "no label"),
    ],
)
def test_bad_rows_are_listed_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    file = write(tmp_path, f'audio,text,label,split,start,end\nsound.wav,"two\nlines",x,,,\n\n{row}\n')
    corpus = read_corpus("manifest", file)
    assert [utterance.id for utterance in corpus.utterances] == ["sound.wav"]
    (problem,) = corpus.problems
    assert (problem.file, problem.line) == (file, 5)
    assert message in problem.message


@pytest.mark.parametrize("content", ["audio,label\na.wav,x\n", ""])
def test_a_missing_column_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"no column .*'text'.*expected audio, text, label"):
        read_corpus("manifest", write(tmp_path, content))


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no usable utterance.*manifest\.csv:2"):
        read_corpus("manifest", write(tmp_path, "audio,text,label\na.wav,Hi,\n"))


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv: not found"):
        read_corpus("manifest", tmp_path)


@pytest.mark.parametrize(
    ("columns", "rows", "scheme"),
    [
        ("split,session,speaker", ["train,1,a", "test,2,b"], "official"),
        ("split,session,speaker", ["train,1,a", ",2,b"], "session"),
        ("split,session,speaker", ["train,1,a", "train,1,b"], "speaker"),
        ("split,session,speaker", [",,a", ",,"], "random:5"),
        ("gender", ["m", "f"], "random:5"),
    ],
)
def test_default_scheme(tmp_path: Path, columns: str, rows: list[str], scheme: str) -> None:
    lines = [f"audio,text,label,{columns}", *(f"{i}.wav,Hi,x,{row}" for i, row in enumerate(rows))]
    assert default_scheme(read_corpus("manifest", write(tmp_path, "\n".join(lines)))) == scheme
