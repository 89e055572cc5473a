"""``mtab-bench invariance``: whether an answer depends on the batch that it was computed in."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from mtab.audio import SAMPLE_RATE
from mtab.bundle import Bundle
from mtab.errors import EngineError
from mtab.graphs import BUDGETS
from mtab.machine import describe_machine, usable_cores
from mtab.preprocess import Features, Preprocessor
from mtab.synthetic_inputs import speech, transcript
from mtab_bench.backends import REFERENCE, Run, bundle_backends, open_backend
from mtab_bench.reference import absent_engines, entry, reference_model, require_one
from mtab_bench.test_set import protocol, read_test_set

if TYPE_CHECKING:
    from mtab_train.model import MulTAB

RANDOM, ORDERS, PADDING = WAYS = ("in random batches", "in other orders", "with more padding")
GROUPS = ("max_difference", "ways", "labels_changed", "budget")

Batches = list[tuple[int, ...]]
"""The numbers of the utterances in each batch."""
Answer = Callable[[Sequence[Features]], np.ndarray]
"""A padded batch of B utterances to its probabilities (B, classes)."""


def measure_invariance(
    bundle: Bundle,
    dataset: str | None = None,
    data_dir: Path | None = None,
    checkpoint: Path | None = None,
    utterances: int = 32,
    batch_size: int = 8,
    seed: int = 0,
    threads: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Ask every engine for the same utterances alone and in batches; the report's section ``invariance``.

    The utterances are drawn evenly from the test utterances of the fold that ``bundle`` was trained for, or
    made up by ``seed`` where ``dataset`` is None. Beside the bundle's engines stand PyTorch, and the audio
    encoder's weights in the published implementation; both are left out, with the reason, where PyTorch or
    the ``checkpoint`` is missing.

    Raises `MtabError` if the bundle or the corpus cannot be used, or no engine can be had.
    """
    threads = threads or usable_cores()
    reference, model, skipped = reference_model(bundle, checkpoint, threads)
    preprocess = Preprocessor.from_folder(bundle.folder)
    if dataset is None:
        features = made_up(preprocess, bundle.config.supported_modalities, utterances, seed)
        described = _made_up_protocol(bundle, features, seed)
    else:
        test = read_test_set(bundle, preprocess, dataset, data_dir, columns)
        count = len(test.features)
        drawn = np.linspace(0, count - 1, min(count, utterances)).round().astype(int).tolist()
        features = [test.features[i] for i in drawn]
        described = protocol(bundle, test, drawn)

    engines: dict[str, Any] = {REFERENCE: entry(reference, skipped) | dict.fromkeys(GROUPS)}
    for way in [*([] if model is None else [reference]), *bundle_backends(bundle, threads)]:
        found = engines[way.key] = entry(way) | dict.fromkeys(GROUPS)
        try:
            run = open_backend(way, model)
            moved = movement(_answer(run, preprocess), features, batch_size, seed, preprocess, way.title)
        except EngineError as error:
            found["skipped"] = str(error)
            continue
        found |= moved | {"budget": BUDGETS[way.precision].max_difference}
    require_one(bundle, engines)
    engines |= {key: absent | dict.fromkeys(GROUPS) for key, absent in absent_engines().items()}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "protocol": described,
        "batch_size": batch_size,
        "seed": seed,
        "engines": engines,
        "published": None
        if model is None or model.audio_encoder is None
        else published(model, preprocess, features, batch_size, seed),
    }


def movement(
    answer: Answer,
    features: Sequence[Features],
    batch_size: int,
    seed: int,
    preprocess: Preprocessor,
    title: str | None = None,
) -> dict[str, Any]:
    """How far probabilities move from those of each utterance alone, the largest for each of `WAYS`.

    ``labels_changed`` are the utterances that get another label in at least one of them.
    """
    ways = batches_of(len(features), batch_size, seed)
    companion = longest_companion(features, preprocess.config.max_tokens)
    with tqdm(total=4 * len(features), desc=title, unit="utt", disable=None, leave=False) as bar:

        def ask(batches: Batches, beside: Sequence[Features] = ()) -> np.ndarray:
            found: dict[int, np.ndarray] = {}
            for batch in batches:
                answers = answer([*(features[i] for i in batch), *beside])
                found.update(zip(batch, answers[: len(batch)], strict=True))
                bar.update(len(batch))
            return np.stack([found[i] for i in range(len(features))]).astype(np.float64)

        alone = ask([(i,) for i in range(len(features))])
        answers = {way: ask(ways[way], [companion] if way == PADDING else ()) for way in WAYS}
    changed = [found.argmax(axis=1) != alone.argmax(axis=1) for found in answers.values()]
    moved = {way: float(np.abs(found - alone).max()) for way, found in answers.items()}
    return {
        "max_difference": max(moved.values()),
        "ways": moved,
        "labels_changed": int(np.any(changed, axis=0).sum()),
    }


def batches_of(count: int, batch_size: int, seed: int) -> dict[str, Batches]:
    """Which of ``count`` utterances share a batch, by way: drawn by ``seed``, and the same in other orders.

    With more padding there is room for one more in each batch.
    """
    random = np.random.default_rng(seed)

    def cut(order: list[int], size: int) -> Batches:
        return [tuple(order[first : first + size]) for first in range(0, count, size)]

    drawn = cut(random.permutation(count).tolist(), batch_size)
    turned = [tuple(random.permutation(batch).tolist()) for batch in drawn]
    padded = cut(random.permutation(count).tolist(), max(1, batch_size - 1))
    return {RANDOM: drawn, ORDERS: turned, PADDING: padded}


def longest_companion(features: Sequence[Features], max_tokens: int) -> Features:
    """An utterance twice as long as the longest, in speech and in text up to ``max_tokens``."""
    speech = max((f.input_values for f in features if f.input_values is not None), key=len, default=None)
    ids = max((f.input_ids for f in features if f.input_ids is not None), key=len, default=None)
    speech = None if speech is None else np.tile(speech, 2)
    seconds = None if speech is None else len(speech) / SAMPLE_RATE
    return Features(speech, None if ids is None else np.tile(ids, 2)[:max_tokens], seconds, False)


def made_up(
    preprocess: Preprocessor, supported: Sequence[tuple[str, ...]], count: int, seed: int
) -> list[Features]:
    """Noise of 0.3 to 6 s with words, in turn of each combination of modalities."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        samples = speech(random, random.uniform(0.3, 6))
        text = transcript(random, int(random.integers(1, 25)))
        modalities = supported[number % len(supported)]
        made.append(
            preprocess(samples if "audio" in modalities else None, text if "text" in modalities else None)
        )
    return made


def published(
    model: "MulTAB", preprocess: Preprocessor, features: Sequence[Features], batch_size: int, seed: int
) -> dict[str, Any]:
    """What padding does to the audio encoder's weights in transformers' own forward pass.

    ``hidden_states`` are the largest change of a hidden state, in random batches, as a share of the largest
    hidden state of the utterance alone, with and without the attention mask that transformers offers; the
    rest is `movement` of the whole model where that pass, without a mask, is its audio encoder.
    """
    import torch

    encoder = model.audio_encoder
    assert encoder is not None
    backbone = encoder.backbone

    def states(inputs: dict[str, np.ndarray], masked: bool) -> tuple[torch.Tensor, torch.Tensor]:
        values, lengths = (torch.from_numpy(inputs[name]) for name in ("input_values", "audio_lengths"))
        mask = (torch.arange(values.shape[1]) < lengths[:, None]).long() if masked else None
        return backbone(values, attention_mask=mask).last_hidden_state, encoder.frame_lengths(lengths)

    def answer(batch: Sequence[Features]) -> np.ndarray:
        inputs = preprocess.collate(batch)
        with torch.inference_mode():
            speech, frames = states(inputs, masked=False)
            text = tokens = None
            if model.text_encoder is not None:
                tokens = torch.from_numpy(inputs["text_lengths"])
                text = model.text_encoder(torch.from_numpy(inputs["input_ids"]), tokens)
            return model.classify(*model.fuse(speech, frames, text, tokens)).probabilities.numpy()

    heard = [each for each in features if each.input_values is not None]
    change = dict.fromkeys((True, False), 0.0)
    with torch.inference_mode():
        for batch in batches_of(len(heard), batch_size, seed)[RANDOM]:
            for masked in change:
                hidden, frames = states(preprocess.collate([heard[i] for i in batch]), masked)
                for i, found, length in zip(batch, hidden, frames, strict=True):
                    alone = states(preprocess.collate([heard[i]]), masked)[0][0]
                    moved = (found[:length] - alone).abs().max() / alone.abs().max()
                    change[masked] = max(change[masked], float(moved))
    return {
        "title": f"{type(backbone).__name__} of transformers, as published",
        **movement(answer, heard, batch_size, seed, preprocess, "published"),
        "hidden_states": {"with_attention_mask": change[True], "without_attention_mask": change[False]},
    }


def beyond_budget(section: dict[str, Any]) -> list[str]:
    """The engines whose answers move farther than their precision allows, a line each."""
    return [
        f"{engine['title']} moves a probability by {engine['max_difference']:.2g}, expected at most "
        f"{engine['budget']:.2g}"
        for engine in section["engines"].values()
        if engine["budget"] is not None and not engine["max_difference"] <= engine["budget"]
    ]


def _answer(run: Run, preprocess: Preprocessor) -> Answer:
    return lambda features: run(preprocess.collate(features))


def _made_up_protocol(bundle: Bundle, features: Sequence[Features], seed: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    for each in features:
        for array in (each.input_values, each.input_ids):
            digest.update(b"" if array is None else array.tobytes())
    return {
        "dataset": None,
        "title": "made-up speech and text",
        "synthetic": True,
        "corpus_sha256": digest.hexdigest(),
        **dict.fromkeys(("folds", "fold", "protocol")),
        "seed": seed,
        "classes": list(bundle.config.labels),
        "utterances": len(features),
        "utterances_per_class": None,
        "speech_seconds": sum(each.seconds or 0.0 for each in features),
        "problem_count": 0,
        "problems": [],
    }
