"""A bundle on labelled utterances that it was not trained for: which, with which labels, and what it knew."""

from pathlib import Path

import pytest

from mtab.bundle import open_bundle
from mtab.data import Corpus
from mtab.data.clips import read_clips
from mtab.errors import DataError
from mtab.preprocess import Preprocessor
from mtab_bench.render.answers import section_warnings
from mtab_bench.render.provenance import protocol_line
from mtab_bench.sections.section import Protocol
from mtab_bench.test_set import LoadedTestSet, read_test_set

from .reports import make_evaluation


def read(bundle: Path, data: Path, dataset: str = "manifest", **choice: object) -> LoadedTestSet:
    opened = open_bundle(bundle)
    preprocess = Preprocessor.from_folder(bundle)
    return read_test_set(opened, preprocess, dataset, data, **choice)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def elsewhere(tmp_path: Path, tones: Corpus) -> Path:
    """The same tones under other labels, a third of them in a split of their own."""
    header, *rows = (tones.root / "manifest.csv").read_text().splitlines()
    names = {"high": "shrill", "low": "low"}
    lines = [f"{header},split"]
    for i, row in enumerate(rows):
        clip, text, label, speaker = row.split(",")
        lines.append(f"{tones.root}/{clip},{text},{names[label]},{speaker},{('train', 'dev', 'test')[i % 3]}")
    path = tmp_path / "other.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_trainings_own_test_part_is_the_default(tone_bundle: Path, tones: Corpus) -> None:
    test = read(tone_bundle, tones.root)
    assert {utterance.speaker for utterance in test.utterances} == {"0"}
    assert (test.held_out, test.left_out, test.overlap) == (True, {}, 0)


def test_all_of_it_holds_what_it_was_trained_on(tone_bundle: Path, tones: Corpus) -> None:
    test = read(tone_bundle, tones.root, split="all")
    trained = read_clips(tone_bundle)
    assert trained is not None
    assert len(test.utterances) == 36
    assert test.overlap == len(trained) == 24
    protocol = Protocol.of_test_set(open_bundle(tone_bundle), test)
    assert (protocol.folds, protocol.fold, protocol.protocol) == (None, None, None)
    assert "tones0; all utterances; 2 classes; 36 test utterances" in protocol_line(protocol)
    section = make_evaluation(protocol=protocol)
    assert "24 of 36 clips are among those that the model was trained on: the figures flatter." in (
        section_warnings(section)
    )


def test_another_fold(tone_bundle: Path, tones: Corpus) -> None:
    test = read(tone_bundle, tones.root, fold="speaker-3")
    assert {utterance.speaker for utterance in test.utterances} == {"3"}
    assert test.part == "test part of fold speaker-3"
    assert not test.held_out


def test_labels_by_name(tone_bundle: Path, elsewhere: Path) -> None:
    test = read(tone_bundle, elsewhere, split="all")
    assert {utterance.label for utterance in test.utterances} == {"low"}
    assert test.left_out == {"shrill": 18}
    protocol = Protocol.of_test_set(open_bundle(tone_bundle), test)
    warnings = section_warnings(make_evaluation(protocol=protocol))
    assert "18 utterances left out, whose labels are no class of the model: shrill 18." in warnings


def test_labels_by_a_table_and_a_split(tone_bundle: Path, elsewhere: Path, tmp_path: Path) -> None:
    table = tmp_path / "map.csv"
    table.write_text("corpus,label,mapped\nother,shrill,high\n,low,low\n")
    test = read(tone_bundle, elsewhere, split="dev", label_map=table)
    assert len(test.utterances) == 12
    assert {utterance.label for utterance in test.utterances} == {"low", "high"}
    assert (test.part, test.left_out) == ("split dev", {})
    # A corpus by another name has no row for it.
    table.write_text("corpus,label,mapped\nelse,shrill,high\n,low,low\n")
    assert read(tone_bundle, elsewhere, label_map=table).left_out == {"shrill": 18}


def test_what_does_not_fit(tone_bundle: Path, elsewhere: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"label 'shrill', expected the bundle's: high, low; .*--split all"):
        read(tone_bundle, elsewhere)
    table = tmp_path / "map.csv"
    table.write_text("label,mapped\nshrill,joy\nlow,low\n")
    with pytest.raises(DataError, match=r"map.csv: 'shrill' is 'joy', expected high, low"):
        read(tone_bundle, elsewhere, label_map=table)
    table.write_text("label,mapped\n")
    with pytest.raises(DataError, match=r"labels shrill, low, expected some of the bundle's: high, low"):
        read(tone_bundle, elsewhere, label_map=table)
    with pytest.raises(DataError, match="no fold 'speaker-9', expected one of speaker-0"):
        read(tone_bundle, elsewhere, fold="speaker-9")
    elsewhere.write_text(elsewhere.read_text().replace(",train", ",dev"))
    with pytest.raises(DataError, match="no utterance that the bundle can use in split train"):
        read(tone_bundle, elsewhere, split="train")
