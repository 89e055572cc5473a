"""What the commands share: failures in one line with the right exit code, tables that line up."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mtab.console import Command, Group, install_hint, markdown_table, table
from mtab.errors import AudioError, MtabError


def invoke(failure: BaseException, group: bool = False) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that fails."""

    def fail() -> None:
        click.echo("so far")
        raise failure

    command = click.command(cls=Command, name="mtab")(fail)
    arguments = []
    if group:
        command = Group("mtab", {"fail": click.command(cls=Command)(fail)})
        arguments = ["fail"]
    done = CliRunner().invoke(command, arguments, prog_name="mtab")
    return done.exit_code, done.stdout, done.stderr


def os_error(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (MtabError("a.json: no"), "Error: a.json: no"),
        (AudioError("a.wav:\n  two\n\nlines\t here "), "Error: a.wav: two lines here"),
        (ModuleNotFoundError("No", name="torch.nn"), "Error: mtab needs torch, which is not installed: "),
        (os_error(errno.ENOSPC, "/full/x"), "Error: /full/x: No space left on device"),
        (os_error(errno.ENOSPC), "Error: reading or writing: No space left on device"),
        (os_error(errno.EDQUOT, "x"), "Error: x: Disk quota exceeded"),
        (os_error(errno.EFBIG, "x"), "Error: x: File too large"),
        (os_error(errno.EIO, "x"), "Error: x: Input/output error"),
        (os_error(errno.EROFS, "x"), "Error: x: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "Error: x: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "Error: x: No such file"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), "Error: x: Is a directory"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x"), "Error: x: Not a directory"),
        (FileExistsError(errno.EEXIST, "File exists", "x"), "Error: x: File exists"),
        (os_error(errno.ENAMETOOLONG, "x"), "Error: x: File name too long"),
        (OSError("no connection\nto the hub"), "Error: no connection to the hub"),
        (MemoryError("Unable to allocate 7 GiB"), "Error: not enough memory (Unable to allocate 7 GiB)"),
        (MemoryError(), "Error: not enough memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_failure_is_one_line(failure: BaseException, line: str, group: bool) -> None:
    code, out, err = invoke(failure, group)
    assert (code, out) == (1, "so far\n")
    assert err.startswith(line)
    assert err.endswith("\n")
    assert err.count("\n") == 1


def test_a_missing_extra_is_named() -> None:
    _, _, err = invoke(ModuleNotFoundError("No module", name="onnxruntime.capi"))
    assert err == "Error: mtab needs onnxruntime, which is not installed: pip install 'mtab[cpu]'\n"
    assert install_hint("av", "reading films") == (
        "reading films needs av, which is not installed: pip install 'mtab[video]'"
    )


@pytest.mark.parametrize(
    ("extra", "module", "named"),
    [
        ("train", "scipy", "train"),
        ("export", "scipy", "export"),
        ("bench", "scipy", "bench"),
        ("bench", "torch", "train"),
        ("bench", "onnx", "export"),
        ("bench", "onnxruntime", "cpu"),
        ("export", "onnxruntime", "cpu"),
        ("train", "espeakng_loader", "dev"),
        (None, "sklearn", "bench"),
        (None, "av", "video"),
    ],
)
def test_the_extra_is_the_commands_own_where_it_brings_the_module(
    extra: str | None, module: str, named: str
) -> None:
    """Whatever the name that the program was started by."""

    def fail() -> None:
        raise ModuleNotFoundError("No module", name=module)

    program = Group("program", {"fail": click.command(cls=Command)(fail)}, extra=extra)
    done = CliRunner().invoke(program, ["fail"], prog_name="python -m program")
    assert (done.exit_code, done.stderr) == (
        1,
        f"Error: python -m program needs {module}, which is not installed: pip install 'mtab[{named}]'\n",
    )


@pytest.mark.parametrize(
    "failure",
    [ValueError("ours"), KeyError("k"), ModuleNotFoundError("No", name="nowhere"), AssertionError()],
)
def test_a_fault_of_ours_keeps_its_traceback(failure: Exception) -> None:
    code, _, err = invoke(failure)
    assert code == 1
    assert not err.startswith("Error: ")


def test_interrupted() -> None:
    assert invoke(KeyboardInterrupt()) == (130, "so far\n", "Interrupted\n")


def test_wrong_use_is_exit_2() -> None:
    assert invoke(click.UsageError("give --this"))[0] == 2


def run_script(body: str, stdout: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
    code = "import click, time\nfrom mtab.console import Command\n@click.command(cls=Command)\ndef main():\n"
    code += textwrap.indent(body, "    ") + "\nmain()\n"
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_ctrl_c() -> None:
    process = run_script("click.echo('begun')\ntime.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Interrupted\n")


def test_nobody_reads_on() -> None:
    """As behind ``| head -1``: click ends it without a word."""
    process = run_script("for i in range(200_000): click.echo(f'line {i}')")
    assert process.stdout is not None
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(timeout=30)) == ("", 1)


def test_output_to_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        process = run_script("click.echo('x')", stdout=full)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "Error: reading or writing: No space left on device\n")


def test_a_table_lines_up() -> None:
    rows = [("a.wav", "anger", "0.5", "+1.25 ms", "12.0%", "1e-05"), ("longer.wav", "joy", 10, "-", "", "-3")]
    assert table(rows, ("file", "label", "p", "time", "", "difference")).splitlines() == [
        "file        label    p      time         difference",
        "----------  -----  ---  --------  -----  ----------",
        "a.wav       anger  0.5  +1.25 ms  12.0%       1e-05",
        "longer.wav  joy     10         -                 -3",
    ]


def test_names_that_begin_with_a_digit_are_no_numbers() -> None:
    lines = table([("03a01Fa.wav", "1"), ("1.wav", "20"), ("7", "3")], ("file", "n")).splitlines()
    assert lines[2:] == ["03a01Fa.wav   1", "1.wav        20", "7             3"]


def test_a_table_without_rows() -> None:
    assert table([], ("a", "b")) == "a  b\n-  -"


cells = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(cells, st.integers().map(str)), min_size=1, max_size=5))
def test_every_cell_stands_in_its_column(rows: list[tuple[str, str]]) -> None:
    header, rule, *lines = table(rows, ("name", "number")).splitlines()
    widths = [len(dashes) for dashes in rule.split()]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        padded = line.ljust(sum(widths) + 2)
        assert padded[: widths[0]].strip() == row[0].strip()
        assert padded[widths[0] + 2 :] == row[1].rjust(widths[1])
    assert header.split() == ["name", "number"]


def test_a_markdown_table_shows_cells_as_they_are() -> None:
    rows = [("a|b.wav", "12.0 %"), ("<i>*x*\n_y_", "–"), ("back\\slash", 3)]
    assert markdown_table(rows, ("file & more", "share")).splitlines() == [
        r"| file \& more | share |",
        "| --- | --: |",
        r"| a\|b.wav | 12.0 % |",
        r"| \<i\>\*x\* \_y\_ | – |",
        r"| back\\slash | 3 |",
    ]


def test_a_markdown_table_of_words_and_numbers_is_not_set_right() -> None:
    assert markdown_table([("x", "12"), ("y", "skipped")], ("a", "b")).splitlines()[1] == "| --- | --- |"
