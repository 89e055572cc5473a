"""The embedded corpus: real layouts, the same bytes for a seed, the label in words and prosody alone."""

import csv
import hashlib
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from mtab.data import SYNTHETIC_MARKER, Corpus, read_corpus, validate
from mtab.errors import MtabError
from mtab_bench.synth_floor import accuracies
from mtab_train import espeak
from mtab_train.sentences import PLAIN, SLOTS, TELLING
from mtab_train.synth import LAYOUTS, MIN_UTTERANCES, PROSODY, VOICES, synth, synthesize

pytest.importorskip("espeakng_loader", reason="espeakng_loader speaks the corpus: pip install 'mtab[dev]'")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    root = tmp_path_factory.mktemp("synth")
    for layout in LAYOUTS:
        synthesize(root / layout, layout, utterances=140, seed=3)
    return {layout: read_corpus(layout, root / layout) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_reader_of_the_real_corpus_finds_everything(corpora: dict[str, Corpus], layout: str) -> None:
    corpus = validate(corpora[layout])
    assert corpus.problems == ()
    assert corpus.excluded == {}
    assert corpus.synthetic
    assert corpus.title.endswith("synthetic speech")
    assert len(corpus.utterances) == 140
    counts = Counter(utterance.label for utterance in corpus.utterances)
    assert set(counts) == set(corpus.labels)
    assert max(counts.values()) - min(counts.values()) <= 2
    assert len({utterance.speaker for utterance in corpus.utterances}) == len(VOICES)
    assert all(utterance.text for utterance in corpus.utterances)


@pytest.mark.parametrize("layout", ["iemocap", "manifest"])
def test_five_sessions_of_two_voices_with_every_emotion(corpora: dict[str, Corpus], layout: str) -> None:
    speakers: dict[str | None, set[str | None]] = {}
    for utterance in corpora[layout].utterances:
        speakers.setdefault(utterance.session, set()).add(utterance.speaker)
    assert sorted(map(str, speakers)) == ["1", "2", "3", "4", "5"]
    assert {len(pair) for pair in speakers.values()} == {2}
    spoken = Counter((utterance.speaker, utterance.label) for utterance in corpora[layout].utterances)
    assert len(spoken) == 40
    assert set(spoken.values()) <= {3, 4}


def test_iemocap_has_dialogues_in_each_session_and_times_as_long_as_its_clips(
    corpora: dict[str, Corpus],
) -> None:
    utterances = corpora["iemocap"].utterances
    dialogues = {(utterance.session, utterance.dialogue) for utterance in utterances}
    assert set(Counter(session for session, _ in dialogues).values()) == {2}
    for utterance in utterances:
        assert utterance.audio is not None
        assert utterance.start is not None
        assert utterance.end is not None
        assert utterance.end - utterance.start == pytest.approx(
            soundfile.info(utterance.audio).duration, abs=1e-3
        )
        assert utterance.valence is not None
        assert 1 <= utterance.valence <= 5


def test_meld_has_the_columns_and_three_splits(corpora: dict[str, Corpus]) -> None:
    corpus = corpora["meld"]
    counts = Counter(utterance.split for utterance in corpus.utterances)
    assert counts["train"] > counts["test"] >= counts["dev"] > 0
    with (corpus.root / "train_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    assert ",".join(header) == (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clips_are_16_khz_mono_16_bit_and_unclipped(corpora: dict[str, Corpus], layout: str) -> None:
    for utterance in corpora[layout].utterances:
        assert utterance.audio is not None
        info = soundfile.info(utterance.audio)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 0.5 < info.duration < 5
        samples = soundfile.read(utterance.audio)[0]
        assert 0.01 < np.abs(samples).max() < 1


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("first", 7), ("other", 8), ("second", 7)):
        synthesize(tmp_path / name, "iemocap", 20, seed)
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second")
    assert hashes(tmp_path / "first") != hashes(tmp_path / "other")


@pytest.mark.parametrize("voice", [voice.name for voice in VOICES])
def test_what_was_said_before_does_not_change_what_is_said(voice: str) -> None:
    def say() -> np.ndarray:
        return espeak.speak("It is about the letter.", voice, 50, 60, 180)[0]

    first = say()
    for text in ("Yes.", "So you met Clara at noon, and then?"):
        espeak.speak(text, "en-us+f5", 90, 80, 220)
        np.testing.assert_array_equal(say(), first)


def test_breath_does_not_depend_on_the_clock() -> None:
    first = espeak.speak("So you met Clara at noon.", "en-us+f2", 50, 60, 180)[0]
    time.sleep(1.1)
    np.testing.assert_array_equal(
        espeak.speak("So you met Clara at noon.", "en-us+f2", 50, 60, 180)[0], first
    )


def test_pitch_range_and_rate_do_what_they_say() -> None:
    def seconds(rate: int) -> float:
        wave, sample_rate = espeak.speak("We talked about the piano.", "en-us+m3", 50, 50, rate)
        return len(wave) / sample_rate

    assert seconds(120) > 1.6 * seconds(240)


def test_an_unknown_voice_is_an_error_and_not_another_voice() -> None:
    with pytest.raises(MtabError, match="no voice 'en-gb'"):
        espeak.speak("Yes.", "en-gb", 50, 50, 170)


def test_sentences_of_every_emotion_are_as_long_as_plain_ones() -> None:
    slots = {
        slot: float(np.mean([len(words.split()) for words in choices])) for slot, choices in SLOTS.items()
    }

    def words(templates: tuple[str, ...]) -> float:
        """The mean number, slots filled."""
        parts = [part for template in templates for part in template.split()]
        return sum(slots.get(part.strip("{}.,!?"), 1) for part in parts) / len(templates)

    for emotion, templates in TELLING.items():
        assert words(templates) == pytest.approx(words(PLAIN), abs=0.5), emotion
    assert not set(PLAIN) & {template for templates in TELLING.values() for template in templates}
    assert TELLING.keys() == PROSODY.keys()


def test_only_words_and_prosody_tell_the_label_and_together_they_tell_most(tmp_path: Path) -> None:
    synthesize(tmp_path / "corpus", "iemocap", 400, seed=0)
    best = {
        name: max(scores.values())
        for name, scores in accuracies(read_corpus("iemocap", tmp_path / "corpus")).items()
    }
    assert best["duration and level"] < 0.45
    assert best["who, when, silences"] < 0.40
    assert 0.55 < best["words"] < 0.75
    assert 0.45 < best["prosody"] < 0.75
    assert best["words and prosody"] > max(best["words"], best["prosody"]) + 0.08


def test_the_command_writes_a_marked_corpus_and_refuses_to_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    arguments = ["--layout", "manifest", "--out", str(out), "--utterances", "20", "--seed", "1"]
    done = CliRunner().invoke(synth, arguments)
    assert done.exit_code == 0, done.output
    marker = (out / SYNTHETIC_MARKER).read_text(encoding="utf-8")
    assert "synthetic: 20 utterances" in marker
    assert "seed 1" in marker
    assert "espeak-ng 1." in marker

    before = hashes(out)
    refused = CliRunner().invoke(synth, arguments)
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "--overwrite" in refused.stderr
    assert hashes(out) == before
    assert CliRunner().invoke(synth, [*arguments, "--overwrite"]).exit_code == 0
    assert hashes(out) == before


def test_too_few_utterances_are_wrong_use_and_leave_nothing(tmp_path: Path) -> None:
    few = str(MIN_UTTERANCES - 1)
    arguments = ["--layout", "meld", "--out", str(tmp_path / "corpus"), "--utterances", few]
    assert CliRunner().invoke(synth, arguments).exit_code == 2
    with pytest.raises(MtabError, match="expected 20 or more"):
        synthesize(tmp_path / "corpus", "meld", MIN_UTTERANCES - 1, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_without_espeak_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    result = CliRunner().invoke(synth, ["--layout", "iemocap", "--out", str(tmp_path / "corpus")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "pip install 'mtab[dev]'" in result.stderr
    assert list(tmp_path.iterdir()) == []
