"""The classical floors: TF-IDF on hand-made sentences, openSMILE's functionals beside the library's own."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtab.data import Corpus, Fold, Utterance
from mtab.errors import DataError
from mtab.files import cache_dir
from mtab_bench.paper.floors import FloorFeatures, classifier, functionals, standardised_by_speaker
from mtab_bench.paper.rows import ROWS, FloorRow

TFIDF = ROWS["tfidf-balanced"]
EGEMAPS = ROWS["egemaps-svm"]
assert isinstance(TFIDF, FloorRow)
assert isinstance(EGEMAPS, FloorRow)


def corpus_of(*utterances: Utterance) -> Corpus:
    labels = tuple(sorted({each.label for each in utterances}))
    return Corpus("manifest", Path("made"), labels, utterances)


def said(name: str, text: str | None, label: str) -> Utterance:
    return Utterance(name, None, text, label)


def test_words_tell_classes_apart() -> None:
    training = [said(f"t{i}", f"what a {word} day", label) for i, (word, label) in enumerate(3 * PAIRS)]
    test = (said("a", "a lovely evening", "joy"), said("b", "awful rain", "anger"))
    silent = said("c", " ", "joy")
    corpus = corpus_of(*training, *test, silent)
    features = FloorFeatures(TFIDF, corpus)
    assert [str(each) for each in features.problems] == ["c: no transcript, expected one; left out"]
    answers = features.answer(Fold("f", "f", tuple(training[:6]), tuple(training[6:]), (*test, silent)))
    assert answers == [(test[0], "joy"), (test[1], "anger")]


PAIRS = [("lovely", "joy"), ("wonderful", "joy"), ("awful", "anger"), ("horrible", "anger")]


def test_one_class_alone_is_an_error() -> None:
    training = (said("t", "one", "joy"), said("u", "two", "joy"))
    test = (said("a", "three", "anger"),)
    features = FloorFeatures(TFIDF, corpus_of(*training, *test))
    with pytest.raises(DataError, match=r"made: fold f cannot be learned by TF-IDF, .*expected two classes"):
        features.answer(Fold("f", "f", training, (), test))
    with pytest.raises(DataError, match=r"made: no test utterance that TF-IDF, .* can use in fold f"):
        features.answer(Fold("f", "f", training, (), ()))


@pytest.mark.parametrize("row", [row for row in ROWS.values() if isinstance(row, FloorRow)])
def test_classifiers_weigh_classes_as_the_row_says(row: FloorRow) -> None:
    assert classifier(row)[-1].class_weight == row.class_weight


def test_statistics_of_a_speaker() -> None:
    """Each speaker's features have zero mean and unit variance, a constant one is 0."""
    utterances = [
        Utterance(f"{speaker}{i}", None, None, "joy", speaker) for speaker in "ab" for i in range(4)
    ]
    random = np.random.default_rng(0)
    given = {each.id: random.normal(5, 3, 3) for each in utterances[1:]}
    for row in given.values():
        row[2] = 7
    found = standardised_by_speaker(utterances, given)
    assert found.keys() == given.keys()
    for speaker in "ab":
        ids = [each for each in given if each[0] == speaker]
        rows = np.array([given[each] for each in ids])[:, :2]
        expected = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        assert np.array([found[each] for each in ids])[:, :2] == pytest.approx(expected)
        assert all(found[each][2] == 0 for each in ids)


@pytest.mark.parametrize(("feature_set", "size"), [("eGeMAPSv02", 88), ("ComParE_2016", 6373)])
def test_functionals_are_opensmiles(
    feature_set: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opensmile = pytest.importorskip("opensmile")
    monkeypatch.setenv("MTAB_CACHE", str(tmp_path))
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    smile = opensmile.Smile(feature_set=getattr(opensmile.FeatureSet, feature_set))
    expected = smile.process_file(tmp_path / "a.wav").to_numpy()[0]
    found = functionals(samples, feature_set)
    assert found.shape == (size,)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
    (kept,) = (cache_dir() / "opensmile").rglob("*.npy")
    # What is kept is what is answered the next time.
    np.save(kept, np.zeros(size, np.float32))
    assert not functionals(samples, feature_set).any()


def test_a_clip_that_is_too_short_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    random = np.random.default_rng(0)
    for name, count in (("short", 300), ("long", 8000)):
        soundfile.write(tmp_path / f"{name}.wav", random.normal(0, 0.1, count), 16_000)
    clips = [Utterance(name, tmp_path / f"{name}.wav", None, "joy") for name in ("short", "long", "gone")]
    features = FloorFeatures(EGEMAPS, corpus_of(*clips))
    assert list(features.by_id) == ["long"]
    short, gone = map(str, features.problems)
    assert short.endswith("short.wav: 0.02 s are too few for openSMILE's functionals; short left out")
    assert "gone.wav: " in gone
