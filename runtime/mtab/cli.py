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
from mtab.plugins import plugin, plugin_names


class _Commands(Group):
    """The runtime's own commands, and those of the packages beside it, which are imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *plugin_names("command")])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in plugin_names("command"):
            return own
        return plugin(f"command.{cmd_name}")


@click.group(cls=_Commands)
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
