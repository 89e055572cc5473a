"""The section ``invariance``: whether an answer depends on the batch that it was computed in."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mtab.audio import SAMPLE_RATE
from mtab.bundle import Bundle
from mtab.errors import MtabError
from mtab.graphs import BUDGETS
from mtab.machine import usable_cores
from mtab.parity import budget_of
from mtab.preprocess import Features, Preprocessor
from mtab.progress import progress
from mtab.sample import spread
from mtab.synthetic_inputs import speech, transcript
from mtab_bench.backends import REFERENCE, bundle_backends, open_backend
from mtab_bench.reference import reference_model, require_one
from mtab_bench.sections.section import BackendEntry, Machine, Protocol, Section, now
from mtab_bench.test_set import read_test_set

if TYPE_CHECKING:
    from mtab_train.model import MulTAB

RANDOM, ORDERS, PADDING = COMPANY = ("in random batches", "in other orders", "with more padding")

Batches = list[tuple[int, ...]]
"""The numbers of the utterances in each batch."""
Ask = Callable[[Sequence[Features]], np.ndarray]
"""A padded batch of B utterances to its probabilities (B, classes)."""


@dataclass(frozen=True, slots=True)
class Movement:
    """How far probabilities move from those of each utterance unbatched, at most.

    ``differences`` are the largest in each of `COMPANY`; ``labels_changed`` counts the utterances that get
    another label in at least one of them.
    """

    max_difference: float
    differences: dict[str, float]
    labels_changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantBackend(BackendEntry):
    """How far a backend's answers move with the batch, and the ``budget`` of its precision."""

    movement: Movement | None = None
    budget: float | None = None

    @property
    def within_budget(self) -> bool:
        """Whether its answers moved no farther than its precision allows."""
        assert self.movement is not None
        assert self.budget is not None
        return self.movement.max_difference <= self.budget


@dataclass(frozen=True, slots=True)
class HiddenStates:
    """The largest change of a hidden state in random batches, as a share of the largest one unbatched."""

    with_attention_mask: float
    without_attention_mask: float


@dataclass(frozen=True, slots=True)
class Published:
    """The model with the published forward pass of its audio encoder, without a mask."""

    title: str
    movement: Movement
    hidden_states: HiddenStates


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariance(Section):
    """``published`` is None where PyTorch was skipped or the model does not listen."""

    name: ClassVar[str] = "invariance"
    title: ClassVar[str] = "Invariance"
    command: ClassVar[str] = "mtab-bench invariance"

    protocol: Protocol
    batch_size: int
    seed: int
    backends: dict[str, InvariantBackend]
    published: Published | None

    @property
    def measured(self) -> dict[str, InvariantBackend]:
        """The backends that were not skipped."""
        return {key: backend for key, backend in self.backends.items() if backend.movement is not None}


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
) -> Invariance:
    """Ask every backend for the same utterances unbatched and batched.

    The utterances are drawn evenly from the test set of the fold that ``bundle`` was trained for, or are
    synthetic, made by ``seed``, where ``dataset`` is None. Beside the bundle's backends stand PyTorch, and
    the audio encoder's weights in the published implementation; both are left out, with the reason, where
    PyTorch or the ``checkpoint`` is missing.

    Raises `MtabError` if the bundle or the corpus cannot be used, or no engine can be had.
    """
    threads = threads or usable_cores()
    reference, model, skipped = reference_model(bundle, checkpoint, threads)
    preprocess = Preprocessor.from_folder(bundle.folder)
    if dataset is None:
        features = synthetic(preprocess, bundle.config.supported_modalities, utterances, seed)
        protocol = _synthetic_protocol(bundle, features, seed)
    else:
        test = read_test_set(bundle, preprocess, dataset, data_dir, columns)
        drawn = spread(range(len(test.features)), utterances)
        features = [test.features[i] for i in drawn]
        protocol = Protocol.of_test_set(bundle, test, drawn)

    found: dict[str, InvariantBackend] = {}
    reasons: dict[str, str] = {}
    if skipped is not None:
        found[REFERENCE] = InvariantBackend.of(reference, skipped)
    backends = bundle_backends(bundle, threads)
    for backend in [*([] if model is None else [reference]), *backends]:
        key = backend.key
        try:
            run = open_backend(backend, model)
            moved = movement(
                lambda batch, run=run: run(preprocess.collate(batch))["probabilities"],
                features,
                batch_size,
                seed,
                preprocess,
                backend.title,
            )
        except MtabError as error:
            reasons[key] = str(error)
            found[key] = InvariantBackend.of(backend, str(error))
            continue
        budget = BUDGETS["fp32"] if key == REFERENCE else budget_of(bundle, backend.precision)
        found[key] = InvariantBackend.of(backend, movement=moved, budget=budget.max_difference)
    require_one(bundle, [backend.key for backend in backends], reasons)
    return Invariance(
        created=now(),
        machine=Machine.here(),
        protocol=protocol,
        timing=None,
        batch_size=batch_size,
        seed=seed,
        backends=found | InvariantBackend.absent(),
        published=None
        if model is None or model.audio_encoder is None or model.config.measures
        else published(model, preprocess, features, batch_size, seed),
    )


def movement(
    ask: Ask,
    features: Sequence[Features],
    batch_size: int,
    seed: int,
    preprocess: Preprocessor,
    title: str,
) -> Movement:
    """How far probabilities move from those of each utterance unbatched."""
    batches = batches_of(len(features), batch_size, seed)
    companion = longest_companion(features, preprocess.config.max_tokens)
    with progress(title, (1 + len(COMPANY)) * len(features), "utterances") as shown:

        def answers_in(batches: Batches, beside: Sequence[Features] = ()) -> np.ndarray:
            found: dict[int, np.ndarray] = {}
            for batch in batches:
                answers = ask([*(features[i] for i in batch), *beside])
                found.update(zip(batch, answers[: len(batch)], strict=True))
                shown.update(len(batch))
            return np.stack([found[i] for i in range(len(features))]).astype(np.float64)

        unbatched = answers_in([(i,) for i in range(len(features))])
        batched = {
            company: answers_in(batches[company], [companion] if company == PADDING else ())
            for company in COMPANY
        }
    changed = [found.argmax(axis=1) != unbatched.argmax(axis=1) for found in batched.values()]
    moved = {company: float(np.abs(found - unbatched).max()) for company, found in batched.items()}
    return Movement(max(moved.values()), moved, int(np.any(changed, axis=0).sum()))


def batches_of(count: int, batch_size: int, seed: int) -> dict[str, Batches]:
    """Which of ``count`` utterances share a batch, by `COMPANY`: drawn by ``seed``, the same in other orders.

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


def synthetic(
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
) -> Published:
    """What padding does to the audio encoder's weights in transformers' own forward pass.

    Hidden states with and without the attention mask that transformers offers; and `movement` of the whole
    model where that pass, without a mask, is its audio encoder.
    """
    import torch

    from mtab_train.encoders import AudioEncoder

    encoder = model.audio_encoder
    assert isinstance(encoder, AudioEncoder)
    backbone = encoder.backbone

    def states(inputs: dict[str, np.ndarray], masked: bool) -> tuple[torch.Tensor, torch.Tensor]:
        values, lengths = (torch.from_numpy(inputs[name]) for name in ("input_values", "audio_lengths"))
        mask = (torch.arange(values.shape[1]) < lengths[:, None]).long() if masked else None
        return backbone(values, attention_mask=mask).last_hidden_state, encoder.frame_lengths(lengths)

    def ask(batch: Sequence[Features]) -> np.ndarray:
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
    return Published(
        title=f"{type(backbone).__name__} of transformers, as published",
        movement=movement(ask, heard, batch_size, seed, preprocess, "published"),
        hidden_states=HiddenStates(change[True], change[False]),
    )


def beyond_budget(section: Invariance) -> list[str]:
    """The backends whose answers move farther than their precision allows, a line each."""
    return [
        f"{backend.title} moves a probability by {backend.movement.max_difference:.2g}, expected at most "
        f"{backend.budget:.2g}"
        for backend in section.backends.values()
        if backend.movement is not None and not backend.within_budget
    ]


def _synthetic_protocol(bundle: Bundle, features: Sequence[Features], seed: int) -> Protocol:
    digest = hashlib.sha256()
    for each in features:
        for array in (each.input_values, each.input_ids):
            digest.update(b"" if array is None else array.tobytes())
    return Protocol(
        dataset=None,
        title="synthetic inputs",
        synthetic=True,
        corpus_sha256=digest.hexdigest(),
        seed=seed,
        classes=tuple(bundle.config.labels),
        utterances=len(features),
        speech_seconds=sum(each.seconds or 0.0 for each in features),
    )
