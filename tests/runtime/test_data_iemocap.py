"""The IEMOCAP reader on the corpus's own layout, quirks included, and against torchaudio's reader."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.data import read_corpus, validate
from mtab.errors import DataError

# Session 1, as the corpus writes it: evaluator lines below each turn, emotions outside the four classes.
EVALUATION = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[7.5712 - 10.4750]\tSes01F_impro01_M000\tang\t[2.0000, 3.5000, 4.0000]
[10.0100 - 11.3925]\tSes01F_impro01_F001\texc\t[4.0000, 4.5000, 3.0000]
[10.9266 - 14.6649]\tSes01F_impro01_M001\tfru\t[2.0000, 3.0000, 3.5000]
[14.8872 - 18.0175]\tSes01F_impro01_F002\thap\t[4.5000, 3.5000, 3.0000]
[19.2900 - 20.7875]\tSes01F_impro01_MXX0\tsad\t[1.5000, 1.5000, 1.0000]
[21.3257 - 24.7400]\tSes01F_impro01_F003\txxx\t[3.0000, 3.0000, 3.0000]
"""
TRANSCRIPTS = """\
Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
M: [LAUGHTER]
Ses01F_impro01_M000 [007.5712-010.4750]: Do you have your forms?
Ses01F_impro01_F001 [010.0100-011.3925]: Yeah. [LAUGHTER]
Ses01F_impro01_M001 [010.9266-014.6649]: Let me see them.
F: Is there a problem: here?
Ses01F_impro01_F002 [014.8872-018.0175]: Who told you: get in line?
Ses01F_impro01_MXX0 [019.2900-020.7875]: Okay.
Ses01F_impro01_F003 [021.3257-024.7400]: Hmm.
"""


def write_dialogue(root: Path, session: int, dialogue: str, evaluation: str, transcripts: str | None) -> None:
    folder = root / f"Session{session}"
    file = folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(evaluation)
    if transcripts is not None:
        file = folder / "dialog" / "transcriptions" / f"{dialogue}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(transcripts)
    wavs = folder / "sentences" / "wav" / dialogue
    wavs.mkdir(parents=True, exist_ok=True)
    for line in evaluation.splitlines():
        if line.startswith("[") and line.count("\t") == 3:
            soundfile.write(wavs / (line.split("\t")[1] + ".wav"), np.zeros(1600), 16000)


def in_session(text: str, session: int) -> str:
    return text.replace("Ses01", f"Ses0{session}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "IEMOCAP"
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        write_dialogue(root, session, name, in_session(EVALUATION, session), in_session(TRANSCRIPTS, session))
    evaluations = root / "Session1" / "dialog" / "EmoEvaluation"
    (evaluations / "Categorical").mkdir()
    (evaluations / "Categorical" / "Ses01F_impro01_e2_cat.txt").write_text(
        "Ses01F_impro01_F000 :Neutral; ()\n"
    )
    return root


@pytest.mark.parametrize("where", [".", ".."])
def test_root_and_parent_give_the_same_corpus(root: Path, where: str) -> None:
    corpus = read_corpus("iemocap", (root / where).resolve())
    assert corpus.root == root
    assert corpus.labels == ("anger", "happiness", "neutral", "sadness")
    assert len(corpus.utterances) == 25
    assert corpus.problems == ()
    assert corpus.excluded == {"fru": 5, "xxx": 5}


def test_fields(root: Path) -> None:
    utterances = {utterance.id: utterance for utterance in read_corpus("iemocap", root).utterances}
    man = utterances["Ses01F_impro01_M000"]
    assert man.label == "anger"
    assert man.text == "Do you have your forms?"
    assert (man.speaker, man.session, man.dialogue) == ("Ses01M", "1", "Ses01F_impro01")
    assert (man.start, man.end, man.cut) == (7.5712, 10.4750, False)
    assert man.dimensions == {"valence": 2.0, "arousal": 3.5, "dominance": 4.0}
    assert man.audio == root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav"
    assert utterances["Ses01F_impro01_F001"].label == "happiness"
    assert utterances["Ses01F_impro01_F001"].text == "Yeah. [LAUGHTER]"
    assert utterances["Ses01F_impro01_F002"].text == "Who told you: get in line?"
    assert utterances["Ses03F_impro01_MXX0"].speaker == "Ses03M"


def test_which_files_exist_agrees_with_torchaudio(root: Path) -> None:
    datasets = pytest.importorskip("torchaudio").datasets
    (root / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav").unlink()
    # A clip that no line labels.
    soundfile.write(
        root / "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_F099.wav", np.zeros(1600), 16000
    )
    reference = datasets.IEMOCAP(root.parent)
    metadata = [reference.get_metadata(i) for i in range(len(reference))]
    merged = {"neu": "neutral", "hap": "happiness", "exc": "happiness", "ang": "anger", "sad": "sadness"}
    expected = {(root / path, name, merged[label]) for path, _, name, label, _ in metadata if label != "fru"}
    assert len(expected) == 24
    usable = validate(read_corpus("iemocap", root)).utterances
    assert {(utterance.audio, utterance.id, utterance.label) for utterance in usable} == expected


def test_hidden_files_are_ignored(root: Path) -> None:
    for file in list(root.rglob("*.txt")):
        (file.parent / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07\xff[1.0 - 2.0]")
    corpus = read_corpus("iemocap", root)
    assert (len(corpus.utterances), corpus.problems) == (25, ())


def test_bad_lines_are_listed_with_file_and_line(root: Path) -> None:
    bad = (
        "[1.0 - x]\tSes05F_impro02_F000\tneu\t[1.0, 1.0, 1.0]\n"
        "[1.0 - 2.0]\tSes05F_impro02_F001\tbored\t[1.0, 1.0, 1.0]\n"
        "[1.0 - 2.0]\tSes05F_impro02_F002\tneu\t[1.0, 1.0, 1.0]\n"
        "[1.0 - 2.0]\tSes05F_impro02_F002\tsad\t[1.0, 1.0, 1.0]\n"
        "[1.0 - 2.0] Ses05F_impro02_F003\n"
        "[1.0 - 2.0]\tSes05F_impro02_F004\tneu\t[nan, 1.0, 1.0]\n"
        "[1.0 - 2.0]\tSes05F_impro02_F005\tneu\t[1.0, 1.0]\n"
    )
    write_dialogue(root, 5, "Ses05F_impro02", bad, "Ses05F_impro02_F002 I mean it.\n")
    corpus = read_corpus("iemocap", root)
    assert len(corpus.utterances) == 26
    evaluation = root / "Session5/dialog/EmoEvaluation/Ses05F_impro02.txt"
    transcripts = root / "Session5/dialog/transcriptions/Ses05F_impro02.txt"
    places = [(problem.file, problem.line) for problem in corpus.problems]
    # Line 3 is sound but has no transcript: its transcript's line does not parse.
    assert places == [(transcripts, 1), *((evaluation, line) for line in (1, 2, 3, 4, 5, 6, 7))]
    assert "'bored'" in corpus.problems[2].message


def test_a_dialogue_without_transcripts_is_one_problem(root: Path) -> None:
    (root / "Session4/dialog/transcriptions/Ses04F_impro01.txt").unlink()
    corpus = read_corpus("iemocap", root)
    assert len(corpus.problems) == 1
    assert len(corpus.utterances) == 25
    assert {u.text for u in corpus.utterances if u.session == "4"} == {None}


def test_no_session_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected IEMOCAP"):
        read_corpus("iemocap", tmp_path)


def test_what_was_mended_is_a_notice_and_a_second_transcript_a_problem(root: Path) -> None:
    file = root / "Session1/dialog/transcriptions/Ses01F_impro01.txt"
    file.write_bytes(
        file.read_bytes().replace(b"Excuse me.", b"Excus\x92 m\xc3\xa9.")
        + b" Ses01F_impro01_F000 [006.2901-008.2357]: Another.\n"
    )
    corpus = read_corpus("iemocap", root)
    assert corpus.utterances[0].text == "Excus\u2019 m\u00e9."
    assert [(problem.file, problem.line) for problem in corpus.problems] == [(file, 10)]
    assert "a second time" in corpus.problems[0].message
    assert [(notice.file, notice.line) for notice in corpus.notices] == [(file, 1)]
