"""What the packages beside the runtime add to it."""

import click
import pytest

from mtab.cli import main
from mtab.errors import MtabError
from mtab.plugins import plugin, plugin_names


def test_a_registered_command_is_one_of_mtab() -> None:
    assert "serve" in plugin_names("command")
    found = main.get_command(click.Context(main), "serve")
    assert found is plugin("command.serve")
    assert found.name == "serve"


def test_what_nobody_registered_is_refused() -> None:
    with pytest.raises(MtabError, match=r"nothing is registered as 'command\.dance', expected"):
        plugin("command.dance")
    assert main.get_command(click.Context(main), "dance") is None
