"""Options and arguments that several commands of the four programs share, each declared once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from mtab.engines import ENGINES
from mtab.errors import DataError
from mtab.limits import BATCH_SECONDS, BATCH_SIZE, MAX_CHARACTERS, MAX_SECONDS
from mtab.types import Dataset, Precision, TunedFor

Decorator = Callable[[Any], Any]


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, in the order of the help."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


class _Columns(click.ParamType):
    """``audio=path,label=emotion`` as a dictionary."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        from mtab.data.columns import require_columns

        columns: dict[str, str] = {}
        for pair in value.split(","):
            ours, equals, theirs = (part.strip() for part in pair.partition("="))
            if not ours or not equals:
                self.fail(f"{pair!r}, expected pairs such as audio=path,label=emotion", param, ctx)
            if ours in columns:
                self.fail(f"{ours!r} a second time, expected once", param, ctx)
            columns[ours] = theirs
        try:
            require_columns(columns)
        except DataError as error:
            self.fail(str(error).removeprefix("--columns: "), param, ctx)
        return columns


bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the engine on the CPU.  [default: one for each core]",
)
engine_options = together(
    click.option(
        "--engine",
        type=click.Choice(["auto", *ENGINES]),
        default="auto",
        show_default=True,
        help="Engine that computes. auto is what mtab tune chose, else ONNX Runtime.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Device to use: cpu, cuda[:N], or gpu for OpenVINO; a device that is not there is an error. "
        "auto is a GPU if there is one.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["auto", *get_args(Precision)]),
        default="auto",
        show_default=True,
        help="Precision of the graph. auto is what mtab tune chose, else the most exact.",
    ),
    threads_option,
)
"""What `mtab.load` takes beside the bundle."""
tuned_for_option = click.option(
    "--for",
    "tuned_for",
    type=click.Choice(get_args(TunedFor)),
    default="latency",
    show_default=True,
    help="What auto stands for: what mtab tune chose for one utterance at a time, or for many that wait.",
)
"""What `mtab.load` takes for many utterances."""
batch_options = together(
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="Largest number of utterances computed at once; those of similar length go together.  "
        f"[default: {BATCH_SIZE}, or as mtab tune chose --for throughput]",
    ),
    click.option(
        "--batch-seconds",
        type=click.FloatRange(0, min_open=True),
        default=BATCH_SECONDS,
        show_default=True,
        help="Largest number of seconds of speech computed at once.",
    ),
)
"""What `mtab.Model.stream` takes for its batches."""
limit_options = together(
    click.option(
        "--max-seconds",
        type=click.FloatRange(0, min_open=True),
        default=MAX_SECONDS,
        show_default=True,
        help="Longest clip that is accepted, in seconds; a longer one is an error.",
    ),
    click.option(
        "--max-characters",
        type=click.IntRange(min=1),
        default=MAX_CHARACTERS,
        show_default=True,
        help="Longest transcript that is accepted, in characters; a longer one is an error.",
    ),
)
"""What `mtab.limits.Limits` takes."""
transcribe_option = click.option(
    "--transcribe",
    metavar="RECOGNISER",
    help="Recogniser that writes the transcript: faster-whisper[:MODEL], whisper.cpp[:MODEL], "
    "sherpa-onnx:FOLDER, a Python function as module:function, or a command that prints the text of the wav "
    "file in place of {}.",
)
"""What `mtab.transcribe.as_transcriber` takes."""
columns_option = click.option(
    "--columns",
    type=_Columns(),
    metavar="NAME=COLUMN,...",
    help="Names of a manifest's columns where they differ, such as audio=path,label=emotion; a run and a "
    "bundle remember them.",
)


label_map_option = click.option(
    "--label-map",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV file that says what labels are called: label,mapped and, where it matters, corpus.  "
    "[default: by their names]",
)
"""What `mtab.data.read_label_map` takes."""


def corpus_options(help: str = "Layout of the corpus.", required: bool = False) -> Decorator:
    """What `mtab.data.read_corpus` takes; ``help`` says what the corpus is for."""
    return together(
        click.option("--dataset", type=click.Choice(get_args(Dataset)), required=required, help=help),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path),
            help="Folder of the corpus, its parent, or the CSV file of a manifest.  "
            "[default: $MTAB_DATA/DATASET, data/DATASET]",
        ),
        columns_option,
    )


def require_dataset(dataset: str | None, data_dir: Path | None, columns: Mapping[str, str] | None) -> None:
    """Of `corpus_options` that may be left out, raise `click.UsageError` for one that says nothing alone."""
    for name, value in (("--data-dir", data_dir), ("--columns", columns)):
        if value is not None and dataset is None:
            raise click.UsageError(f"{name} needs --dataset")


corpora_options = together(
    click.option(
        "--dataset",
        "datasets",
        type=click.Choice(get_args(Dataset)),
        multiple=True,
        help="Layout of the corpus; may be given again for several corpora at once.",
    ),
    click.option(
        "--data-dir",
        "data_dirs",
        type=click.Path(path_type=Path),
        multiple=True,
        help="Folder of the corpus, its parent, or the CSV file of a manifest; one for each --dataset.  "
        "[default: $MTAB_DATA/DATASET, data/DATASET]",
    ),
    columns_option,
    label_map_option,
)
"""What is put together to one corpus, see `mtab_train.options.read_corpora`."""
