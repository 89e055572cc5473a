"""A worker of an archive job: opens the bundle once, and answers chunk by chunk."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import ray

from mtab.errors import MtabError
from mtab.inputs import Input
from mtab.limits import Limits
from mtab.loading import load
from mtab.output import reason
from mtab.results import Failure, Result
from mtab.types import Precision, TunedFor
from mtab_serve.archive.parts import Parts, schema_of
from mtab_serve.archive.source import Chunk, file_system, read_group


@dataclass(frozen=True, slots=True)
class Asking:
    """How a worker answers: what `mtab.load` and `mtab.Model.stream` take."""

    bundle: Path
    device: str = "auto"
    engine: str = "auto"
    precision: Precision | Literal["auto"] = "auto"
    threads: int = 1
    tuned_for: TunedFor = "latency"
    limits: Limits = Limits()  # noqa: RUF009
    top_k: int | None = None
    abstain: float | None = None
    batch_size: int | None = None
    batch_seconds: float = 60.0
    columns: tuple[tuple[str, str], ...] = ()


class Worker:
    """Answers chunks, and writes a part of each to ``out`` (None: none, to see how long it takes)."""

    def __init__(self, asking: Asking, out: str | None) -> None:
        self.asking = asking
        self.parts = None if out is None else Parts(out)
        self.model = load(
            asking.bundle,
            asking.device,
            engine=asking.engine,
            precision=asking.precision,
            threads=asking.threads,
            tuned_for=asking.tuned_for,
        )
        self.model.limits = asking.limits

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Answer the chunk in ``item``: how many rows, how many without an answer, and what it took.

        What keeps a part from being written is in ``error``, for the job to end with.
        """
        chunk: Chunk = item["chunk"]
        begun = time.time()
        table, seconds = self.answer(chunk)
        error = ""
        try:
            if self.parts is not None:
                self.parts.write(chunk.number, table)
        except (OSError, MtabError) as failure:
            error = str(failure)
        failed = table.num_rows - table["error"].null_count
        return {
            "worker": ray.get_runtime_context().get_actor_id(),
            "rows": table.num_rows,
            "failed": failed,
            "seconds": seconds,
            "begun": begun,
            "ended": time.time(),
            "error": error,
        }

    def answer(self, chunk: Chunk) -> tuple[pa.Table, float]:
        """A row for every row of a chunk, and the seconds of speech in it."""
        rows: list[dict[str, Any]] = []
        asked: list[int] = []

        def inputs() -> Iterator[Input]:
            for row, content in self._rows(chunk):
                rows.append({"row": row["row"], "utterance": row["utterance"], "error": row["problem"]})
                if row["problem"] is not None:
                    continue
                try:
                    audio = content if content is not None or row["audio"] is None else _fetch(row["audio"])
                except (OSError, MtabError) as error:
                    rows[-1]["error"] = f"{row['audio']}: {' '.join(str(error).split())}, expected a clip"
                    continue
                asked.append(len(rows) - 1)
                yield Input(audio, row["text"], row["start"], row["end"], name=row["utterance"])

        asking = self.asking
        answers = self.model.stream(
            inputs(),
            top_k=asking.top_k,
            abstain=asking.abstain,
            on_error="skip",
            batch_size=asking.batch_size,
            batch_seconds=asking.batch_seconds,
        )
        seconds = 0.0
        for number, answer in enumerate(answers):
            row = rows[asked[number]]
            if isinstance(answer, Failure):
                row["error"] = reason(row["utterance"], answer)
            else:
                row |= _cells(answer)
                seconds += answer.duration or 0.0
        schema = schema_of(self.model.labels, self.model.dimensions)
        return pa.Table.from_pylist(rows, schema=schema), seconds

    def _rows(self, chunk: Chunk) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        if chunk.rows is None:
            yield from read_group(chunk, dict(self.asking.columns))
        else:
            yield from ((row, None) for row in chunk.rows.to_pylist())


def _cells(answer: Result) -> dict[str, Any]:
    return {
        "label": answer.label,
        **answer.probabilities,
        **(answer.dimensions or {}),
        "duration": answer.duration,
        "modalities": "+".join(answer.modalities),
        "text_truncated": answer.text_truncated,
    }


def _fetch(address: str) -> Path | bytes:
    """A clip to read: a local file's path, else its content."""
    if "://" not in address:
        return Path(address)
    system, path = file_system(address)
    return system.cat_file(path)
