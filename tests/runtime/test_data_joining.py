"""Several corpora as one, labels mapped by a table, and the manifest that keeps them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mtab.data import (
    Corpus,
    Utterance,
    corpus_hash,
    join_corpora,
    keep_corpus,
    labels_by_corpus,
    make_folds,
    map_labels,
    read_label_map,
    read_manifest,
)
from mtab.errors import DataError


def corpus_of(name: str, labels: str, root: Path, **fields: object) -> Corpus:
    """An utterance for each letter, of two speakers in turn."""
    utterances = tuple(
        Utterance(
            id=f"u{i}",
            audio=root / name / f"{i}.wav",
            text='Say "no", please.',
            label=label,
            speaker=f"{i % 2:02}",
            **fields,  # pyright: ignore[reportArgumentType]
        )
        for i, label in enumerate(labels)
    )
    return Corpus(name, root, tuple(sorted(set(labels))), utterances)


def write_map(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(("corpus,label,mapped", *rows)) + "\n")
    return path


def test_corpora_are_joined_by_the_names_of_their_labels(tmp_path: Path) -> None:
    corpus = join_corpora([corpus_of("emodb", "ab", tmp_path), corpus_of("ravdess", "bc", tmp_path)])
    assert corpus.labels == ("a", "b", "c")
    assert corpus.title == "emodb+ravdess"
    assert [(u.id, u.corpus, u.speaker, u.label) for u in corpus.utterances] == [
        ("emodb-u0", "emodb", "emodb-00", "a"),
        ("emodb-u1", "emodb", "emodb-01", "b"),
        ("ravdess-u0", "ravdess", "ravdess-00", "b"),
        ("ravdess-u1", "ravdess", "ravdess-01", "c"),
    ]
    # The speakers 00 of both are two people.
    assert len(make_folds(corpus, "speaker")) == 4


def test_the_same_corpus_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'emodb' given twice"):
        join_corpora([corpus_of("emodb", "ab", tmp_path)] * 2)


def test_what_is_kept_is_read_as_it_was(tmp_path: Path) -> None:
    cut = corpus_of("mine", "ab", tmp_path, start=0.1, end=1.25, cut=True, session="1", valence=1 / 3)
    whole = corpus_of("meld", "bc", tmp_path, start=7.0, end=9.0, dialogue="d", gender="female", split="dev")
    for corpus in (cut, whole):
        for utterance in corpus.utterances:
            assert utterance.audio is not None
            utterance.audio.parent.mkdir(exist_ok=True)
            utterance.audio.write_bytes(utterance.id.encode())
    corpus = join_corpora([cut, whole])
    again = read_manifest(keep_corpus(corpus, tmp_path / "corpus"))
    assert again.title == corpus.title == "mine+meld"
    assert again.labels == corpus.labels
    assert again.problems == ()
    assert corpus_hash(again.utterances, ["valence"]) == corpus_hash(corpus.utterances, ["valence"])
    for one, other in zip(again.utterances, corpus.utterances, strict=True):
        for name in ("id", "corpus", "speaker", "session", "dialogue", "gender", "split", "cut"):
            assert getattr(one, name) == getattr(other, name)
    # Times in an episode would cut a clip that holds the utterance alone.
    assert [u.span for u in again.utterances] == [(0.1, 1.25)] * 2 + [(None, None)] * 2
    # Joined once more, as with another corpus, nobody is renamed.
    assert [u.speaker for u in join_corpora([again]).utterances] == [u.speaker for u in again.utterances]


def test_synthetic_speech_stays_synthetic(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "SYNTHETIC.txt").touch()
    corpus = join_corpora([corpus_of("emodb", "ab", tmp_path), corpus_of("iemocap", "ab", tmp_path / "made")])
    assert corpus.synthetic
    assert read_manifest(keep_corpus(corpus, tmp_path / "corpus")).synthetic


def test_labels_by_a_table(tmp_path: Path) -> None:
    table = read_label_map(
        write_map(tmp_path / "map.csv", ",a,anger", ",b,", "ravdess,b,neutral", "ravdess,c,neutral")
    )
    emodb = map_labels(corpus_of("emodb", "aab", tmp_path), table)
    assert [u.label for u in emodb.utterances] == ["anger", "anger"]
    assert emodb.excluded == {"b": 1}
    ravdess = map_labels(corpus_of("ravdess", "abc", tmp_path), table)
    assert [u.label for u in ravdess.utterances] == ["anger", "neutral", "neutral"]
    joined = join_corpora([emodb, ravdess])
    assert joined.labels == ("anger", "neutral")
    assert joined.title == "emodb+ravdess"
    assert joined.excluded == {"b": 1}


def test_labels_of_each_corpus_alone(tmp_path: Path) -> None:
    emodb, ravdess = corpus_of("emodb", "ab", tmp_path), corpus_of("ravdess", "bc", tmp_path)
    corpus = labels_by_corpus(join_corpora([emodb, ravdess]))
    assert corpus.labels == ("emodb/a", "emodb/b", "ravdess/b", "ravdess/c")
    assert [u.label for u in corpus.utterances] == list(corpus.labels)
    again = read_manifest(keep_corpus(corpus, tmp_path / "corpus"))
    assert (again.labels, again.title) == (corpus.labels, "emodb+ravdess")
    with pytest.raises(DataError, match=r"one corpus \(emodb\), expected several to tell apart"):
        labels_by_corpus(emodb)
    with pytest.raises(DataError, match="corpus 'a/b', expected a name without a slash"):
        labels_by_corpus(join_corpora([emodb, replace(ravdess, own_name="a/b")]))


def test_labels_of_a_manifest_with_a_column_corpus(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("text,label,corpus,speaker\nHi,x,one,ann\nHo,x,two,ann\n")
    corpus = read_manifest(file)
    assert [u.speaker for u in corpus.utterances] == ["one-ann", "two-ann"]
    table = read_label_map(write_map(tmp_path / "map.csv", "one,x,anger", "two,x,fear"))
    assert [u.label for u in map_labels(corpus, table).utterances] == ["anger", "fear"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([",a,anger"], r"map.csv: no row for label 'b' of emodb \(2 utterances\), expected one"),
        (["ravdess,b,x", ",a,anger"], "no row for label 'b' of emodb"),
        ([",a,anger", ",a,fear"], "map.csv:3: label 'a' a second time"),
        ([",,anger"], "map.csv:2: no label"),
        ([",a"], "map.csv:2: 2 cells, expected 3"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        map_labels(
            corpus_of("emodb", "abb", tmp_path), read_label_map(write_map(tmp_path / "map.csv", *rows))
        )


def test_a_table_without_its_columns(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("label,to\na,b\n")
    with pytest.raises(DataError, match="no column 'mapped'"):
        read_label_map(tmp_path / "map.csv")


def test_groups_have_speakers_of_each_corpus(tmp_path: Path) -> None:
    corpus = join_corpora([corpus_of("emodb", "ab" * 4, tmp_path), corpus_of("ravdess", "ab" * 4, tmp_path)])
    for fold in make_folds(corpus, "speaker-group:2"):
        assert Counter(u.corpus for u in fold.test) == {"emodb": 4, "ravdess": 4}
    with pytest.raises(DataError, match="corpora that all have fewer speakers"):
        make_folds(corpus, "speaker-group:3")
