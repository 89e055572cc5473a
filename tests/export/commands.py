"""`mtab-export` called as it is typed, and what it writes first."""

from click.testing import CliRunner, Result

from mtab.bundle import GraphEntry, Manifest
from mtab_export.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fp32(manifest: Manifest) -> GraphEntry:
    graph = manifest.graph("fused", "fp32")
    assert graph is not None
    return graph
