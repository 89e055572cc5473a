"""The command ``mtab``."""

import click

from mtab import __version__
from mtab.commands.doctor import doctor
from mtab.commands.info import info
from mtab.commands.listen import listen
from mtab.commands.predict import predict
from mtab.commands.timeline import timeline
from mtab.commands.tune import tune
from mtab.console import Group


@click.group(cls=Group)
@click.version_option(__version__, prog_name="mtab")
def main() -> None:
    """Recognise emotions in speech and text with a bundle, without PyTorch.

    \b
    Example:
      mtab predict bundle clip.wav --text "I never said that!"
    """


for command in (predict, timeline, listen, tune, info, doctor):
    main.add_command(command)

if __name__ == "__main__":
    main()
