"""``mtab-train fit`` and ``mtab-train cv``: train on one fold, or on every fold."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mtab.console import Command, table
from mtab.data.folds import SCHEMES
from mtab.errors import ConfigError
from mtab.options import corpus_options, together
from mtab_train.config import PRESETS, ModelConfig, TrainConfig

if TYPE_CHECKING:
    from mtab.data import Corpus
    from mtab_train.start import Start

MODEL_OPTIONS = (
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        default="tiny",
        show_default=True,
        help="Size of the model: base is the paper's, tiny trains in minutes.",
    ),
    click.option(
        "--audio-model",
        metavar="ID",
        help="Pretrained audio encoder: an id of the Hugging Face Hub, or a folder.",
    ),
    click.option(
        "--text-model",
        metavar="ID",
        help="Pretrained text encoder: an id of the Hugging Face Hub, or a folder.",
    ),
    click.option(
        "--audio-training",
        type=click.Choice(["frozen", "conv-frozen", "full"]),
        help="Part of the audio encoder that is trained.",
    ),
    click.option(
        "--text-training",
        type=click.Choice(["frozen", "full"]),
        help="Part of the text encoder that is trained.",
    ),
    click.option(
        "--modalities",
        type=click.Choice(["audio+text", "audio", "text"]),
        default="audio+text",
        show_default=True,
        help="Modalities that the model takes; one alone is an ablation.",
    ),
    click.option("--without-tab", is_flag=True, help="Leave out the temporal-aware block, as an ablation."),
    click.option(
        "--without-mha", is_flag=True, help="Leave out the self-attention of each modality, as an ablation."
    ),
    click.option(
        "--fusion-align",
        type=click.Choice(["interpolate", "pool"]),
        help="How the two streams are brought to one length.",
    ),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Dropout probability."),
    click.option(
        "--modality-dropout",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of training utterances that lose a modality, so that the model can answer without it.",
    ),
)
TRAIN_OPTIONS = (
    click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs."),
    click.option("--batch-size", type=click.IntRange(min=1), help="Utterances in a batch."),
    click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Peak learning rate."),
    click.option("--weight-decay", type=click.FloatRange(0), help="Weight decay of AdamW."),
    click.option(
        "--lr-scheduler-type",
        type=click.Choice(["constant_with_warmup", "linear", "cosine"]),
        help="Schedule of the learning rate.",
    ),
    click.option(
        "--warmup-ratio", type=click.FloatRange(0, 1, max_open=True), help="Share of the steps that warm up."
    ),
    click.option(
        "--max-grad-norm", type=click.FloatRange(0, min_open=True), help="Norm that gradients are clipped to."
    ),
    click.option(
        "--gradient-accumulation-steps",
        type=click.IntRange(min=1),
        help="Batches in each step of the optimizer.",
    ),
    click.option(
        "--class-weights", type=click.Choice(["none", "balanced"]), help="Weights of the classes in the loss."
    ),
    click.option(
        "--ctc-weight",
        type=click.FloatRange(0),
        help="Weight of MMER's CTC loss on the transcript (0.1 in MMER).",
    ),
    click.option(
        "--supcon-weight",
        type=click.FloatRange(0),
        help="Weight of MMER's supervised contrastive loss (0.1 in MMER).",
    ),
    click.option(
        "--max-seconds",
        type=click.FloatRange(0, min_open=True),
        help="Length that training clips are cut to, in seconds; the run says how many were.",
    ),
    click.option(
        "--bucketing/--no-bucketing", default=None, help="Whether batches hold utterances of similar length."
    ),
    click.option(
        "--protocol",
        type=click.Choice(["honest", "paper"]),
        help="Utterances that choose the epoch: a validation split of the training sessions (honest, the "
        "default), or the test set, as in the paper.",
    ),
    click.option(
        "--mixed-precision", type=click.Choice(["no", "fp16", "bf16"]), help="Precision of the computation."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, batches and dropout."),
)
RUN_OPTIONS = (
    corpus_options(),
    click.option(
        "--folds",
        metavar="SCHEME",
        help=f"Scheme of the folds: {SCHEMES}.  [default: the corpus's usual one]",
    ),
    click.option(
        "--init-from",
        type=click.Path(path_type=Path),
        metavar="RUN",
        help="Run whose model, weights and training settings to start from; the labels may differ.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        help="Run folder to write.  [default: a new one below runs/]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the run folder if it exists."),
    click.option(
        "--resume",
        type=click.Path(path_type=Path),
        metavar="RUN",
        help="Go on with an interrupted run; all else but --device, --workers and --no-cache lies there.",
    ),
)
MACHINE_OPTIONS = (
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Device to train on. For several GPUs, start with accelerate launch -m mtab_train.cli.",
    ),
    click.option(
        "--workers", type=click.IntRange(min=0), default=0, help="Number of processes that decode audio."
    ),
    click.option(
        "--cache/--no-cache", default=True, help="Whether the outputs of frozen encoders are kept on disk."
    ),
)


def model_from(values: dict[str, Any], random_weights: bool = False) -> ModelConfig:
    """The model that the options of `MODEL_OPTIONS` describe, with its encoders' own configurations.

    With ``random_weights`` the preset's encoders are built, and no checkpoint is looked for.
    """
    from mtab_train.encoders import with_encoders

    changes = _given(values, ModelConfig)
    for modality in ("audio", "text"):
        if modality not in values["modalities"].split("+"):
            changes |= {f"{modality}_config": None, f"{modality}_model": None}
    if values["without_tab"]:
        changes["num_tab_layers"] = 0
    if values["without_mha"]:
        changes["num_self_attention_layers"] = 0
    config = _replace(PRESETS[values["preset"]].model, changes)
    if random_weights:
        return dataclasses.replace(config, audio_model=None, text_model=None)
    return with_encoders(config, config.audio_model, config.text_model)


def start_from(values: dict[str, Any]) -> "Start":
    """The configurations that the options describe."""
    from mtab_train.run import open_run
    from mtab_train.start import Start

    training = _given(values, TrainConfig)
    if values["init_from"] is None:
        model = model_from(values)
        if training.get("ctc_weight") and model.audio_config is None:
            raise click.UsageError("--ctc-weight: the model does not listen")
        return Start(model, _replace(PRESETS[values["preset"]].train, training), values["preset"])
    # The architecture is the other run's, and so is the training unless an option says otherwise.
    context = click.get_current_context()
    for name in (
        *("preset", "audio_model", "text_model"),
        *("modalities", "without_tab", "without_mha", "fusion_align"),
    ):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} and --init-from: the other run's model decides it"
            )
    run = open_run(values["init_from"])
    changes = _given(values, ModelConfig)
    if changes.get("modality_dropout") and not run.model.modality_dropout:
        raise click.UsageError(f"--modality-dropout: {run.folder} has no stand-in for a missing modality")
    return Start(_replace(run.model, changes), _replace(run.train, training), run.config.preset, run.folder)


def _given(values: dict[str, Any], cls: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if name in names and value is not None}


def _replace(config: Any, changes: dict[str, Any]) -> Any:
    try:
        return dataclasses.replace(config, **changes)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


@click.command(cls=Command)
@together(*RUN_OPTIONS[:2])
@click.option("--fold", metavar="NAME", help="Fold whose test set is held out.  [default: the first]")
@together(*RUN_OPTIONS[2:], *MODEL_OPTIONS, *TRAIN_OPTIONS, *MACHINE_OPTIONS)
def fit(**values: Any) -> None:
    """Train a model on one fold, choose an epoch, score the held-out utterances once.

    The run folder is complete in itself: configuration, tokenizer, weights, metrics (JSON lines and
    TensorBoard), predictions, results, pictures. Interrupted at any moment, --resume goes on from the last
    epoch's end and reaches the same weights.

    \b
    Examples:
      mtab-train fit --dataset iemocap --data-dir data/iemocap --preset tiny
      mtab-train fit --dataset meld --preset base --mixed-precision bf16 --max-seconds 13.125
      mtab-train fit --dataset manifest --data-dir my.csv --init-from runs/iemocap-tiny-session-1
      mtab-train fit --resume runs/iemocap-tiny-session-1
    """
    from mtab.data import find_fold, fold_warnings, make_folds
    from mtab_train.run import default_folder, open_run, run_corpus
    from mtab_train.start import begin_run
    from mtab_train.trainer import Trainer

    if values["resume"] is not None:
        folder = _resumed(values)
        run = open_run(folder)
        corpus = run_corpus(run)
    else:
        start, corpus, scheme = _new(values)
        seed = start.train.seed
        fold = find_fold(corpus, scheme, values["fold"] or make_folds(corpus, scheme, seed)[0].name, seed)
        _warn(fold_warnings(corpus, scheme, [fold]))
        folder = values["out"] or default_folder(corpus.name, start.preset, fold.folder)
        run = begin_run(folder, start, corpus, scheme, fold.name, values["overwrite"])
    click.echo(f"{run.config.title}, fold {run.config.fold}, protocol {run.train.protocol}: {folder}")
    with _resumable(f"mtab-train fit --resume {folder}"):
        results = Trainer(run, corpus, **_machine(values)).fit()
    epoch, test = results["selected_epoch"], results["test"]
    rows = [(label, "-" if recall is None else f"{recall:.3f}") for label, recall in test["recall"].items()]
    click.echo(f"\nepoch {epoch} on {test['utterances']} held-out utterances of {run.config.title}")
    click.echo(f"WAR {test['war']:.3f}  UAR {test['uar']:.3f}  weighted F1 {test['weighted_f1']:.3f}\n")
    click.echo(table(rows, ("class", "recall")))


@click.command(cls=Command)
@together(*RUN_OPTIONS, *MODEL_OPTIONS, *TRAIN_OPTIONS, *MACHINE_OPTIONS)
def cv(**values: Any) -> None:
    """Cross-validate: train on every fold in turn; mean and standard deviation over folds.

    Each fold is a run folder of its own below the given one, beside summary.json. Interrupted, --resume
    keeps the folds that are done.

    \b
    Examples:
      mtab-train cv --dataset iemocap --preset base
      mtab-train cv --dataset emodb --data-dir EmoDB --folds speaker-pair --preset tiny
    """
    from mtab.data import fold_warnings, make_folds
    from mtab_train.cross_validation import begin_cross_validation, cross_validate
    from mtab_train.run import default_folder, open_run, run_corpus

    if values["resume"] is not None:
        folder = _resumed(values)
        run = open_run(folder)
        if run.config.fold is not None:
            raise ConfigError(f"{folder}: is one fold's run, expected a cross-validation; see mtab-train fit")
        corpus = run_corpus(run)
    else:
        start, corpus, scheme = _new(values)
        _warn(fold_warnings(corpus, scheme, make_folds(corpus, scheme, start.train.seed)))
        folder = values["out"] or default_folder(corpus.name, start.preset, scheme.replace(":", "-"), "cv")
        run = begin_cross_validation(folder, start, corpus, scheme, values["overwrite"])
    with _resumable(f"mtab-train cv --resume {folder}"):
        summary = cross_validate(run, corpus, **_machine(values))
    rows = [
        (name, *(f"{scores[key]:.3f}" for key in ("war", "uar", "weighted_f1")), scores["utterances"])
        for name, scores in (
            ("mean", summary["mean"] | {"utterances": ""}),
            ("standard deviation", summary["std"] | {"utterances": ""}),
            *((fold["fold"], fold) for fold in summary["folds"]),
        )
    ]
    click.echo(f"\n{run.config.title}, folds {run.config.folds}, protocol {run.train.protocol}: {folder}")
    click.echo(table(rows, ("fold", "WAR", "UAR", "weighted F1", "utterances")))
    click.echo(f"best fold: {summary['best_fold']}; problems skipped: {summary['problems']}")


def _new(values: dict[str, Any]) -> "tuple[Start, Corpus, str]":
    """What a new run starts from, its checked corpus, and how that is divided."""
    from mtab.data import default_scheme, read_corpus, validate

    if values["dataset"] is None:
        raise click.UsageError("Missing option '--dataset' (or --resume).")
    start = start_from(values)
    corpus = validate(read_corpus(values["dataset"], values["data_dir"], values["columns"]))
    for notice in corpus.notices:
        click.echo(f"Notice: {notice}", err=True)
    return start, corpus, values["folds"] or default_scheme(corpus)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _resumed(values: dict[str, Any]) -> Path:
    """The folder to go on in; nothing that it decides may be given again."""
    from mtab.errors import MtabError
    from mtab_train.run import RESULTS

    context = click.get_current_context()
    for name in values.keys() - {"resume", "device", "workers", "cache"}:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} and --resume: the run has it already")
    if (values["resume"] / RESULTS).is_file():
        raise MtabError(f"{values['resume']}: has finished already; its results are in {RESULTS}")
    return values["resume"]


def _machine(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("device", "workers", "cache")}


@contextmanager
def _resumable(command: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted; to go on: {command}", err=True)
        sys.exit(130)
