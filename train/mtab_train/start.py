"""Beginning a run: the model, its tokenizer and its preprocessing, written to a run folder."""

import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from accelerate.utils import set_seed
from transformers import AutoFeatureExtractor, Wav2Vec2FeatureExtractor

import mtab
from mtab.audio import SAMPLE_RATE
from mtab.config import to_dict
from mtab.data import Corpus, corpus_hash, keep_corpus
from mtab.data.clips import CLIPS
from mtab.data.labels import class_by_corpus
from mtab.errors import ConfigError, DataError
from mtab.files import atomic_folder, write_json
from mtab.preprocess import CONFIG_FILE, TOKENIZER_FILE, Preprocessor, PreprocessorConfig
from mtab.types import Modality
from mtab_train.batch_model import BatchModel
from mtab_train.checkpoint import (
    TrainerState,
    apply_weights,
    load_model,
    load_weights,
    save_state,
    save_weights,
)
from mtab_train.config import ModelConfig, TrainConfig
from mtab_train.encoders import encoder_config
from mtab_train.examples import ratings
from mtab_train.masking import MaskedBatchNorm1d
from mtab_train.model import DimensionHead, MulTAB
from mtab_train.results import read_results
from mtab_train.run import (
    AT_ITS_END,
    CORPUS,
    UNLABELLED,
    Parts,
    Run,
    RunConfig,
    TeacherConfig,
    open_run,
    read_history,
    run_parts,
    write_run,
)
from mtab_train.tokenizer import save_tokenizer, train_tokenizer


@dataclass(frozen=True, slots=True)
class Start:
    """Where a model starts from: a preset's configuration, or another run whose weights it takes.

    With a ``teacher`` it learns from that one's answers too, also to what is ``unlabelled``.
    """

    model: ModelConfig
    train: TrainConfig
    preset: str
    init_from: Path | None = None
    teacher: TeacherConfig | None = None
    unlabelled: Corpus | None = None


def begin_run(
    folder: Path, start: Start, corpus: Corpus, folds: str, fold: str, overwrite: bool = False
) -> Run:
    """Make a run folder, ready for `Trainer`: the model before its first step, whole or not at all."""
    with atomic_folder(folder, overwrite) as partial:
        run = describe_run(partial, start, corpus, folds, fold)
        parts = run_parts(run, corpus)
        _require_modalities(run.model, corpus, parts)
        if start.init_from is not None:
            model = _from_run(run, start.init_from, corpus)
        else:
            others = () if start.unlabelled is None else start.unlabelled.utterances
            texts = [utterance.text for utterance in (*parts.training, *others) if utterance.text]
            run, model = _prepare(run, texts)
        if model.head.dimensions is not None:
            _standardise(model.head.dimensions, run.model, corpus, parts)
        save_state(partial, 0, BatchModel(model, run.train), None, TrainerState())
        write_run(run)
    return open_run(folder)


def _standardise(head: DimensionHead, model: ModelConfig, corpus: Corpus, parts: Parts) -> None:
    """Set mean and standard deviation of the training utterances' ratings.

    Raises `DataError` if they have no two different ones.
    """
    rated = ratings(parts.training, model.dimensions).astype(np.float64)
    for name, column in zip(model.dimensions, rated.T, strict=True):
        if len(different := np.unique(column[np.isfinite(column)])) < 2:
            found = f"{different[0]:g} alone" if len(different) else "no rating"
            raise DataError(
                f"{corpus.place}: {name} has {found} in the training part, expected two different ones; "
                "see --tasks"
            )
    head.mean.copy_(torch.from_numpy(np.nanmean(rated, axis=0)))
    head.std.copy_(torch.from_numpy(np.nanstd(rated, axis=0)))


def _require_modalities(model: ModelConfig, corpus: Corpus, parts: Parts) -> None:
    """Raise `DataError` if the model can answer no utterance of a part, whatever its clips hold."""
    for part in dataclasses.fields(parts):
        utterances = getattr(parts, part.name)
        held = [
            {name for name in get_args(Modality) if getattr(each, name) is not None} for each in utterances
        ]
        if utterances and not any(
            each.issuperset(supported) for each in held for supported in model.supported_modalities
        ):
            expected = " or ".join(" and ".join(each) for each in model.supported_modalities)
            others = " or ".join(name for name in get_args(Modality) if any(name in each for each in held))
            raise DataError(
                f"{corpus.place}: no {part.name} utterance has {expected}, expected some; "
                f"see --modalities {others}"
            )


def continue_run(folder: Path, epochs: int) -> Run:
    """Make a finished run ready for `Trainer` to train it to ``epochs`` epochs in all.

    A schedule has come to its end and the optimizer's moments are gone with it: the added epochs begin with
    the chosen epoch's weights, a new optimizer and a schedule of their own, warm-up included. What its
    end added is kept as ``results-<epochs>.json``, ``calibration-<epochs>.json`` and so on. Raises
    `ConfigError` if the run has not finished, or has as many epochs already.
    """
    run = open_run(folder)
    results = read_results(folder)
    history = read_history(folder)
    done = len(history)
    if epochs <= done:
        raise ConfigError(f"{folder}: has {done} epochs already, expected --epochs of more than that")
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, epochs=epochs))
    set_seed(run.train.seed)
    model = MulTAB.from_config(run.model)
    load_weights(model, run.weights)
    state = TrainerState(
        history=history,
        best=history[results.selected_epoch - 1],
        seconds=results.seconds,
        ends=(*results.continued_after, done),
    )
    save_state(folder, done, BatchModel(model, run.train), None, state)
    write_run(run)
    # The results first: without them the run can be resumed, and what is left beside it counts for nothing.
    for path in (folder / name for name in AT_ITS_END):
        if path.is_file():
            path.rename(path.with_stem(f"{path.stem}-{done}"))
    return run


def describe_run(folder: Path, start: Start, corpus: Corpus, folds: str, fold: str | None) -> Run:
    """The configurations of a run that is to be; without a ``fold`` those of a cross-validation.

    A corpus that lies in no file is written to the run's folder. Raises `DataError` if there is one class
    alone.
    """
    if len(corpus.labels) < 2:
        found = ", ".join(corpus.labels) or "none"
        raise DataError(f"{corpus.place}: one class ({found}), expected two or more to tell apart")
    model = dataclasses.replace(start.model, labels=corpus.labels)
    if corpus.kept:
        place = (corpus.source or corpus.root).resolve()
    else:
        place = keep_corpus(corpus, folder / CORPUS).relative_to(folder)
    unlabelled = start.unlabelled
    if unlabelled is not None:
        keep_corpus(unlabelled, folder / UNLABELLED)
    config = RunConfig(
        dataset=corpus.name,
        title=corpus.title,
        synthetic=corpus.synthetic,
        data_dir=str(place),
        folds=folds,
        fold=fold,
        preset=start.preset,
        init_from=None if start.init_from is None else str(start.init_from),
        corpus_sha256=corpus_hash(corpus.utterances, model.dimensions),
        mtab_version=mtab.__version__,
        created=_now(),
        columns=dict(corpus.columns),
        teacher=start.teacher,
        unlabelled_sha256=None if unlabelled is None else corpus_hash(unlabelled.utterances),
    )
    return Run(folder, config, model, start.train)


def untrained_run(folder: Path, start: Start, texts: Iterable[str], overwrite: bool = False) -> Run:
    """Make a run folder of a model that was never trained, to be exported and timed.

    The classifier's weights are scaled until its answers to noise differ as a trained model's do: random
    weights alone answer every utterance alike, and parity would show nothing.
    """
    with atomic_folder(folder, overwrite) as partial:
        config = RunConfig(
            dataset=None,
            title="untrained, random weights",
            synthetic=False,
            data_dir=None,
            folds=None,
            fold=None,
            preset=start.preset,
            init_from=None,
            corpus_sha256=None,
            mtab_version=mtab.__version__,
            created=_now(),
        )
        run, model = _prepare(Run(partial, config, start.model, start.train), texts)
        _spread_answers(model.eval(), Preprocessor.from_folder(partial), list(texts))
        save_weights(model, run.weights)
        write_run(run)
    return open_run(folder)


def classes_taken(corpus: Corpus, others: Sequence[str]) -> dict[str, str]:
    """By class of a corpus, the same one among ``others``, a run's: of its name, or that of its own head."""
    name = corpus.own_name or corpus.name
    found = {}
    for label in corpus.labels:
        same = [each for each in (label, class_by_corpus(name, label)) if each in others]
        if same:
            found[label] = same[0]
    return found


def _prepare(run: Run, texts: Iterable[str]) -> tuple[Run, MulTAB]:
    """The model before its first step; its tokenizer and preprocessing are written to the run folder."""
    set_seed(run.train.seed)
    if run.model.text_config is not None:
        vocab_size = _write_tokenizer(run, texts)
        # A vocabulary learned from few texts may be smaller; a model to be timed keeps its size all the same.
        if run.model.text_model is None and run.config.dataset is not None:
            text_config = {**run.model.text_config, "vocab_size": vocab_size}
            run = dataclasses.replace(run, model=dataclasses.replace(run.model, text_config=text_config))
    model = MulTAB.from_pretrained(run.model)
    audio, text = model.audio_encoder, model.text_encoder
    defaults = PreprocessorConfig()
    config = PreprocessorConfig(
        # What is measured of a clip is also how loud it is.
        do_normalize=not run.model.measures and _do_normalize(run.model.audio_model),
        modalities=run.model.modalities,
        min_samples=defaults.min_samples if audio is None else audio.min_samples,
        max_tokens=defaults.max_tokens if text is None else text.max_tokens,
        pad_token_id=defaults.pad_token_id if text is None else text.pad_token_id,
    )
    write_json(run.folder / CONFIG_FILE, to_dict(config))
    return run, model


def _from_run(run: Run, source: Path, corpus: Corpus) -> MulTAB:
    """Another run's model; a class or dimension that both know keeps its row of the head."""
    set_seed(run.train.seed)
    other = open_run(source)
    for name in (CONFIG_FILE, TOKENIZER_FILE, CLIPS):
        if (source / name).is_file():
            shutil.copy(source / name, run.folder / name)
    model = MulTAB.from_config(run.model)
    tensors = dict(load_model(other).state_dict())
    fresh = model.state_dict()
    classes = classes_taken(corpus, other.model.labels)
    dimensions = {name: name for name in run.model.dimensions if name in other.model.dimensions}
    for layer, names, others, taken in (
        ("head.classifier", run.model.labels, other.model.labels, classes),
        ("head.dimensions", run.model.dimensions, other.model.dimensions, dimensions),
    ):
        theirs = {name: tensors.pop(name) for name in list(tensors) if name.startswith(f"{layer}.")}
        for name in (name for name in fresh if name.startswith(f"{layer}.")):
            rows = fresh[name].clone()
            for ours, same in taken.items():
                rows[names.index(ours)] = theirs[name][others.index(same)]
            tensors[name] = rows
    apply_weights(model, tensors, other.weights)
    for module in model.modules():
        # A mean of all steps so far would be mostly the other run's.
        if isinstance(module, MaskedBatchNorm1d) and module.momentum is None:
            module.reset_running_stats()
    return model


def _write_tokenizer(run: Run, texts: Iterable[str]) -> int:
    """The text checkpoint's own tokenizer, or one trained on ``texts``; its vocabulary's size."""
    path, config = run.folder / TOKENIZER_FILE, run.model
    assert config.text_config is not None
    if config.text_model is None:
        return train_tokenizer(texts, config.text_config["vocab_size"], path)
    return save_tokenizer(config.text_model, encoder_config(config.text_config).to_dict(), path)


def _do_normalize(source: str | None) -> bool:
    """Whether a checkpoint was trained on waveforms of zero mean and unit variance; all of ours are.

    Raises `ConfigError` if it was trained on anything but mono waveforms at 16 kHz.
    """
    if source is None:
        return True
    try:
        extractor = AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # the library raises whatever a value happens to break
        raise ConfigError(f"{source}: has no {CONFIG_FILE} that can be read ({error})") from None
    if not isinstance(extractor, Wav2Vec2FeatureExtractor):
        found = type(extractor).__name__
        raise ConfigError(f"{source}: {CONFIG_FILE} is of a {found}, expected a Wav2Vec2FeatureExtractor")
    for name, expected in (("sampling_rate", SAMPLE_RATE), ("feature_size", 1), ("padding_value", 0)):
        if (found := getattr(extractor, name)) != expected:
            raise ConfigError(f"{source}: {CONFIG_FILE} has {name} {found}, expected {expected}")
    if not isinstance(extractor.do_normalize, bool):
        raise ConfigError(
            f"{source}: {CONFIG_FILE} has do_normalize {extractor.do_normalize!r}, expected true or false"
        )
    return extractor.do_normalize


def _spread_answers(model: MulTAB, preprocess: Preprocessor, texts: Sequence[str]) -> None:
    """Centre the logits of unlike utterances, made of noise and ``texts``, and give them unit variance."""
    random = np.random.default_rng(0)
    features = []
    for text in texts:
        noise = random.normal(size=random.integers(8_000, 48_000))
        # From white to the colour of speech.
        noise = np.convolve(noise, random.uniform(0, 1) ** np.arange(64), mode="same")
        features.append(preprocess(noise, text))
    inputs = {name: torch.from_numpy(array) for name, array in preprocess.collate(features).items()}
    with torch.no_grad():
        classifier = model.head.classifier
        logits = model(**inputs).logits
        deviation = logits.std(dim=0)
        classifier.weight /= deviation[:, None]
        classifier.bias.copy_((classifier.bias - logits.mean(dim=0)) / deviation)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
