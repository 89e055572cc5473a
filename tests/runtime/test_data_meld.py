"""The MELD reader: the corpus's own CSV columns and clip names, known damage, and its real annotations."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.data import default_scheme, make_folds, read_corpus, validate
from mtab.errors import DataError

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
)
TIMES = '8,21,"00:16:16,059","00:16:21,731"'
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def write_split(root: Path, split: str, rows: list[str], encoding: str = "utf-8") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    file = root / f"{split}_sent_emo.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n", encoding=encoding, newline="\r\n")
    return file


def write_clip(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, np.zeros(1600), 16000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "MELD.Raw"
    write_split(
        root,
        "train",
        [
            f'1,"Well, I’m here.",Chandler,neutral,neutral,0,0,{TIMES}',
            f"2,What?,Monica,surprise,negative,0,1,{TIMES}",
        ],
    )
    write_split(root, "dev", [f"1,Yeah!,Ross,joy,positive,0,0,{TIMES}"])
    write_split(root, "test", [f"1,Oh no.,Joey,sadness,negative,3,12,{TIMES}"])
    for folder in FOLDERS.values():
        (root / folder).mkdir()
    return root


@pytest.mark.parametrize("where", [".", ".."])
def test_fields(root: Path, where: str) -> None:
    corpus = read_corpus("meld", (root / where).resolve())
    assert corpus.root == root
    assert corpus.problems == ()
    assert corpus.labels == ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    first, _, dev, test = corpus.utterances
    assert (first.id, first.text, first.label) == ("train_dia0_utt0", "Well, I’m here.", "neutral")
    assert (first.speaker, first.dialogue, first.split) == ("Chandler", "train_dia0", "train")
    assert (first.start, first.end, first.cut) == (976.059, 981.731, False)
    assert dev.audio == root / "dev_splits_complete/dia0_utt0.mp4"
    assert dev.dialogue == "dev_dia0"
    assert test.audio == root / "output_repeated_splits_test/dia3_utt12.mp4"


def test_each_split_unpacked_into_its_own_folder(root: Path) -> None:
    for split, folder in FOLDERS.items():
        (root / split).mkdir()
        for name in (f"{split}_sent_emo.csv", folder):
            (root / name).rename(root / split / name)
    corpus = read_corpus("meld", root)
    assert len(corpus.utterances) == 4
    assert corpus.utterances[0].audio == root / "train/train_splits/dia0_utt0.mp4"


def test_converted_clips_are_found_and_damage_is_listed(root: Path) -> None:
    write_clip(root / "train_splits/dia0_utt0.wav")
    write_clip(root / "test" / "ignored.wav")
    write_clip(root / "output_repeated_splits_test/dia3_utt12.flac")
    (root / "output_repeated_splits_test/._dia3_utt12.wav").write_bytes(b"\x00\x05\x16\x07")
    # As train dia125_utt3: there, but no container (found by its header). As dev dia110_utt7: not there.
    (root / "train_splits/dia0_utt1.mp4").write_bytes(b"\x00" * 4096)
    pytest.importorskip("av")
    corpus = validate(read_corpus("meld", root))
    assert [utterance.id for utterance in corpus.utterances] == ["train_dia0_utt0", "test_dia3_utt12"]
    assert [problem.file.name for problem in corpus.problems] == ["dia0_utt1.mp4", "dia0_utt0.mp4"]
    assert "unreadable" in corpus.problems[0].message
    assert "not found" in corpus.problems[1].message


def test_without_a_folder_of_clips_a_split_has_transcripts_alone(root: Path) -> None:
    write_split(root, "dev", [f"1,Yeah!,Ross,joy,positive,0,0,{TIMES}", f"2,,Ross,joy,positive,0,1,{TIMES}"])
    for folder in (FOLDERS["train"], FOLDERS["dev"]):
        (root / folder).rmdir()
    corpus = validate(read_corpus("meld", root))
    assert [(each.id, each.audio) for each in corpus.utterances] == [
        ("train_dia0_utt0", None),
        ("train_dia0_utt1", None),
        ("dev_dia0_utt0", None),
    ]
    assert [str(notice) for notice in corpus.notices] == [
        f"{root / FOLDERS[split]}: not found, expected the clips of {split}; its utterances have transcripts "
        "alone"
        for split in ("train", "dev")
    ]
    # One without either is none, and where there is a folder each clip is looked for.
    assert [(each.file.name, each.line) for each in corpus.problems] == [
        ("dev_sent_emo.csv", 3),
        ("dia3_utt12.mp4", None),
    ]
    assert "dia0_utt1 has no transcript and no clip" in corpus.problems[0].message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_encodings(root: Path, encoding: str) -> None:
    write_split(root, "dev", [f'1,"It’s a café…",Ross,joy,positive,0,0,{TIMES}'], encoding)
    texts = {utterance.text for utterance in read_corpus("meld", root).utterances}
    assert "It’s a café…" in texts


def test_only_the_bytes_that_are_not_utf8_are_mended_and_their_lines_counted(root: Path) -> None:
    file = write_split(root, "dev", [f"{i},Süß é{i},Ross,joy,positive,0,{i},{TIMES}" for i in range(3)])
    assert read_corpus("meld", root).notices == ()
    file.write_bytes(file.read_bytes().replace("é1".encode(), b"\xe91 \x93\x81"))
    corpus = read_corpus("meld", root)
    texts = [utterance.text for utterance in corpus.utterances if utterance.split == "dev"]
    assert texts == ["Süß é0", "Süß é1 “\x81", "Süß é2"]
    assert corpus.problems == ()
    (notice,) = corpus.notices
    assert (notice.file, notice.line) == (file, 3)
    assert notice.message.startswith("1 lines hold")


def test_broken_rows_are_problems(root: Path) -> None:
    good = f"Ross,joy,positive,0,{{}},{TIMES}"
    file = write_split(
        root,
        "dev",
        [
            f"1,Well, no!,{good.format(0)}",
            f'2,"I never said that!,{good.format(1)}',
            f'3,"Yes, you did.",{good.format(2)}',
            f"4,Oh.,Ross,Joy,positive,0,3,{TIMES}",
        ],
    )
    corpus = read_corpus("meld", root)
    dev = [utterance for utterance in corpus.utterances if utterance.split == "dev"]
    assert [utterance.text for utterance in dev] == ["Yes, you did.", "Oh."]
    assert [(problem.file, problem.line) for problem in corpus.problems] == [(file, 2), (file, 3)]
    (notice,) = corpus.notices
    assert (notice.line, notice.message) == (5, "Emotion 'Joy' read as 'joy'")


def test_cp1252_punctuation_saved_as_control_characters(root: Path) -> None:
    write_split(root, "dev", [f"1,It\x92s\x85 fine,Ross,joy,positive,0,0,{TIMES}"])
    assert "It’s… fine" in {utterance.text for utterance in read_corpus("meld", root).utterances}


def test_bad_rows_are_listed_with_the_line_they_start_on(root: Path) -> None:
    file = write_split(
        root,
        "train",
        [
            f'1,"Two\nlines",Ross,Joy,positive,0,0,{TIMES}',
            f"2,A,Ross,bored,positive,0,1,{TIMES}",
            f"3,B,Ross,joy,positive,0,x,{TIMES}",
            "4,C,Ross,joy,positive,0,2,8,21,noon,00:16:21",
            f"5,D,Ross,joy,positive,0,0,{TIMES}",
            "6,E,Ross",
        ],
    )
    corpus = read_corpus("meld", root)
    assert corpus.utterances[0].text == "Two\r\nlines"
    assert corpus.utterances[0].label == "joy"
    assert [(p.file, p.line) for p in corpus.problems] == [(file, line) for line in (4, 5, 6, 7, 8)]


def test_an_absent_split_is_a_problem_and_none_at_all_an_error(root: Path, tmp_path: Path) -> None:
    (root / "test_sent_emo.csv").unlink()
    corpus = read_corpus("meld", root)
    assert [problem.file.name for problem in corpus.problems] == ["test_sent_emo.csv"]
    assert len(corpus.utterances) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected MELD's train_sent_emo\.csv"):
        read_corpus("meld", tmp_path / "empty")


def test_a_missing_column_is_an_error(root: Path) -> None:
    (root / "dev_sent_emo.csv").write_text("Utterance,Speaker\nHi,Ross\n")
    with pytest.raises(DataError, match=r"dev_sent_emo\.csv: no column 'Emotion'"):
        read_corpus("meld", root)


def test_official_folds(root: Path) -> None:
    (fold,) = make_folds(read_corpus("meld", root))
    assert fold.name == "official"
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [2, 1, 1]
    (root / "test_sent_emo.csv").unlink()
    (fold,) = make_folds(read_corpus("meld", root))
    assert fold.name == "official-dev"
    assert {utterance.split for utterance in (*fold.train, *fold.validation)} == {"train"}
    assert [utterance.id for utterance in fold.test] == ["dev_dia0_utt0"]


def test_the_real_annotations() -> None:
    data = os.environ.get("MTAB_TEST_DATA")
    if not data:
        pytest.skip("needs MELD's annotation files: set MTAB_TEST_DATA to the folder that holds meld/")
    corpus = read_corpus("meld", Path(data) / "meld")
    assert Counter(utterance.split for utterance in corpus.utterances) == {"train": 9989, "dev": 1109}
    # The split without a file is the only problem; the corpus's paper gives the class counts.
    assert [problem.file.name for problem in corpus.problems] == ["test_sent_emo.csv"]
    # Nor is there a clip.
    notices = [each.file.name for each in corpus.notices if each.line is None]
    assert notices == ["train_splits", "dev_splits_complete"]
    assert {utterance.audio for utterance in corpus.utterances} == {None}
    assert default_scheme(corpus) == "official-dev"
    dev = Counter(utterance.label for utterance in corpus.utterances if utterance.split == "dev")
    assert dev == {
        "anger": 153,
        "disgust": 22,
        "fear": 40,
        "joy": 163,
        "neutral": 470,
        "sadness": 111,
        "surprise": 150,
    }
