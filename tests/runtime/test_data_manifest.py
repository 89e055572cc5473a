"""The CSV manifest: a user's own recordings, and a user's own mistakes."""

from pathlib import Path

import pytest

from mtab.data import corpus_hash, default_scheme, read_corpus, read_manifest
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
    assert full.dimensions == {"valence": 0.1, "arousal": 0.2, "dominance": 0.3}
    assert cut.dimensions == {}
    assert (audio_only.id, audio_only.text, audio_only.span) == ("a/talk.wav", None, (None, None))
    assert (text_only.id, text_only.audio, text_only.text) == ("line4", None, "Only words.")
    assert (cut.id, cut.span) == ("a/talk.wav@4-5.5", (4.0, 5.5))


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e999", "high", "3,5", "٣"])
def test_a_rating_that_is_no_number_is_a_problem_and_nothing_to_predict(tmp_path: Path, cell: str) -> None:
    file = write(tmp_path, f'audio,label,arousal\na.wav,x,"{cell}"\nb.wav,x,-12.5\nc.wav,y,\n')
    corpus = read_manifest(file)
    assert [utterance.dimensions for utterance in corpus.utterances] == [{"arousal": -12.5}, {}]
    assert [str(each) for each in corpus.problems] == [f"{file}:2: arousal {cell!r}, expected a number"]
    unlabelled = read_manifest(file, labelled=False)
    assert [utterance.dimensions for utterance in unlabelled.utterances] == [{}, {}, {}]
    assert unlabelled.problems == ()


def test_a_rating_counts_for_the_hash_where_it_is_learned(tmp_path: Path) -> None:
    one, other = (
        read_manifest(write(tmp_path, f"text,label,arousal\nHi,x,{rating}\n")).utterances for rating in (1, 2)
    )
    assert corpus_hash(one) == corpus_hash(other)
    assert corpus_hash(one, ("valence",)) == corpus_hash(other, ("valence",))
    assert corpus_hash(one, ("arousal",)) != corpus_hash(other, ("arousal",))


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
        ("a.wav", "1 cell, expected 6"),
        ("a.wav,Hi,x,,1e999,", "start '1e999', expected a number"),
        ("a.wav,Hi,x,,1_0,", "start '1_0', expected a number"),
        ("a.wav,Hi,x,,\uff11,", "start '\uff11', expected a number"),
        ("a.wav,Well, no!,x,,,", "7 cells, expected 6"),
        ("a.wav, ,\t,,,", "no label"),
    ],
)
def test_bad_rows_are_listed_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    file = write(tmp_path, f'audio,text,label,split,start,end\nsound.wav,"two\nlines",x,,,\n\n{row}\n')
    corpus = read_corpus("manifest", file)
    assert [utterance.id for utterance in corpus.utterances] == ["sound.wav"]
    (problem,) = corpus.problems
    assert (problem.file, problem.line) == (file, 5)
    assert message in problem.message


@pytest.mark.parametrize("content", ["label\nx\n", "speaker,label\nann,x\n", "", "\n\n", " \n"])
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


# One modality alone


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("audio,label\na.wav,x\n", ("a.wav", None)),
        ("text,label\nHi,x\n", (None, "Hi")),
        ("audio,context,label\na.wav,office,x\n", ("a.wav", None)),
    ],
)
def test_a_column_for_the_other_modality_may_be_absent(
    tmp_path: Path, content: str, found: tuple[str | None, str | None]
) -> None:
    corpus = read_corpus("manifest", write(tmp_path, content))
    (utterance,) = corpus.utterances
    assert (utterance.audio and utterance.audio.name, utterance.text) == found
    assert (corpus.problems, corpus.notices) == ((), ())


def test_one_column_is_enough_to_be_predicted(tmp_path: Path) -> None:
    corpus = read_manifest(write(tmp_path, "text\nHi\n\nHo\n"), labelled=False)
    assert [(each.id, each.text) for each in corpus.utterances] == [("line2", "Hi"), ("line4", "Ho")]


# Line breaks


@pytest.mark.parametrize("row", ['a.wav,Hi,"x\ny"', '"a\n.wav",Hi,x', 'a.wav,Hi,"x\x1b[0m"'])
def test_a_line_break_is_for_transcripts_alone(tmp_path: Path, row: str) -> None:
    """Elsewhere it is a quote that was closed too late."""
    corpus = read_corpus("manifest", write(tmp_path, f"audio,text,label\n{row}\nb.wav,Hi,x\n"))
    assert [utterance.label for utterance in corpus.utterances] == ["x"]
    (problem,) = corpus.problems
    assert problem.line == 2
    assert "expected one line" in problem.message


def test_a_transcript_of_several_lines_is_noticed(tmp_path: Path) -> None:
    content = 'audio,text,label\na.wav,Hi,x\nb.wav,"Hi,x\nc.wav,No",y\n'
    corpus = read_corpus("manifest", write(tmp_path, content))
    assert corpus.utterances[1].text == "Hi,x\nc.wav,No"
    (notice,) = corpus.notices
    assert (notice.line, notice.message) == (3, "line breaks inside cells, kept: text 1")


# Names of columns


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("path,transcript,emotion", "audio=path,text=transcript,label=emotion"),
        ("Audio,text,label", "audio=Audio"),
        ("audio,text,Label", "label=Label"),
        ("audio,Transcription,label", "text=Transcription"),
        ("audio_path,text,label", "audio=audio_path"),
        ("audio,txt,label", "text=txt"),
        ("audio,text,lable", "label=lable"),
        ("fileName,text,label", "audio=fileName"),
        ("audio,text,class", "label=class"),
    ],
)
def test_a_column_by_another_name(tmp_path: Path, header: str, columns: str) -> None:
    """It is never left out: the error names the option, and the option as named reads it."""
    file = write(tmp_path, f"{header}\na.wav,Hi,x\n")
    with pytest.raises(DataError, match=r"no column '.*; found .*; give --columns " + columns):
        read_corpus("manifest", file)
    mapping = dict(pair.split("=") for pair in columns.split(","))
    corpus = read_corpus("manifest", file, mapping)
    (utterance,) = corpus.utterances
    assert (utterance.audio, utterance.text, utterance.label) == (tmp_path / "a.wav", "Hi", "x")
    assert corpus.columns == mapping


def test_a_column_that_is_not_meant(tmp_path: Path) -> None:
    file = write(tmp_path, "audio,sentence,label\na.wav,Hi,x\n")
    with pytest.raises(DataError, match=r"--columns text=sentence, or text= if the corpus has none$"):
        read_corpus("manifest", file)
    assert read_corpus("manifest", file, {"text": ""}).utterances[0].text is None


def test_a_mapped_column_wins_and_may_serve_twice(tmp_path: Path) -> None:
    file = write(tmp_path, "audio,path,text,label\nx,a.wav,Hi,sad\n")
    (utterance,) = read_corpus("manifest", file, {"audio": "path", "id": "path"}).utterances
    assert (utterance.audio, utterance.id) == (tmp_path / "a.wav", "a.wav")


def test_a_mapping_that_does_not_fit(tmp_path: Path) -> None:
    file = write(tmp_path, "audio,text,label\na.wav,Hi,x\n")
    with pytest.raises(DataError, match="unknown column 'sound', expected one of audio, text"):
        read_corpus("manifest", file, {"sound": "audio"})
    for columns in ({"audio": "x", "text": "x"}, {"text": "audio"}, {"text": "audio", "audio": "audio"}):
        with pytest.raises(
            DataError, match=r"^--columns: '.*' is both audio and text, expected a column for"
        ):
            read_corpus("manifest", file, columns)
    with pytest.raises(DataError, match=r"^--columns: 'x' is both text and label"):
        read_corpus("manifest", file, {"text": "x", "label": "x"})
    with pytest.raises(DataError, match=r"no column 'path', expected path .*found audio, text, label"):
        read_corpus("manifest", file, {"audio": "path"})
    with pytest.raises(DataError, match="emodb: has columns of its own"):
        read_corpus("emodb", tmp_path, {"audio": "path"})


@pytest.mark.parametrize(("theirs", "name"), [("Speaker", "speaker"), ("start_time", "start"), ("ID", "id")])
def test_an_optional_column_that_looks_misspelt_is_a_notice(tmp_path: Path, theirs: str, name: str) -> None:
    corpus = read_corpus("manifest", write(tmp_path, f"audio,text,label,{theirs}\na.wav,Hi,x,1\n"))
    (notice,) = corpus.notices
    assert notice.line == 1
    assert f"column {theirs!r} ignored" in notice.message
    assert f"--columns {name}={theirs}" in notice.message


# Other separators, encodings and labels


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize(
    "header", ["audio{0}text{0}label", '"audio"{0}"text"{0}"label"', "\naudio{0}text{0}label"]
)
def test_another_separator(tmp_path: Path, separator: str, name: str, header: str) -> None:
    content = f"{header}\na.wav{{0}}Well, no{{0}}x\n".format(separator)
    with pytest.raises(DataError, match=f"separated by {name}, expected commas"):
        read_corpus("manifest", write(tmp_path, content))


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "gbk", "utf-16", "utf-16-be", "utf-32"])
def test_what_is_not_utf8_is_refused(tmp_path: Path, encoding: str) -> None:
    text = "\u60b2" if encoding == "gbk" else "Grüße"
    file = tmp_path / "m.csv"
    file.write_bytes(f"audio,text,label\na.wav,Hi,x\nb.wav,{text},y\n".encode(encoding))
    with pytest.raises(DataError, match=r"m\.csv"):
        read_corpus("manifest", file)


def test_where_it_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    content = "audio,text,label\r\na.wav,Grüße,x\r\nb.wav,Tür,y\r\n".encode()
    for start in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(start + content.replace("Tür".encode(), b"T\xfcr"))
        with pytest.raises(DataError, match=r"m\.csv: is not UTF-8 \(line 3, byte 8: 0xFC"):
            read_corpus("manifest", file)
        file.write_bytes(start + content)
        assert [each.text for each in read_corpus("manifest", file).utterances] == ["Grüße", "Tür"]
    file.write_bytes(content.decode().encode("utf-16"))
    with pytest.raises(DataError, match=r"is UTF-16 \(line 1, byte 1: its byte order mark\)"):
        read_corpus("manifest", file)


@pytest.mark.parametrize("other", ["Sad", "SAD", "sad\u200b", "s ad", "\uff53ad"])
def test_labels_that_look_alike_are_a_notice(tmp_path: Path, other: str) -> None:
    content = f"audio,text,label\na.wav,Hi,sad\nb.wav,Hi,{other}\nc.wav,Hi,sad\nd.wav,Hi,angry\n"
    corpus = read_corpus("manifest", write(tmp_path, content))
    assert set(corpus.labels) == {"sad", other, "angry"}
    (notice,) = corpus.notices
    assert notice.line == 3
    assert f"{other!r} (1)" in notice.message
    assert "'sad' (2)" in notice.message


def test_labels_that_are_encoded_in_two_ways_are_told_apart(tmp_path: Path) -> None:
    content = "audio,text,label\na.wav,Hi,fr\u00f6hlich\nb.wav,Hi,fro\u0308hlich\nc.wav,Hi,x\n"
    (notice,) = read_corpus("manifest", write(tmp_path, content)).notices
    assert r"'fro\u0308hlich' (1), 'fr\xf6hlich' (1) differ only in" in notice.message
    assert "Unicode normalisation" in notice.message


def test_white_space_around_cells_is_a_notice(tmp_path: Path) -> None:
    content = "audio, text,label\na.wav,Hi,x\nb.wav, Hi ,x \n"
    corpus = read_corpus("manifest", write(tmp_path, content))
    assert corpus.labels == ("x",)
    (notice,) = corpus.notices
    assert notice.line == 1
    assert notice.message.endswith("left out: text 2, label 1")


# Its name


@pytest.mark.parametrize(
    ("path", "title"), [("calls/manifest.csv", "calls"), ("calls/march.csv", "march"), ("a.b/x.y.csv", "x.y")]
)
def test_its_own_name_is_its_title(tmp_path: Path, path: str, title: str) -> None:
    file = tmp_path / path
    file.parent.mkdir()
    corpus = read_corpus("manifest", write(file.parent, "audio,text,label\na.wav,Hi,x\n", file.name))
    assert (corpus.name, corpus.title) == ("manifest", title)


def test_its_name_from_where_you_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls").mkdir()
    write(tmp_path / "calls", "audio,text,label\na.wav,Hi,x\n")
    monkeypatch.chdir(tmp_path / "calls")
    for path in (".", "manifest.csv"):
        assert read_corpus("manifest", Path(path)).title == "calls"
