"""What the four commands share: one-line errors, exit codes (0 done, 1 failed, 2 wrong use), plain tables."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from mtab.errors import MtabError
from mtab.packages import extras_of

# What a table takes for a number: with its unit, or a place that stays empty.
_NUMBER = re.compile(r"|[-–]|[+-]?[\d,]*\.?\d+(e[+-]?\d+)?(%| \S+)?")
# What Markdown or HTML would take for more than a character.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~&])")


def install_hint(module: str, needed_by: str, extra: str | None = None) -> str:
    """One line that says which extra of mtab to install for ``module``.

    ``extra`` is the one of the command that failed (None: it has none), named if it brings the module. Raises
    `LookupError` if no extra does.
    """
    found = extras_of(module)
    if not found:
        raise LookupError(f"no extra of mtab brings {module}")
    chosen = extra if extra in found else found[0]
    return f"{needed_by} needs {module}, which is not installed: pip install 'mtab[{chosen}]'"


@contextmanager
def one_line_errors(command: str, extra: str | None = None) -> Iterator[None]:
    """Turn the failures that a user can act on into one line on stderr and exit code 1 (130 for Ctrl-C).

    ``extra`` is the extra of mtab that installs the command (None: the base installation does).

    These are an `MtabError`, a module that an extra brings, what the system refuses (a full disk, a missing
    permission) and a lack of memory. Whatever else is raised is a fault of ours, and keeps its traceback.
    """
    try:
        yield
    except MtabError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        try:
            hint = install_hint(module, command, extra)
        except LookupError:
            raise error from None
        _fail(hint)
    except BrokenPipeError:
        raise  # click ends without a word, as is usual where nobody reads on
    except OSError as error:
        where = error.filename or "reading or writing"
        _fail(f"{where}: {error.strerror}" if error.strerror else str(error))
    except MemoryError as error:
        _fail(f"not enough memory ({error})" if str(error) else "not enough memory")
    except KeyboardInterrupt:
        click.echo("Interrupted", err=True)
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    # One error, one line, whatever a library put into its message.
    click.echo("Error: " + " ".join(message.split()), err=True)
    sys.exit(1)


class Command(click.Command):
    """A click command whose failures are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        root = ctx.find_root()
        with one_line_errors(root.info_name or "mtab", getattr(root.command, "extra", None)):
            return super().invoke(ctx)


class Group(click.Group):
    """A click group whose failures, and whose commands' failures, are one line.

    ``extra`` is the extra of mtab that installs all of it (None: the base installation does).
    """

    def __init__(self, *arguments: Any, extra: str | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.extra = extra

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors(ctx.info_name or "mtab", self.extra):
            return super().invoke(ctx)


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Rows as aligned plain text: columns of numbers (and ``-``) to the right, the rest to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(header, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = _numeric(columns)

    def line(row: Sequence[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, cells)])


def markdown_table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Rows as a table of GitHub's Markdown, aligned as `table` aligns; every cell is shown as it is."""
    cells = [[str(cell) for cell in row] for row in rows]
    right = _numeric(list(zip(header, *cells, strict=True)))
    rule = ["--:" if each else "---" for each in right]
    shown = [list(map(markdown_text, row)) for row in (header, *cells)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (shown[0], rule, *shown[1:]))


def markdown_text(text: str) -> str:
    """``text`` on one line that Markdown shows as it is, also within a table."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _numeric(columns: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns, their header first, hold numbers alone."""
    return [all(_NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
