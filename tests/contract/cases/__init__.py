"""A case of the error contract: what is wrong, what is tried with it, and what has to come of it."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mtab.bundle import file_entries
from mtab.config import to_dict
from mtab.data import Corpus


@dataclass(frozen=True)
class Place:
    """What a case may use: an empty folder; and, to be read only, a run, its bundle and its corpus."""

    folder: Path
    run: Path
    bundle: Path
    corpus: Corpus

    @property
    def clip(self) -> Path:
        """A clip of the corpus, a quarter of a second of it."""
        return self.corpus.root / "0-0.wav"

    def file(self, name: str, content: bytes | str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def copy_of(self, source: Path) -> Path:
        """A copy of the run or of the bundle, to be spoiled."""
        return shutil.copytree(source, self.folder / source.name)

    def edited(self, source: Path, name: str, change: Callable[[Any], Any]) -> Path:
        """A copy of the run or of the bundle, with ``change`` made in place to a JSON file of it.

        The manifest of a bundle has the new hashes, so that it is the content that is judged.
        """
        copy = self.copy_of(source)
        values = json.loads((copy / name).read_text())
        change(values)
        (copy / name).write_text(json.dumps(values))
        if name != "manifest.json" and (copy / "manifest.json").is_file():
            manifest = json.loads((copy / "manifest.json").read_text())
            manifest["files"] = {each: to_dict(entry) for each, entry in file_entries(copy).items()}
            (copy / "manifest.json").write_text(json.dumps(manifest))
        return copy


@dataclass(frozen=True)
class Outcome:
    """What came of it: the error, its message or the last line printed, and the exit code (None: a call)."""

    error: BaseException | None
    message: str
    exit_code: int | None


@dataclass(frozen=True)
class Case:
    """One row of the page.

    ``attempt`` returns the command line to run, the program first, or makes a call of the Python API, which
    raises, and returns nothing. ``error`` is None where the command line itself is wrong, which is exit code
    2, and where a call is answered all the same. ``message`` is the last line of what is printed, or the
    error's own; what varies in it is written ``<SO>``. ``exit_code`` is None for a call.
    """

    bad: str
    attempt: Callable[[Place], Sequence[object] | None]
    error: type[BaseException] | None
    message: str
    exit_code: int | None = 1

    def try_at(self, place: Place) -> Outcome:
        """Run the command line, or make the call."""
        try:
            line = self.attempt(place)
        except Exception as error:
            return Outcome(error, str(error), None)
        if line is None:
            return Outcome(None, "", None)
        program, *arguments = map(str, line)
        main = import_module(program.replace("-", "_") + ".cli").main
        done = CliRunner().invoke(main, arguments, prog_name=program)
        raised = done.exception
        # A command turns its error into an exit; what was raised is what it was doing then.
        error = raised.__context__ if isinstance(raised, SystemExit) else raised
        printed = done.stderr.strip() or done.stdout.strip()
        return Outcome(error, printed.splitlines()[-1] if printed else "", done.exit_code)

    def describes(self, message: str) -> bool:
        """Whether ``message`` has the shape that the page shows."""
        parts = re.split(r"<[^<>]+>", self.message)
        shape = ".+".join(re.escape(part) for part in parts)
        return re.fullmatch(shape, message.removeprefix("Error: ")) is not None
