"""What speaks for an answer: occlusion recomputed by hand, a known reason, attention that is a share."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import mtab
from mtab import Model
from mtab.errors import AudioError, MemoryLimitError, MtabError, TextError
from mtab.reasons import stretches
from mtab.words import without, words_of

from .conftest import seal

TEXT = "oh it is high"


def test_the_result_is_predicts(model: Model, clip: Path) -> None:
    found = model.explain(clip, TEXT)
    assert found.result == model.predict(clip, TEXT)
    assert [word.text for word in found.words] == TEXT.split()
    assert [TEXT[word.start : word.end] for word in found.words] == TEXT.split()


def test_occlusion_by_hand(model: Model, clip: Path) -> None:
    samples = model.preprocess.samples(clip)
    assert samples is not None
    found = model.explain(clip, TEXT)
    label, score = found.result.label, found.result.score
    for word in found.words:
        left = " ".join(each for each in TEXT.split() if each != word.text)
        expected = score - model.predict(samples, left).probabilities[label]
        assert word.occlusion == pytest.approx(expected, abs=1e-5)
    assert len(found.sounds) == -(-len(samples) // 4_000)
    for sound in found.sounds:
        silenced = samples.copy()
        silenced[round(sound.start * 16_000) : round(sound.end * 16_000)] = 0
        expected = score - model.predict(silenced, TEXT).probabilities[label]
        assert sound.occlusion == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def by_one_word(tone_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose answer is "high" if the word high is among the words, whatever the sound."""
    folder = Path(shutil.copytree(tone_bundle, tmp_path / "by one word"))
    tokenizer = mtab.load(tone_bundle).preprocess.tokenizer
    assert tokenizer is not None
    deciding = sorted(set(tokenizer("it is high")[0].tolist()) - set(tokenizer("it is low")[0].tolist()))[:1]
    width = json.loads((folder / "config.json").read_text())["embedding_size"]
    inputs = [
        helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["batch", "samples"]),
        helper.make_tensor_value_info("audio_lengths", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("text_lengths", TensorProto.INT64, ["batch"]),
    ]
    sizes = {"logits": 2, "probabilities": 2, "embeddings": width}
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in sizes.items()
    ]
    constants = {
        "deciding": np.array(deciding, np.int64),
        "last": np.array([1], np.int64),
        "weights": np.array([[4, 0]], np.float32),
        "bias": np.array([[0, 2]], np.float32),
        "nothing": np.zeros((2, width), np.float32),
    }
    nodes = [
        helper.make_node("Equal", ["input_ids", "deciding"], ["same"]),
        helper.make_node("Cast", ["same"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["counted", "last"], ["there"], keepdims=1),
        helper.make_node("MatMul", ["there", "weights"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("MatMul", ["logits", "nothing"], ["embeddings"]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "by one word", inputs, outputs, initializers)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        folder / "model.onnx",
    )
    for name in ("model.onnx.data", "reasons.onnx"):
        (folder / name).unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["reasons"] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    seal(folder)
    return folder


def test_a_known_reason(by_one_word: Path, clip: Path) -> None:
    model = mtab.load(by_one_word, threads=1)
    found = model.explain(clip, "so it is high today")
    assert found.result.label == "high"
    high, low = np.exp(4) / (np.exp(4) + np.exp(2)), 1 / (1 + np.exp(2))
    lost = {word.text: word.occlusion for word in found.words}
    assert lost.pop("high") == pytest.approx(high - low, abs=1e-6)
    assert [*lost.values()] == [0, 0, 0, 0]
    assert {sound.occlusion for sound in found.sounds} == {0}
    assert found.tab_attention is None
    assert {word.attention for word in found.words} == {None}


def test_attention_is_a_share(model: Model, clip: Path) -> None:
    found = model.explain(clip, TEXT, occlusion=False)
    assert found.sounds == ()
    assert {word.occlusion for word in found.words} == {None}
    assert found.times is not None
    assert found.tab_attention is not None
    assert found.speech_to_text is not None
    seconds = found.result.duration or 0
    assert len(found.times) == len(found.tab_attention) == len(found.speech_to_text)
    np.testing.assert_allclose(np.diff(found.times), 0.02)
    assert 0 < found.times[0] < found.times[-1] < seconds
    assert ((found.tab_attention > 0.45) & (found.tab_attention < 1)).all()
    # Special tokens have the rest.
    assert (found.speech_to_text.sum(axis=1) < 1).all()
    shares = [word.attention for word in found.words]
    np.testing.assert_allclose(shares, found.speech_to_text.mean(axis=0), atol=1e-6)
    assert all(0 <= (word.peak or 0) <= seconds for word in found.words)


def test_what_is_missing_has_no_attention(dropping: Model, clip: Path) -> None:
    deaf = dropping.explain(None, TEXT)
    assert (deaf.times, deaf.tab_attention, deaf.speech_to_text, deaf.sounds) == (None, None, None, ())
    assert all(word.attention is None and word.tab_attention is not None for word in deaf.words)
    blind = dropping.explain(clip)
    assert blind.words == ()
    assert blind.speech_to_text is None
    assert blind.tab_attention is not None
    assert len(blind.sounds) > 0


def test_without_the_graph_there_is_the_rest(tone_bundle: Path, tmp_path: Path, clip: Path) -> None:
    folder = Path(shutil.copytree(tone_bundle, tmp_path / "bundle"))
    (folder / "reasons.onnx").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["reasons"] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    seal(folder)
    model = mtab.load(folder, threads=1)
    found = model.explain(clip, TEXT)
    assert found.tab_attention is None
    assert all(word.occlusion is not None for word in found.words)
    with pytest.raises(MtabError) as raised:
        model.explain(clip, TEXT, occlusion=False)
    assert str(raised.value) == (
        f"{folder}/manifest.json: has no graph of reasons, and occlusion is off, expected one of the two"
    )


def test_what_cannot_be_explained(model: Model, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"none\.wav: not found"):
        model.explain(tmp_path / "none.wav", TEXT)
    with pytest.raises(TextError, match="no transcript, expected one"):
        model.explain(clip)
    with pytest.raises(AudioError, match=r"my clip: .*expected at least 400"):
        model.explain(np.zeros(10), TEXT, name="my clip")


def test_what_does_not_fit_the_memory(model: Model, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtab.memory.available_memory", lambda root=None: (10**6, "a small machine"))
    need = dataclasses.replace(model.bundle.manifest.reasons.memory, per_frame=10**9)  # pyright: ignore
    reasons = dataclasses.replace(model.bundle.manifest.reasons, memory=need)  # pyright: ignore
    manifest = dataclasses.replace(model.bundle.manifest, reasons=reasons)
    bundle = dataclasses.replace(model.bundle, manifest=manifest)
    small = Model(bundle, model.graph, model.engine, model.preprocess)
    with pytest.raises(MemoryLimitError, match=r"0-0\.wav: a clip of .* s: needs about .* GB of memory"):
        small.explain(clip, TEXT)


def test_a_transcriber(model: Model, clip: Path) -> None:
    def recognise(samples: np.ndarray) -> str:
        return TEXT

    found = model.explain(clip, transcribe=recognise)
    assert (found.result.transcript, found.result.text_from) == (TEXT, "recognise")
    expected = model.predict(clip, TEXT)
    assert found.result.probabilities == expected.probabilities
    assert [word.text for word in found.words] == TEXT.split()
    results = model.predict([clip, clip], [None, "it is low"], transcribe=recognise)
    assert [result.text_from for result in results] == ["recognise", None]
    assert results[0].probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert results[1].transcript is None


def test_the_clip_goes_with_it(model: Model, clip: Path) -> None:
    samples = model.preprocess.samples(clip)
    np.testing.assert_array_equal(model.explain(clip, TEXT).samples, samples)
    assert without("OK嗎yes", 2, 3) == "OK yes"


def test_a_model_that_only_reads_takes_a_transcriber_too(
    counting_bundle: Callable[[str], Path], clip: Path
) -> None:
    model = mtab.load(counting_bundle("text"), threads=1)
    result = model.predict(clip, transcribe=lambda samples: "it is high")
    assert (result.transcript, result.modalities, result.duration) == ("it is high", ("text",), None)
    assert result.probabilities == model.predict(None, "it is high").probabilities


def test_torch_is_not_needed(tone_bundle: Path, clip: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import mtab; "
        f"print(len(mtab.load({str(tone_bundle)!r}).explain({str(clip)!r}, {TEXT!r}).words))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr


def test_values_as_json(model: Model, clip: Path) -> None:
    values = json.loads(json.dumps(model.explain(clip, TEXT).to_dict()))
    assert set(values) == {"words", "sounds", "times", "tab_attention", "speech_to_text"}
    assert np.array(values["speech_to_text"]).shape == (len(values["times"]), 4)


@given(st.floats(0.01, 700))
def test_stretches_cover_the_clip(seconds: float) -> None:
    found = stretches(seconds)
    assert 1 <= len(found) <= 40
    assert (found[0][0], found[-1][1]) == (0, pytest.approx(seconds))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert all(b - a <= max(0.25, seconds / 40) + 1e-9 for a, b in found)


@given(st.text())
def test_words_cover_what_is_no_space_once(text: str) -> None:
    words = words_of(text)
    covered = [i for start, end in words for i in range(start, end)]
    assert covered == [i for i, character in enumerate(text) if not character.isspace()]


@given(st.lists(st.text("abcé,!'", min_size=1, max_size=6), min_size=1, max_size=6), st.data())
def test_the_text_without_a_word_keeps_the_others(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    number = data.draw(st.integers(0, len(words) - 1))
    start, end = words_of(text)[number]
    assert without(text, start, end).split() == words[:number] + words[number + 1 :]
    assert "  " not in without(text, start, end)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Oh, 学校!", ["Oh,", "学", "校", "!"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("안녕 하세요", ["안녕", "하세요"]),
        (
            "\N{GRINNING FACE} e\N{COMBINING ACUTE ACCENT}t",
            ["\N{GRINNING FACE}", "e\N{COMBINING ACUTE ACCENT}t"],
        ),
        ("  ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in words_of(text)] == words


def test_a_function_gets_the_samples_of_the_part(model: Model, clip: Path) -> None:
    heard: list[int] = []

    def recognise(samples: np.ndarray) -> str:
        heard.append(len(samples))
        return "it is high"

    [result] = model.stream([mtab.Input(clip, None, 0.0, 0.1)], transcribe=recognise)
    assert heard == [1_600]
    assert result.transcript == "it is high"
