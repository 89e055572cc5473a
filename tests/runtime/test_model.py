"""The model: one answer for an utterance, and PyTorch's; what is wanted of it; threads and processes."""

import dataclasses
import math
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import mtab
from mtab import Failure, Input, Limits, Model, Result
from mtab.data import Corpus
from mtab.errors import BundleError, EngineError, MtabError
from mtab.preprocess import Preprocessor
from mtab_train.checkpoint import load_model

from .results import rows, same, tone


def pytorch(run: Path, inputs: Sequence[tuple[Any, str | None]]) -> np.ndarray:
    """Each utterance alone through the checkpoint: (utterances, classes)."""
    network, preprocess = load_model(run), Preprocessor.from_folder(run)
    answers = []
    for audio, text in inputs:
        arrays = preprocess.collate([preprocess(audio, text)])
        with torch.inference_mode():
            output = network(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        answers.append(output.probabilities[0].numpy())
    return np.array(answers)


# Answers


def test_one_utterance(model: Model, tones: Corpus, clips: list[Path]) -> None:
    first = tones.utterances[0]
    result = model.predict(clips[0], first.text)
    assert isinstance(result, Result)
    assert result.label == first.label == "high"
    assert list(result.probabilities) == ["high", "low"]
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert result.score == max(result.probabilities.values())
    assert result.duration == pytest.approx(soundfile.info(clips[0]).duration)
    assert result.modalities == ("audio", "text")
    assert result.text_truncated is False
    assert model.predict(str(clips[0]), text=first.text) == result


def test_it_tells_the_tones_apart(model: Model, tones: Corpus, clips: list[Path], texts: list[str]) -> None:
    results = model.predict(clips, texts)
    assert [result.label for result in results] == [utterance.label for utterance in tones.utterances]


def test_it_answers_as_pytorch_does(
    model: Model, tone_run: Path, clips: list[Path], texts: list[str]
) -> None:
    expected = pytorch(tone_run, list(zip(clips, texts, strict=True)))
    np.testing.assert_allclose(rows(model.predict(clips, texts)), expected, rtol=0, atol=1e-5)


def test_without_a_modality_it_answers_as_pytorch_does(
    dropping: Model, drop_run: Path, clips: list[Path], texts: list[str]
) -> None:
    inputs: list[tuple[Any, str | None]] = [
        pair
        for clip, text in zip(clips[:6], texts[:6], strict=True)
        for pair in ((clip, text), (clip, None), (None, text))
    ]
    audio, text = map(list, zip(*inputs, strict=True))
    results = dropping.predict(audio, text, batch_size=5)
    np.testing.assert_allclose(rows(results), pytorch(drop_run, inputs), rtol=0, atol=1e-5)
    assert [result.modalities for result in results] == [("audio", "text"), ("audio",), ("text",)] * 6
    assert [result.duration is None for result in results] == [False, False, True] * 6


def test_a_batch_has_the_outputs_of_the_graph(model: Model, clips: list[Path], texts: list[str]) -> None:
    features = [model.read(clip, text) for clip, text in zip(clips[:3], texts[:3], strict=True)]
    answers = model.run(features)
    shapes = {name: (array.shape, array.dtype.name) for name, array in answers.items()}
    assert shapes == {
        "logits": ((3, 2), "float32"),
        "probabilities": ((3, 2), "float32"),
        "embeddings": ((3, 32), "float32"),
    }
    shifted = np.exp(answers["logits"].astype(np.float64))
    np.testing.assert_allclose(
        answers["probabilities"], shifted / shifted.sum(axis=1, keepdims=True), atol=1e-6
    )
    np.testing.assert_allclose(rows(model.answer(features)), answers["probabilities"], atol=1e-5)


def test_a_model_that_can_be_worked_out(counting_bundle: Callable[[str], Path]) -> None:
    """Its logits are seconds, or tokens, and 0."""
    audio = mtab.load(counting_bundle("audio"), threads=1)
    for seconds, result in zip(
        (0.5, 3.0, 0.1), audio.predict([tone(0.5), tone(3), tone(0.1)], batch_size=2), strict=True
    ):
        assert result.duration == seconds
        assert result.probabilities["high"] == pytest.approx(1 / (1 + math.exp(-seconds)), abs=1e-6)
        assert result.label == "high"
    text = mtab.load(counting_bundle("text"), threads=1)
    for sentence in ("it is high", "a"):
        result = text.predict(None, sentence)
        ids, _ = text.preprocess.tokenizer(sentence)  # pyright: ignore[reportOptionalCall]
        assert result.probabilities["low"] == pytest.approx(1 / (1 + math.exp(len(ids))), abs=1e-6)
        assert (result.duration, result.modalities) == (None, ("text",))


# What is wanted of an answer


def test_the_likeliest_classes(model: Model, clips: list[Path], texts: list[str]) -> None:
    for whole, first, all_ in zip(
        model.predict(clips, texts),
        model.predict(clips, texts, top_k=1),
        model.predict(clips, texts, top_k=9),
        strict=True,
    ):
        assert first.probabilities == {whole.label: pytest.approx(whole.score, abs=1e-5)}
        assert list(all_.probabilities) == sorted(
            whole.probabilities, key=lambda each: -whole.probabilities[each]
        )
        assert all_.probabilities == pytest.approx(whole.probabilities, abs=1e-5)
        assert first.label == all_.label == whole.label


def test_an_answer_that_is_not_sure(model: Model, clips: list[Path], texts: list[str]) -> None:
    results = model.predict(clips, texts)
    threshold = sorted(result.score for result in results)[len(results) // 2]
    for result, found in zip(results, model.predict(clips, texts, abstain=threshold), strict=True):
        assert found.label == (result.label if result.score >= threshold else "unknown")
        assert found.probabilities == result.probabilities
        assert found.score == result.score
    assert {each.label for each in model.predict(clips, texts, abstain=1.0)} == {"unknown"}
    assert model.predict(clips, texts, abstain=0.0) == results
    assert model.predict(clips[0], texts[0], abstain=1.0, top_k=1).label == "unknown"


def test_embeddings(model: Model, clips: list[Path], texts: list[str]) -> None:
    """Those of the graph, the same in a batch as alone, and owned by their result."""
    results = model.predict(clips, texts, return_embedding=True)
    for clip, text, result in zip(clips, texts, results, strict=True):
        expected = model.run([model.read(clip, text)])["embeddings"][0]
        assert result.embedding is not None
        assert (result.embedding.dtype, result.embedding.shape) == (np.float32, expected.shape)
        assert result.embedding.base is None
        np.testing.assert_allclose(result.embedding, expected, rtol=1e-4, atol=1e-4)
    assert results == model.predict(clips, texts)
    assert "embedding" not in repr(results[0])
    assert model.predict(clips[0], texts[0]).embedding is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is 0, expected 1 or more"),
        ({"abstain": 1.5}, "abstain is 1.5, expected a probability from 0 to 1"),
        ({"abstain": math.nan}, "abstain is nan, expected a probability from 0 to 1"),
        ({"on_error": "fail"}, "on_error is 'fail', expected 'raise' or 'skip'"),
        ({"batch_seconds": 0}, "batches of 0 seconds, expected more than 0"),
    ],
)
def test_what_cannot_be_wanted(model: Model, options: dict[str, Any], message: str) -> None:
    for call in (lambda: model.predict([], **options), lambda: model.stream([], **options)):
        with pytest.raises(MtabError) as caught:
            call()
        assert str(caught.value) == message


# The rest


def test_from_many_threads_at_once(model: Model, clips: list[Path], texts: list[str]) -> None:
    pairs = list(zip(clips, texts, strict=True))
    alone = [model.predict(clip, text) for clip, text in pairs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda pair: model.predict(*pair), pairs * 3))
    assert together == alone * 3


def test_threads_change_no_answer(
    tone_bundle: Path, model: Model, clips: list[Path], texts: list[str]
) -> None:
    same(mtab.load(tone_bundle, threads=2).predict(clips, texts), model.predict(clips, texts))


def test_its_description(model: Model, tone_bundle: Path) -> None:
    weights = sum((tone_bundle / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    assert repr(model) == (
        f"Model({str(tone_bundle)!r}, engine='onnxruntime', device='cpu', precision='fp32', "
        "streams=1, batch_size=8, modalities='audio+text', "
        "inputs='input_values, audio_lengths, input_ids, text_lengths', "
        f"labels='high, low', size='{weights / 1e6:.1f} MB')"
    )
    assert model.labels == ("high", "low")


def test_a_result_is_a_value() -> None:
    result = Result("a", {"a": 0.75, "b": 0.25}, 1.0, ("audio",))
    assert result.score == 0.75
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.label = "b"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_device_that_is_not_here(tone_bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"^device 'tpu', expected cpu, cuda or cuda:N with engine "):
        mtab.load(tone_bundle, device="tpu")


def test_the_package_names_what_it_offers() -> None:
    assert mtab.Model is Model
    assert mtab.MtabError is MtabError
    assert {getattr(mtab, name) for name in mtab.__all__} >= {Failure, Input, Limits, Model, Result}
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        mtab.predict  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_pickled_model_is_the_same_model(tone_bundle: Path, clips: list[Path]) -> None:
    model = mtab.load(tone_bundle, "cpu", threads=1)
    model.limits = Limits(seconds=7)
    copy = pickle.loads(pickle.dumps(model))
    assert repr(copy) == repr(model)
    assert copy.limits == model.limits
    same([copy.predict(clips[0], "a")], [model.predict(clips[0], "a")])


def test_a_pickle_of_a_bundle_that_is_another_now(copied: Path, change: Callable[..., None]) -> None:
    pickled = pickle.dumps(mtab.load(copied, threads=1))
    change(copied, "preprocessor_config.json", lambda values: values.update({"min_samples": 401}))
    with pytest.raises(BundleError, match="changed since it was opened, expected the same bundle"):
        pickle.loads(pickled)


def test_a_spawned_process_takes_a_model(model: Model) -> None:
    audio = [tone(0.1), tone(0.2)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(model.predict, audio, ["a", "b"]))
    same(found, model.predict(audio, ["a", "b"]))


def test_the_api_is_listed() -> None:
    assert set(mtab.__all__) <= set(dir(mtab))
    for name in mtab.__all__:
        assert getattr(mtab, name) is not None
    assert mtab.errors.QueueFullError is mtab.QueueFullError
