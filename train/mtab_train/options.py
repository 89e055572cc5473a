"""Options that the commands of training share, and the configurations that they describe."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from mtab.data.folds import SCHEMES, is_scheme
from mtab.errors import ConfigError
from mtab.options import together
from mtab.provenance import Protocol
from mtab_train.config import LARGEST_SEED, PRESETS, ModelConfig, TrainConfig

if TYPE_CHECKING:
    from mtab.data import Corpus
    from mtab_train.start import Start


class _Scheme(click.ParamType):
    """The form of a scheme of folds, checked before a corpus is read."""

    name = "scheme"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_scheme(value):
            self.fail(f"{value!r}, expected {SCHEMES}", param, ctx)
        return value


seed_option = click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    help="Seed of weights, batches and dropout.  [default: 0]",
)
model_options = together(
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        default="tiny",
        show_default=True,
        help="Model and its training: base is the paper's, compact learns from scratch on a small corpus, "
        "tiny is base in small; mmer and tim-net are rivals of the paper's.",
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
        "--freeze-layers",
        type=click.IntRange(min=0),
        metavar="N",
        help="First layers of each trained encoder that are not, with all below them.  [default: 0]",
    ),
    click.option(
        "--use-weighted-layer-sum",
        is_flag=True,
        default=None,
        help="Take a learned weighted sum of an encoder's layers, not the last one's output.",
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
"""What a `ModelConfig` is made of."""
tasks_option = click.option(
    "--tasks",
    type=click.Choice(["emotion", "emotion,dimensions"]),
    help="What to learn: the emotion alone, or also those of valence, arousal and dominance that the corpus "
    "has ratings of.  [default: emotion; with --init-from as that run]",
)
heads_option = click.option(
    "--classifier-heads",
    type=click.Choice(["joint", "corpus"]),
    default="joint",
    show_default=True,
    help="Classes of several corpora: one set, in which those of the same name are one (joint), or a set for "
    "each corpus (corpus), to pre-train for --init-from.",
)
train_options = together(
    click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs."),
    click.option(
        "--patience",
        type=click.IntRange(min=1),
        help="Number of epochs without a better one after which training stops.  [default: never]",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), help="Utterances in a batch."),
    click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Peak learning rate."),
    click.option("--weight-decay", type=click.FloatRange(0), help="Weight decay of AdamW."),
    click.option(
        "--layerwise-lr-decay",
        type=click.FloatRange(0, 1, min_open=True),
        help="Factor by which each layer of an encoder learns more slowly than the one above.  [default: 1]",
    ),
    click.option(
        "--lora-rank",
        type=click.IntRange(min=0),
        help="Rank of the adapters (LoRA) through which alone the encoders are trained.  [default: 0, none]",
    ),
    click.option(
        "--lora-alpha",
        type=click.FloatRange(0, min_open=True),
        help="Weight of the adapters, divided by their rank.  [default: 16]",
    ),
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
        "--label-smoothing-factor",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of each label that is spread over all classes.",
    ),
    click.option(
        "--mixup-alpha",
        type=click.FloatRange(0),
        help="Parameter of the Beta distribution by which utterances are mixed before the head; 0: none.",
    ),
    click.option(
        "--augment-copies",
        type=click.IntRange(0, 100),
        help="Variants of each training clip, of another speed, level and background.",
    ),
    click.option(
        "--ema-decay",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Decay of the moving average of the weights, which then is the model.  [default: none]",
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
        type=click.Choice(get_args(Protocol)),
        help="What chooses the epoch: a validation split of the training sessions (honest), the test set, as "
        "in the paper (paper), or nothing: the last one counts, and all training sessions train (fixed).  "
        "[default: honest; of compact fixed]",
    ),
    click.option(
        "--mixed-precision", type=click.Choice(["no", "fp16", "bf16"]), help="Precision of the computation."
    ),
    click.option(
        "--gradient-checkpointing",
        is_flag=True,
        default=None,
        help="Compute transformer layers again in the backward pass: more time, less memory.",
    ),
    seed_option,
)
"""What a `TrainConfig` is made of."""
distillation_options = together(
    click.option(
        "--distillation-weight",
        type=click.FloatRange(0, 1),
        help="Share of the teacher's probabilities in what is learned, beside the labels.  [default: 0.7]",
    ),
    click.option(
        "--distillation-temperature",
        type=click.FloatRange(0, min_open=True),
        help="Temperature at which these probabilities are compared.  [default: 2]",
    ),
    click.option(
        "--embedding-weight",
        type=click.FloatRange(0),
        help="Weight of the likeness of utterances to the teacher.  [default: 0.3]",
    ),
)
"""What a `TrainConfig` is made of besides, with a teacher."""
folds_option = click.option(
    "--folds",
    type=_Scheme(),
    metavar="SCHEME",
    help=f"Scheme of the folds: {SCHEMES}.  [default: the corpus's usual one]",
)
run_options = together(
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
)
machine_options = together(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Device to train on. For several GPUs, start with accelerate launch -m mtab_train.cli.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Number of threads on the CPU.  [default: $OMP_NUM_THREADS, else one for each usable core]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Number of processes that decode audio beside the training.",
    ),
)
cache_option = click.option(
    "--cache/--no-cache", default=True, help="Whether the outputs of frozen encoders are kept on disk."
)


def read_corpora(values: dict[str, Any]) -> "list[Corpus]":
    """The corpora that the options of `corpora_options` name, as they are annotated."""
    from mtab.data import read_corpus

    datasets, data_dirs = values["datasets"], values["data_dirs"]
    if len(data_dirs) not in (0, len(datasets)):
        raise click.UsageError(
            f"--data-dir given {len(data_dirs)} times, expected one for each of {len(datasets)} --dataset"
        )
    places = data_dirs or [None] * len(datasets)
    return [
        read_corpus(
            dataset, place, values["columns"] if dataset == "manifest" or len(datasets) == 1 else None
        )
        for dataset, place in zip(datasets, places, strict=True)
    ]


def one_corpus(corpora: "list[Corpus]", label_map: Path | None) -> "Corpus":
    """The corpora as one, with the labels of the map."""
    from mtab.data import join_corpora, map_labels, read_label_map

    if label_map is not None:
        table = read_label_map(label_map)
        corpora = [map_labels(corpus, table) for corpus in corpora]
    return corpora[0] if len(corpora) == 1 else join_corpora(corpora)


def model_from(values: dict[str, Any], random_weights: bool = False) -> ModelConfig:
    """The model that the options of `model_options` describe, with its encoders' own configurations.

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
        _require_audio(model, training)
        train = _replace(PRESETS[values["preset"]].train, training)
        _require_trained_encoder(model, train)
        return Start(model, train, values["preset"])
    # The architecture is the other run's, and so is the training unless an option says otherwise.
    context = click.get_current_context()
    for name in (
        *("preset", "audio_model", "text_model"),
        *("modalities", "without_tab", "without_mha", "fusion_align", "use_weighted_layer_sum"),
    ):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"--{name.replace('_', '-')} and --init-from: the other run's model decides it"
            )
    run = open_run(values["init_from"])
    changes = _given(values, ModelConfig)
    if changes.get("modality_dropout") and not run.model.modality_dropout:
        raise click.UsageError(f"--modality-dropout: {run.folder} has no stand-in for a missing modality")
    _require_audio(run.model, training)
    model, train = _replace(run.model, changes), _replace(run.train, training)
    _require_trained_encoder(model, train)
    return Start(model, train, run.config.preset, run.folder)


def _require_audio(model: ModelConfig, training: dict[str, Any]) -> None:
    if training.get("ctc_weight") and model.audio_config is None:
        raise click.UsageError("--ctc-weight: the model does not listen")


def _require_trained_encoder(model: ModelConfig, train: TrainConfig) -> None:
    if not model.trained_encoders and (train.lora_rank or train.layerwise_lr_decay < 1):
        option = "--lora-rank" if train.lora_rank else "--layerwise-lr-decay"
        raise click.UsageError(
            f"{option}: no transformer encoder is trained; see --text-training and --audio-training"
        )
    if train.gradient_checkpointing and not (model.trained_encoders or model.num_self_attention_layers):
        raise click.UsageError("--gradient-checkpointing: the model trains no transformer layer")


def _given(values: dict[str, Any], cls: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if name in names and value is not None}


def _replace(config: Any, changes: dict[str, Any]) -> Any:
    try:
        return dataclasses.replace(config, **changes)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None


def set_threads(threads: int | None) -> None:
    """Let torch use ``threads`` threads; by default as many as the environment says or the machine lends."""
    import os

    import torch

    from mtab.machine import usable_cores

    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    torch.set_num_threads(threads or usable_cores())
