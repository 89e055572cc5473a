"""`mtab predict --ray`: every row has an answer or an error, once, however often the job is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.runtime.gate import eventually

from mtab import Model

from .servers import LONG, MTAB
from .test_predict import Clips

ROWS = 2_600


@pytest.fixture
def archive(tmp_path: Path, clips: Clips) -> Path:
    """A manifest of many rows, of which some are bad."""
    lines = ["id,audio,text"]
    for number in range(ROWS):
        path, text = clips[number % len(clips)]
        audio = {7: "nowhere.wav", 300: __file__}.get(number, str(path))
        lines.append(f"u{number},{audio},{text}" if number != 500 else "u500")
    (tmp_path / "archive.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "archive.csv"


def command(bundle: Path, archive: Path, *options: object) -> list[str]:
    given = (MTAB, "predict", bundle, "--ray", "local", "--manifest", archive, "--workers", 2, *options)
    return list(map(str, given))


def rows(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out).sort_by("row").to_pylist()


def processes(name: bytes, group: int) -> list[int]:
    """Processes of a process group with such a command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if name in (folder / "cmdline").read_bytes() and os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
        except (OSError, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
def test_killed_twice_it_ends_with_every_row_once(
    tone_bundle: Path, model: Model, clips: Clips, archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for parts in (2, 4):
        job = subprocess.Popen(
            command(tone_bundle, archive, "--out", out), stderr=subprocess.DEVNULL, start_new_session=True
        )
        while len(list(out.glob("part-*"))) < parts and job.poll() is None:
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait(LONG)
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 4 <= len(kept) < 11
    job = subprocess.Popen(
        command(tone_bundle, archive, "--out", out), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    # A worker that dies is replaced.
    eventually(lambda: bool(processes(b"ray::MapWorker(Map(Worker))", job.pid)) or job.poll() is not None)
    for pid in processes(b"ray::MapWorker(Map(Worker))", job.pid)[:1]:
        os.kill(pid, signal.SIGKILL)
    said, _ = job.communicate(timeout=2 * LONG)
    assert job.returncode == 0, said
    assert f"{out} holds all {ROWS}" in said
    for name, when in kept.items():
        assert (out / name).stat().st_mtime_ns == when, "done before, and not again"
    found = rows(out)
    assert [row["row"] for row in found] == list(range(ROWS))
    expected = [model.predict(*clip) for clip in clips]
    for number, row in enumerate(found):
        if number in (7, 300, 500):
            assert row["label"] is None
            assert row["error"]
            continue
        answer = expected[number % len(clips)]
        assert (row["utterance"], row["label"], row["error"]) == (f"u{number}", answer.label, None)
        assert [row[label] for label in model.labels] == pytest.approx(
            list(answer.probabilities.values()), abs=1e-5
        )
    again = subprocess.run(
        command(tone_bundle, archive, "--out", out), capture_output=True, text=True, check=True
    )
    assert again.stdout == f"{archive}: all {ROWS} rows are answered in {out}\n"


@pytest.mark.slow
def test_a_dry_run_says_what_it_takes(tone_bundle: Path, clips: Clips, tmp_path: Path) -> None:
    """From a Parquet file with the audio in it, at a price."""
    table = pa.table({"audio": [path.read_bytes() for path, _ in clips], "text": [text for _, text in clips]})
    pq.write_table(table, tmp_path / "clips.parquet", row_group_size=9)
    options = ("--dry-run", "--price", "3")
    done = subprocess.run(
        command(tone_bundle, tmp_path / "clips.parquet", *options), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{len(clips)} rows, about ")
    assert first.endswith(" at 3 an hour")
    assert second == "measured on 36 rows, which are not kept; starting the workers is not in it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.parquet"]


FULL = """
import resource, signal, sys
import pyarrow as pa
from mtab_serve.archive.parts import Parts

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Parts(sys.argv[1]).write(0, pa.table({"row": list(range(100_000))}))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_leaves_no_half_of_a_part(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ray", "local"), "--ray needs --manifest"),
        (("--ray", "local", "--manifest", "a.csv", "--text", "a"), "--ray needs --manifest, and none of"),
        (("--ray", "local", "--manifest", "a.csv"), "give --ray one of --out and --dry-run"),
        (("--ray", "local", "--manifest", "a.csv", "--out", "o", "--dry-run"), "one of --out and --dry-run"),
        (("--ray", "local", "--manifest", "a.csv", "--out", "o", "--reasons"), "--ray answers without"),
        (("--manifest", "a.csv", "--out", "o"), "need --ray"),
        (("--manifest", "a.csv", "--price", "1"), "need --ray"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    from click.testing import CliRunner

    from mtab.cli import main

    done = CliRunner().invoke(main, ["predict", str(tmp_path), *options])
    assert done.exit_code == 2
    assert message in done.output
