"""`mtab` called as it is typed: its answers, its one line of failure, and clips to give it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from click.testing import CliRunner

from mtab.cli import main

MTAB = Path(sys.executable).with_name("mtab")


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def answers(*arguments: object) -> list[dict[str, Any]]:
    code, out, err = run("predict", *arguments, "--threads", 1, "--format", "json")
    assert (code, err) == (0, "")
    return json.loads(out)


def failure(*arguments: object, printed: int = 0) -> str:
    """The one line of a command that fails after that many answers."""
    code, out, err = run("predict", *arguments, "--threads", 1, "--format", "jsonl")
    assert (code, len(out.splitlines())) == (1, printed)
    assert err.startswith("Error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("Error: ").rstrip("\n")


def wrong_use(*arguments: object) -> str:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    return err.splitlines()[-1].removeprefix("Error: ")


def tone(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    mono = 0.3 * np.sin(2 * np.pi * 700 * np.arange(round(seconds * rate)) / rate)
    return mono if channels == 1 else np.repeat(mono[:, None], channels, axis=1)


def wav(path: Path, samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> None:
    soundfile.write(path, samples, rate, subtype=subtype)
