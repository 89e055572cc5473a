"""What is shown of long work: on a terminal in place, elsewhere as lines, and nothing that stays behind."""

import io
import sys
import time
from collections.abc import Callable

import pytest

import mtab.progress
from mtab.progress import Progress, format_progress, progress, say, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "nothing was drawn"
        time.sleep(0.005)


def without_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written where there is no terminal, every few milliseconds."""
    monkeypatch.setattr(mtab.progress, "EVERY", 0.005)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    return stream


def test_the_time_left_is_what_the_share_done_took() -> None:
    work = Progress("exporting", 4, "graphs", done=1, begun=100.0)
    assert format_progress([work], 160.0) == "exporting 1/4 graphs, 1:00 elapsed, 3:00 left"
    half = Progress("comparing", 10, "utterances", done=5, begun=130.0)
    assert format_progress([work, half], 160.0) == (
        "exporting 1/4 graphs · comparing 5/10 utterances, 1:00 elapsed, 1:40 left"
    )


def test_what_was_done_before_took_no_time() -> None:
    resumed = Progress("epoch", 10, done=6, before=4, begun=0.0)
    assert format_progress([resumed], 3600.0) == "epoch 6/10, 1:00:00 elapsed, 2:00:00 left"


def test_what_was_done_before_within_other_work_took_no_time() -> None:
    """Rows of folds of epochs, gone on with at the sixth epoch of the second fold of the first row."""
    with (
        progress("rows", 2) as rows,
        progress("cross-validation", 4, "folds", done=1),
        progress("training", 10, done=5) as epochs,
    ):
        epochs.update(5)
        line = format_progress(mtab.progress._line._stack, rows.begun + 3600)
    # Half a fold, an eighth of a row, took an hour; one row and a half are left.
    assert line == ("rows 0/2 · cross-validation 1/4 folds · training 10/10, 1:00:00 elapsed, 12:00:00 left")


def test_work_of_unknown_size_has_no_time_left() -> None:
    assert format_progress([Progress("bisecting", begun=0.0)], 5.0) == "bisecting, 0:05 elapsed"
    assert (
        format_progress([Progress("a", unit="trials", done=3, begun=0.0)], 5.0) == "a 3 trials, 0:05 elapsed"
    )
    assert format_progress([Progress("nothing", 0, begun=0.0)], 5.0) == "nothing 0/0, 0:05 elapsed"


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = without_terminal(monkeypatch)
    with progress("waiting", 2, "steps") as shown:
        until(lambda: "waiting 0/2 steps" in lines.getvalue())
        shown.update()
        until(lambda: "waiting 1/2 steps" in lines.getvalue())
        with progress("within"):
            until(lambda: "1/2 steps · within," in lines.getvalue())
    assert "\r" not in lines.getvalue()
    ended = lines.getvalue()
    time.sleep(0.05)
    assert lines.getvalue() == ended


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "reading")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mtab.progress, "REDRAWN", 0.005)
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    with progress("timing", 2) as shown:
        shown.update()
        until(lambda: "[############------------] timing 1/2" in stream.getvalue())
        say("a line above")
        assert stream.getvalue().endswith("\r\x1b[K")
    assert capsys.readouterr().out == "a line above\n"
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()


def test_an_error_ends_it_and_late_generators_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = without_terminal(monkeypatch)
    late = iter(track(range(9), "late"))
    next(late)

    def fail() -> None:
        nonlocal late
        with progress("failing"):
            late = iter(())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not mtab.progress._line._stack
    with progress("again"):
        until(lambda: "again," in lines.getvalue())
