"""Options and arguments that several commands of the four programs share, each declared once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from mtab.engines import ENGINES
from mtab.limits import BATCH_SECONDS, BATCH_SIZE
from mtab.types import Precision

Decorator = Callable[[Any], Any]


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, in the order of the help."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


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
batch_options = together(
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=BATCH_SIZE,
        show_default=True,
        help="Largest number of utterances computed at once; those of similar length go together.",
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
