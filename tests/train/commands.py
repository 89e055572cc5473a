"""`mtab-train` called as it is typed."""

from click.testing import CliRunner, Result

from mtab.data import Corpus
from mtab_train.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def corpus_of(tones: Corpus) -> tuple[str, ...]:
    return ("--dataset", "manifest", "--data-dir", str(tones.root))
