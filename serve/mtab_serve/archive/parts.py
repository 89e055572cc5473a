"""What an archive job writes: Parquet parts, one of each chunk, and what the job is."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from mtab.errors import MtabError
from mtab_serve.archive.source import file_system

JOB_FILE = "_job.json"
"""What reads a folder of Parquet files passes over such names."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a job is, beside its input and its output: only the same one is continued."""

    bundle: str
    source: str
    fingerprint: str
    rows: int
    chunks: int
    precision: str
    top_k: int | None
    abstain: float | None
    max_seconds: float
    max_characters: float


def schema_of(labels: Sequence[str], dimensions: Sequence[str]) -> pa.Schema:
    """The columns of a part: those of ``mtab predict --format csv``, after the number of the input's row."""
    return pa.schema(
        [
            ("row", pa.int64()),
            ("utterance", pa.string()),
            ("label", pa.string()),
            *((name, pa.float64()) for name in (*labels, *dimensions)),
            ("duration", pa.float64()),
            ("modalities", pa.string()),
            ("text_truncated", pa.bool_()),
            ("error", pa.string()),
        ]
    )


class Parts:
    """The folder of a job's output."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._system, path = file_system(self.address)
        self._path = path.rstrip("/")

    def begin(self, job: Job) -> set[int]:
        """Take the folder for a job: the numbers of the chunks that are done.

        Raises `MtabError` if it holds another job, or something else.
        """
        self._system.makedirs(self._path, exist_ok=True)
        names = {name.rpartition("/")[2] for name in self._system.ls(self._path, detail=False)}
        if JOB_FILE in names:
            self._require_same(job)
        elif any(not name.startswith(".") for name in names):
            raise MtabError(f"{self.address}: holds other files, expected an empty folder or a job's")
        else:
            self._write(JOB_FILE, json.dumps(asdict(job), indent=2).encode())
        return {int(name[5:-8]) for name in names if name.startswith("part-") and name.endswith(".parquet")}

    def _require_same(self, job: Job) -> None:
        with self._system.open(f"{self._path}/{JOB_FILE}", "rb") as file:
            there = json.load(file)
        for name, value in asdict(job).items():
            if there.get(name) != value:
                found = f"{self.address}/{JOB_FILE}: {name} is {there.get(name)}"
                raise MtabError(f"{found}, expected {value} to continue; choose another folder")

    def write(self, number: int, table: pa.Table) -> None:
        """Write the part of a chunk: it is there whole, or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self._write(f"part-{number:06d}.parquet", sink.getvalue().to_pybytes())

    def _write(self, name: str, content: bytes) -> None:
        partial = f"{self._path}/.{name}.{uuid.uuid4().hex}.partial"
        try:
            with self._system.open(partial, "wb") as file:
                file.write(content)
            self._system.mv(partial, f"{self._path}/{name}")
        except BaseException:
            if self._system.exists(partial):
                self._system.rm(partial)
            raise
