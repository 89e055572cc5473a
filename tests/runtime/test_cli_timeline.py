"""`mtab timeline` and `mtab listen` as they are typed."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import mtab
from mtab import Model

from .commands import MTAB, run, wrong_use

HIGH = 0.3 * np.sin(2 * np.pi * 700 * np.arange(8_000) / 16_000)
RECORDING = np.concatenate([HIGH, np.zeros(8_000), HIGH, np.zeros(4_000)])
SRT = "1\n00:00:00,000 --> 00:00:00,500\nit is high\n\n2\n00:00:01,000 --> 00:00:01,500\nit is high\n\n"


@pytest.fixture
def meeting(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "meeting.wav", RECORDING, 16_000)
    (tmp_path / "meeting.srt").write_text(SRT)
    return tmp_path / "meeting.wav"


def test_a_table(tone_bundle: Path, meeting: Path) -> None:
    code, out, err = run("timeline", tone_bundle, meeting, "--transcript", meeting.with_suffix(".srt"))
    assert (code, err) == (0, "")
    header, _, first, second = out.splitlines()
    assert header.split() == ["start", "end", "label", "score", "text"]
    assert first.split()[:3] == ["0.00", "0.50", "high"]
    assert second.split()[:3] == ["1.00", "1.50", "high"]
    assert second.endswith("it is high")


def test_files_by_their_suffix_and_json_on_stdout(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    given = ("timeline", tone_bundle, meeting, "--transcript", meeting.with_suffix(".srt"))
    files = [tmp_path / f"out.{suffix}" for suffix in ("json", "vtt", "TextGrid", "eaf", "csv", "srt")]
    code, out, err = run(*given, *(part for file in files for part in ("--out", file)))
    assert (code, out, err) == (0, "", "")
    assert all(file.stat().st_size for file in files)
    code, out, err = run(*given, "--format", "json")
    values = json.loads(out)
    assert values == json.loads(files[0].read_text())
    assert values["recording"] == str(meeting)
    assert values["text_from"] == str(meeting.with_suffix(".srt"))
    assert values == mtab.load(tone_bundle).timeline(meeting, meeting.with_suffix(".srt")).to_dict()


def test_what_a_format_cannot_hold_is_known_before_anything_is_written(
    tone_bundle: Path, meeting: Path, tmp_path: Path
) -> None:
    given = ("timeline", tone_bundle, meeting, "--transcript", meeting.with_suffix(".srt"))
    code, out, err = run(*given, "--out", tmp_path / "a.json", "--out", tmp_path / "a.rttm")
    assert (code, out) == (1, "")
    expected = "one of each in RTTM; give segments with speakers"
    assert err == f"Error: {meeting}: segments without speakers, expected {expected}\n"
    assert not (tmp_path / "a.rttm").exists()
    assert not (tmp_path / "a.json").exists()
    code, out, err = run(*given, "--out", tmp_path / "a.xlsx")
    assert (code, err) == (
        1,
        f"Error: {tmp_path}/a.xlsx: ends in '.xlsx', expected one of .json, .csv, .srt, "
        ".vtt, .TextGrid, .eaf, .rttm\n",
    )


def test_a_folder_of_recordings(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    recordings, out = tmp_path / "recordings", tmp_path / "out"
    recordings.mkdir()
    for name in ("a", "b"):
        (recordings / f"{name}.wav").write_bytes(meeting.read_bytes())
        (recordings / f"{name}.srt").write_text(SRT)
    (recordings / "c.wav").write_bytes(b"RIFFnothing")
    given = (
        "timeline",
        tone_bundle,
        recordings,
        "--transcript",
        recordings,
        "--out",
        out,
        "--on-error",
        "skip",
    )
    code, _, err = run(*given)
    assert code == 0
    assert err.splitlines()[-1] == "no timeline of 1 of 3 recordings"
    assert sorted(path.name for path in out.iterdir()) == ["a.json", "b.json"]
    (out / "a.json").write_text("{}")
    code, _, err = run(*given)
    assert f"{recordings}/a.wav: done before; --overwrite does it again" in err
    assert (out / "a.json").read_text() == "{}"
    code, _, err = run(*given, "--overwrite", "--format", "textgrid")
    assert sorted(path.name for path in out.iterdir()) == ["a.TextGrid", "a.json", "b.TextGrid", "b.json"]


def test_what_is_incomplete_is_done_again(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [{"word": "high", "start": 0.1, "end": 0.2}]
    (tmp_path / "meeting.json").write_text(json.dumps(words))
    (tmp_path / "meeting.csv").write_text("start,end\n0,0.5\n1,1.5\n")
    given = ("timeline", tone_bundle, meeting, "--segments", tmp_path, "--out", out)
    code, _, err = run(*given, "--transcript", tmp_path / "meeting.json")
    assert code == 1
    assert "the first 0.5 s are written, marked as incomplete" in err
    assert [path.name for path in out.iterdir()] == ["meeting.incomplete.json"]
    code, _, err = run(*given, "--transcript", tmp_path / "meeting.srt")
    assert (code, err) == (0, "")
    assert [path.name for path in out.iterdir()] == ["meeting.json"]


def test_what_is_read_is_not_written_over(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    values = json.dumps([{"start": 0, "end": 0.5, "text": "it is high"}])
    (tmp_path / "meeting.json").write_text(values)
    given = ("timeline", tone_bundle, meeting, "--transcript", tmp_path / "meeting.json")
    for options in ((), ("--overwrite",)):
        for out in (tmp_path, tmp_path / "meeting.json"):
            assert wrong_use(*given, "--out", out, *options) == (
                f"{tmp_path}/meeting.json is read and would be written, expected another file"
            )
    assert (tmp_path / "meeting.json").read_text() == values


def test_several_recordings_are_printed_by_name(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(meeting.read_bytes())
        (tmp_path / f"{name}.srt").write_text(SRT)
    given = ("timeline", tone_bundle, tmp_path / "a.wav", tmp_path / "b.wav", "--transcript", tmp_path)
    code, out, _ = run(*given)
    assert code == 0
    assert [line for line in out.splitlines() if line.endswith(".wav")] == [
        f"{tmp_path}/{n}.wav" for n in "ab"
    ]
    assert wrong_use(*given, "--format", "json") == "2 recordings, expected a folder for --out"


def test_nothing_but_bad_recordings(tone_bundle: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFFnothing")
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "b.srt").write_text(SRT)
    code, _, err = run("timeline", tone_bundle, tmp_path, "--transcript", tmp_path, "--on-error", "skip")
    assert code == 1
    assert err.splitlines()[-1] == "Error: no timeline of any of 2 recordings"


def test_silence(drop_bundle: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    code, out, err = run("timeline", drop_bundle, tmp_path / "silent.wav")
    assert code == 0
    assert err == f"{tmp_path}/silent.wav: no speech in 2.0 s\n"
    assert len(out.splitlines()) == 2


def test_a_stretch_without_an_answer(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("start,end\n0,0.5\n1,1.5\n")
    words = [{"word": "high", "start": 0.1, "end": 0.2}]
    (tmp_path / "words.json").write_text(json.dumps(words))
    given = (
        "timeline",
        tone_bundle,
        meeting,
        "--segments",
        tmp_path / "a.csv",
        "--transcript",
        tmp_path / "words.json",
    )
    code, out, err = run(*given, "--out", tmp_path / "out.json")
    reason = "no transcript, expected one: this model answers from audio and text"
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"{meeting}: the first 0.5 s are written, marked as incomplete",
        f"Error: {meeting}: 1.00 to 1.50 s: {reason}",
    ]
    kept = json.loads((tmp_path / "out.json").read_text())
    assert (kept["complete"], len(kept["segments"])) == (False, 1)
    code, out, err = run(*given, "--on-error", "skip")
    assert code == 0
    assert err == f"{meeting}: no answer for 1 stretches, the first: 1.00 to 1.50 s: {reason}\n"
    assert out.splitlines()[-1].split()[:3] == ["1.00", "1.50", "error"]


def test_a_transcriber(
    drop_bundle: Path, tmp_path: Path, spoken: tuple[np.ndarray, list[tuple[float, float]]]
) -> None:
    soundfile.write(tmp_path / "a.wav", spoken[0], 16_000)
    code, out, err = run(
        "timeline", drop_bundle, tmp_path / "a.wav", "--transcribe", "echo it is high #", "--format", "json"
    )
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert values["text_from"] == "echo"
    assert all(each["text"].startswith("it is high # ") for each in values["segments"])


def test_wrong_use(tone_bundle: Path, meeting: Path, tmp_path: Path) -> None:
    two = (meeting, meeting)
    assert wrong_use("timeline", tone_bundle, *two, "--out", tmp_path / "a.json") == (
        "2 recordings, expected a folder for --out and --html"
    )
    assert wrong_use("timeline", tone_bundle, *two, "--out", tmp_path) == (
        f"two recordings are called 'meeting' ({meeting} and {meeting}), expected different names"
    )
    assert wrong_use("timeline", tone_bundle, meeting, "--out", tmp_path, "--format", "table") == (
        "a folder for --out needs a --format other than table"
    )
    assert wrong_use("timeline", tone_bundle, meeting, "--out", tmp_path / "a.srt", "--format", "csv") == (
        "--format csv is for a folder or the output, expected none beside files"
    )
    assert wrong_use("timeline", tone_bundle, meeting, "--html", meeting) == (
        f"{meeting} ends in '.wav', expected .html or a folder"
    )
    assert wrong_use("timeline", tone_bundle, meeting, "--transcript", "a.srt", "--transcribe", "x") == (
        "give --transcript or --transcribe, not both"
    )


def test_an_interruption_keeps_what_was_found(drop_bundle: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "long.wav", tmp_path / "long.json"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(4 * 3_600):
            file.write(HIGH)
            file.write(HIGH)
    (tmp_path / "a.csv").write_text("start,end\n" + "".join(f"{i},{i + 1}\n" for i in range(4 * 3_600)))
    command = [
        MTAB,
        "timeline",
        drop_bundle,
        path,
        "--segments",
        tmp_path / "a.csv",
        "--out",
        out,
        "--threads",
        1,
    ]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    *_, note, last = err.splitlines()
    assert last == "Interrupted"
    kept = json.loads(out.read_text())
    assert note == f"{path}: the first {kept['duration']:.1f} s are written, marked as incomplete"
    assert not kept["complete"]
    assert 0 < len(kept["segments"]) < 4 * 3_600
    assert kept["segments"][-1]["end"] <= kept["duration"]


def listen(bundle: Path, data: bytes, *options: object) -> tuple[int, list[str], str]:
    command = [str(MTAB), "listen", str(bundle), "--threads", "1", *map(str, options)]
    done = subprocess.run(command, input=data, capture_output=True)
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def test_listening_to_a_pipe(drop_bundle: Path, dropping: Model) -> None:
    samples = (32_767 * RECORDING).astype("<i2")
    code, lines, err = listen(
        drop_bundle, samples.tobytes(), "--window", 1, "--hop", 0.5, "--format", "jsonl"
    )
    assert (code, err) == (0, "")
    updates = [json.loads(line) for line in lines]
    assert [(each["start"], each["end"], each["final"]) for each in updates] == [
        (0.0, 0.5, False),
        (0.0, 1.0, False),
        (0.5, 1.5, False),
        (0.0, 1.75, True),
    ]
    assert updates[-1]["probabilities"] == dropping.predict(samples).probabilities
    stereo = np.stack([RECORDING, RECORDING], axis=1).astype("<f4").tobytes()
    code, lines, err = listen(drop_bundle, stereo + b"\1\2\3", "--channels", 2, "--sample-format", "f32le")
    assert code == 0
    assert err == "standard input ends within a sample: 3 of 8 bytes left out\n"
    assert lines[-1].split()[:4] == ["0.0", "to", "1.8", "s"]
    assert lines[-1].endswith("(the whole)")


def test_text_that_comes_beside_it(tone_bundle: Path, model: Model, tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_text("it is\n\nhigh\n")
    samples = (32_767 * HIGH).astype("<i2")
    code, lines, _ = listen(
        tone_bundle, samples.tobytes(), "--text-from", tmp_path / "said.txt", "--format", "jsonl", "--hop", 10
    )
    assert code == 0
    assert json.loads(lines[-1])["probabilities"] == model.predict(samples, "it is high").probabilities


def test_what_cannot_be_listened_to(drop_bundle: Path, tone_bundle: Path) -> None:
    code, lines, err = listen(drop_bundle, b"")
    assert (code, lines, err) == (1, [], "Error: stream: nothing was heard, expected samples or text\n")
    code, lines, err = listen(tone_bundle, HIGH.astype("<f4").tobytes(), "--sample-format", "f32le")
    assert code == 1
    assert "no transcript" in lines[0]
    assert err.startswith("Error: stream from 0.00 to 0.50 s: no transcript, expected one")
    nan = np.full(8_000, np.nan, "<f4").tobytes()
    code, _, err = listen(drop_bundle, nan, "--sample-format", "f32le")
    assert (code, err.startswith("Error: stream at 0.00 s: a chunk holds a sample of nan")) == (1, True)


def test_a_terminal_is_no_recording(drop_bundle: Path) -> None:
    parent, child = pty.openpty()
    done = subprocess.run(
        [str(MTAB), "listen", str(drop_bundle)], stdin=child, capture_output=True, text=True
    )
    os.close(parent)
    os.close(child)
    assert done.returncode == 2
    assert "standard input is a terminal, expected PCM in a pipe, or --microphone" in done.stderr
