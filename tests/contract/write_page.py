"""Writes docs/errors.md from the cases that the tests here hold: ``python tests/contract/write_page.py``."""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
AREAS = ("audio", "text", "timeline", "manifest", "bundle", "training", "export", "serving")
INTRODUCTION = """\
# What bad input gives

Every row is a case that the tests try. A command prints one line, `Error: ` and the message, and leaves
nothing half-written. The exit code is 1, or 2 where the command was called wrongly. With `--on-error skip`,
`mtab predict` prints the message of a clip or a transcript in place of its answer, and goes on. In Python the
message is that of an exception of `mtab.errors`; all of these derive from `MtabError`. `<SO>` stands for what
differs from case to case.

`python tests/contract/write_page.py` writes this page. [inputs.md](inputs.md) says what good input is.
"""


def cases(area: str) -> tuple[Case, ...]:
    """The rows of one part of the page."""
    return import_module(f"cases.{area}").CASES


def page() -> str:
    """The page as it should be."""
    parts = [INTRODUCTION]
    for area in AREAS:
        rows = [f"| {case.bad} | {_error(case)} | {_message(case)} |" for case in cases(area)]
        title = (import_module(f"cases.{area}").__doc__ or "").strip().rstrip(".")
        header = "| what is wrong | error | exit code | message |\n| --- | --- | --- | --- |"
        parts.append(f"## {title}\n\n{header}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _message(case: Case) -> str:
    return f"`{case.message}`" if case.message else ""


def _error(case: Case) -> str:
    if case.error is None and case.exit_code is None:
        return "none | answered"
    if case.error is None:
        return f"wrong use | {case.exit_code}"
    return f"`{case.error.__name__}` | {'in Python' if case.exit_code is None else case.exit_code}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
