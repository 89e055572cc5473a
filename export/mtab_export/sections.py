"""A command's help with its options under headings."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from mtab.console import Group


class SectionedGroup(Group):
    """A group whose help has a heading for each of ``sections``: titles, and the parameters below each.

    Options of no section come first.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._title = {name: title for title, names in sections.items() for name in names}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, then the commands."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for title in dict.fromkeys(self._title.values()):
            sections[title] = []
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                sections[self._title.get(parameter.name or "", "Options")].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        self.format_commands(ctx, formatter)
