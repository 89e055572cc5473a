"""Folds: whatever the corpus, a partition; nobody and nothing in two parts; the same for the same seed."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtab.data import Corpus, Fold, Utterance, find_fold, fold_warnings, make_folds
from mtab.errors import DataError

SPLITS = ("train", "dev", "test")


def corpus_of(utterances: list[Utterance], name: str = "manifest") -> Corpus:
    return Corpus(name, Path("corpus"), ("x", "y", "z"), tuple(utterances))


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """2 to 120 utterances; speakers belong to one session and dialogues to one session, as in life."""
    sessions = draw(st.integers(1, 5))
    size = draw(st.integers(2, 120))
    speakers = draw(st.lists(st.integers(0, 9), min_size=size, max_size=size))
    dialogues = draw(st.lists(st.integers(0, 19), min_size=size, max_size=size))
    labels = draw(st.lists(st.sampled_from("xyz"), min_size=size, max_size=size))
    return corpus_of(
        [
            Utterance(
                id=f"u{i}",
                audio=None,
                text="Hi",
                label=label,
                speaker=f"s{speaker}",
                session=str(speaker % sessions),
                dialogue=f"{speaker % sessions}-{dialogue}",
            )
            for i, (speaker, dialogue, label) in enumerate(zip(speakers, dialogues, labels, strict=True))
        ]
    )


def parts(fold: Fold) -> tuple[set[str], set[str], set[str]]:
    train, validation, test = ({u.id for u in part} for part in (fold.train, fold.validation, fold.test))
    return train, validation, test


def field(utterances: tuple[Utterance, ...], name: str) -> set[str]:
    return {getattr(utterance, name) for utterance in utterances}


def usable_folds(corpus: Corpus, scheme: str, seed: int) -> list[Fold]:
    try:
        return make_folds(corpus, scheme, seed)
    except DataError as error:
        assert "makes one group" in str(error) or "expected 2 to that many" in str(error)  # noqa: PT017
        return []


@given(
    corpora(),
    st.sampled_from(
        ["session", "speaker", "speaker-pair", "speaker:3", "speaker-group:3", "random:2", "random:7"]
    ),
    st.integers(),
)
def test_each_fold_is_a_partition_and_the_tests_are_one_too(corpus: Corpus, scheme: str, seed: int) -> None:
    folds = usable_folds(corpus, scheme, seed)
    every = {utterance.id for utterance in corpus.utterances}
    for fold in folds:
        train, validation, test = parts(fold)
        assert train | validation | test == every
        assert len(train) + len(validation) + len(test) == len(every)
        assert train
        assert test
        # Half at most; some, if there is anything to divide.
        assert 2 * len(validation) <= len(train) + len(validation)
        assert validation or len(train) == 1
    if folds:
        assert Counter(u.id for fold in folds for u in fold.test) == Counter(every)
        assert len({fold.name for fold in folds}) == len(folds)


@given(corpora(), st.integers())
def test_the_held_out_are_strangers(corpus: Corpus, seed: int) -> None:
    for scheme, group in [("session", "session"), ("speaker", "speaker"), ("speaker-pair", "speaker")]:
        for fold in usable_folds(corpus, scheme, seed):
            assert field(fold.test, group).isdisjoint(field(fold.train + fold.validation, group))
            if len(field(fold.train + fold.validation, "speaker")) < 4:
                continue
            shared = field(fold.train, "speaker") & field(fold.validation, "speaker")
            sizes = Counter(utterance.speaker for utterance in fold.train + fold.validation)
            total = sum(sizes.values())
            # Only where one speaker has most of the utterances can whole speakers not be told apart.
            assert not shared or max(sizes.values()) > 0.4 * total
            if not shared:
                size = len(fold.validation)
                assert size >= 0.1 * total
                # None of its speakers is superfluous.
                assert all(size - sizes[s] < 0.1 * total for s in field(fold.validation, "speaker"))


@given(
    corpora(), st.sampled_from(["session", "speaker", "speaker-pair", "speaker:2", "random:3"]), st.integers()
)
def test_the_same_seed_gives_the_same_folds(corpus: Corpus, scheme: str, seed: int) -> None:
    assert usable_folds(corpus, scheme, seed) == usable_folds(corpus, scheme, seed)


def speakers(*names: str, each: int = 10, **fields: str) -> list[Utterance]:
    return [
        Utterance(id=f"{name}{i}", audio=None, text="Hi", label="xyz"[i % 3], speaker=name, **fields)
        for name in names
        for i in range(each)
    ]


def test_another_seed_draws_other_validation_speakers() -> None:
    corpus = corpus_of(speakers(*"abcdefgh"))
    drawn = {
        tuple(sorted(field(make_folds(corpus, "speaker", seed)[0].validation, "speaker")))
        for seed in range(20)
    }
    assert len(drawn) > 3


def test_names() -> None:
    corpus = corpus_of(speakers("08", "03", "10"))
    assert [fold.name for fold in make_folds(corpus, "speaker")] == ["speaker-03", "speaker-08", "speaker-10"]
    assert [fold.name for fold in make_folds(corpus, "speaker-pair")] == ["speakers-03+08", "speakers-10"]
    assert [fold.name for fold in make_folds(corpus, "random:2")] == ["random-1", "random-2"]


def test_groups_of_speakers_are_even_and_strangers() -> None:
    utterances = [each for i in range(17) for each in speakers(f"{i:02}", each=5 + i)]
    folds = make_folds(corpus_of(utterances), "speaker:5")
    assert [fold.name for fold in folds] == [f"speakers-{i}-of-5" for i in range(1, 6)]
    assert sorted(u.id for fold in folds for u in fold.test) == sorted(u.id for u in utterances)
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 21  # of 221, no more than the largest speaker
    for fold in folds:
        assert field(fold.test, "speaker").isdisjoint(field(fold.train + fold.validation, "speaker"))
    assert folds == make_folds(corpus_of(utterances), "speaker:5", seed=0)


def test_speaker_groups_are_neighbours() -> None:
    """RAVDESS's 24 actors in five groups: odd ones are men, even ones women."""
    corpus = corpus_of(speakers(*(f"{i:02}" for i in range(24, 0, -1)), each=3))
    folds = make_folds(corpus, "speaker-group:5")
    assert [fold.name for fold in folds] == [f"speakers-{i}-of-5" for i in range(1, 6)]
    groups = [sorted(map(int, field(fold.test, "speaker"))) for fold in folds]
    assert groups == [
        [1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10],
        [11, 12, 13, 14, 15],
        [16, 17, 18, 19, 20],
        [21, 22, 23, 24],
    ]
    assert all(abs(sum(-1 if i % 2 else 1 for i in group)) <= 1 for group in groups)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=8, unique=True))
def test_any_name_gives_one_safe_folder_of_its_own(names: list[str]) -> None:
    folds = make_folds(corpus_of(speakers(*names, each=2)), "speaker")
    assert {fold.name for fold in folds} == {f"speaker-{name}" for name in names}
    for fold in folds:
        assert Path(fold.folder).name == fold.folder
        assert fold.folder.startswith("speaker-")
        assert len(fold.folder.encode()) < 200
        assert fold.folder.isprintable()
    assert len({fold.folder.casefold() for fold in folds}) == len(names)


def test_folders_keep_plain_names_and_find_fold_takes_real_ones() -> None:
    corpus = corpus_of(speakers("anna", "../x", "Ben", "ben", "a/b", "ö" * 300, each=2))
    folders = {fold.name.removeprefix("speaker-"): fold.folder for fold in make_folds(corpus, "speaker")}
    assert folders["anna"] == "speaker-anna"
    assert folders["../x"].startswith("speaker-.._x-")
    assert folders["Ben"].startswith("speaker-Ben-")
    assert folders["ben"].startswith("speaker-ben-")
    assert find_fold(corpus, "speaker", "speaker-../x").folder == folders["../x"]


def test_warnings_say_who_is_mixed_and_what_is_lacking() -> None:
    mixed = corpus_of(speakers(*"abcde"))
    (warning,) = fold_warnings(mixed, "random:5", make_folds(mixed, "random:5"))
    assert "5 of 5 speakers are in training and test" in warning
    assert "--folds speaker" in warning
    assert fold_warnings(mixed, "speaker", make_folds(mixed, "speaker")) == []
    lone = corpus_of([Utterance(f"{s}", None, "Hi", label, speaker=s) for s, label in ("ax", "by", "cz")])
    (fold, *_) = folds = make_folds(lone, "speaker")
    warnings = fold_warnings(lone, "speaker", folds)
    assert fold.name == "speaker-a"
    assert any("no training utterance of x in speaker-a" in warning for warning in warnings)
    few = corpus_of(speakers("a", "b", each=1))
    warnings = fold_warnings(few, "speaker", make_folds(few, "speaker"))
    assert any("no validation utterance in speaker-a, speaker-b" in warning for warning in warnings)


def test_few_speakers_leave_whole_dialogues_for_validation() -> None:
    utterances = [
        Utterance(f"{s}{d}{i}", None, "Hi", "x", speaker=s, session=s, dialogue=f"{s}{d}")
        for s in "abc"
        for d in range(10)
        for i in range(4)
    ]
    for fold in make_folds(corpus_of(utterances), "session"):
        assert len(field(fold.validation, "dialogue")) == 2
        assert field(fold.validation, "dialogue").isdisjoint(field(fold.train, "dialogue"))


def test_random_parts_are_stratified() -> None:
    corpus = corpus_of([Utterance(f"u{i}", None, "Hi", "xxxy"[i % 4]) for i in range(200)])
    for fold in make_folds(corpus, "random:5"):
        assert Counter(u.label for u in fold.test) == {"x": 30, "y": 10}
        assert Counter(u.label for u in fold.validation) == {"x": 12, "y": 4}


def test_official_without_dev_draws_validation() -> None:
    corpus = corpus_of(speakers(*"abcde", split="train") + speakers("t", split="test"))
    (fold,) = make_folds(corpus, "official")
    assert field(fold.test, "split") == {"test"}
    assert len(field(fold.validation, "speaker")) == 1
    assert len(fold.train) == 40


def test_official_dev_tests_the_dev_split_and_says_so() -> None:
    both = speakers(*"abcde", split="train") + speakers("d", split="dev")
    corpus = corpus_of(both + speakers("t", split="test"))
    (fold,) = folds = make_folds(corpus, "official-dev")
    assert (fold.name, fold.folder) == ("official-dev", "official-dev")
    assert field(fold.test, "split") == {"dev"}
    assert field(fold.train + fold.validation, "split") == {"train"}
    assert (len(fold.train), len(field(fold.validation, "speaker"))) == (40, 1)
    (warning,) = fold_warnings(corpus, "official-dev", folds)
    assert "official-dev: tested on the corpus's dev split" in warning
    # Without a test split the official scheme names the other one.
    with pytest.raises(DataError, match="split test, expected some for official; see --folds official-dev"):
        make_folds(corpus_of(both), "official")


@pytest.mark.parametrize(
    ("utterances", "scheme", "message"),
    [
        (speakers("a", "b"), "session", "20 of 20 utterances have no session"),
        (speakers("a", "b"), "official", "20 of 20 utterances have no split"),
        (speakers("a", "b", split="train"), "official", "split test"),
        (speakers("a", "b", split="test"), "official", "split train"),
        (speakers("a", "b", split="train"), "official-dev", "split dev, expected some for official-dev$"),
        (speakers("a"), "speaker", "one group"),
        (speakers("a", "b"), "speaker-pair", "one group"),
        (speakers("a", "b"), "random:1", "expected 2"),
        (speakers("a", "b"), "random:21", "expected 2"),
        (speakers("a", "b"), "speaker:1", "speaker:1 of 2 speakers, expected 2 to that many"),
        (speakers("a", "b"), "speaker:3", "speaker:3 of 2 speakers"),
        (speakers("a", "b"), "speaker:x", "unknown folds"),
        (speakers("a", "b"), "speaker-group:3", "speaker-group:3 of 2 speakers, expected 2 to that many"),
        (speakers("a", "b"), "random", "unknown folds 'random'"),
        (speakers("a", "b"), "leave-one-out", "unknown folds"),
        ([], "speaker", "no usable utterance"),
    ],
)
def test_schemes_that_do_not_fit(utterances: list[Utterance], scheme: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_folds(corpus_of(utterances), scheme)
