"""The command ``mtab-train``."""

import click

from mtab import __version__
from mtab.console import Group
from mtab_train.cv_command import cv
from mtab_train.data_command import data
from mtab_train.distill_command import distill
from mtab_train.eval_command import evaluate
from mtab_train.fit_command import fit
from mtab_train.info_command import info
from mtab_train.init_command import init
from mtab_train.synth import synth


@click.group(cls=Group, extra="train")
@click.version_option(__version__, prog_name="mtab-train")
def main() -> None:
    """Train Mul-TAB, a speech-and-text emotion recogniser (Appl. Sci. 2024, 14(8), 3276).

    \b
    Example:
      mtab-train synth --layout iemocap --out data/iemocap
      mtab-train fit --dataset iemocap --preset tiny
      mtab-export
      mtab-bench --dataset iemocap
    """


for command in (synth, data, info, fit, cv, distill, evaluate, init):
    main.add_command(command)

if __name__ == "__main__":
    main()
