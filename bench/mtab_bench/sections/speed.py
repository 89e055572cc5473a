"""How fast a bundle is here on every engine, beside what one would use otherwise, as plain JSON values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from mtab.bundle import Bundle
from mtab.errors import EngineError, MtabError
from mtab.graphs import FUSED
from mtab.loading import open_preprocessor
from mtab.machine import OtherLoad, describe_machine, usable_cores
from mtab.timing import SLOW
from mtab_bench.backends import (
    BASELINE_TITLES,
    OPTIMUM,
    PLAIN,
    REFERENCE,
    TRTEXEC,
    Backend,
    Run,
    bundle_backends,
    export_plain,
    open_backend,
    plain_backend,
    pytorch_backends,
)
from mtab_bench.cases import Case, make_cases
from mtab_bench.energy import GpuCounters, cpu_meter, joules_a_run
from mtab_bench.flops import SIZES, count_flops, matrix_rate
from mtab_bench.interleaving import WARMUP, first_answers, time_interleaved, with_speedups
from mtab_bench.optimum import INSTALL, PublishedEncoder, export_by_optimum
from mtab_bench.reference import absent_engines, entry, reference_model
from mtab_bench.sections.parts import time_parts
from mtab_bench.sections.samples import latency, real_time_factor, throughput
from mtab_bench.sections.start import measure_starts
from mtab_bench.trtexec import find_trtexec, time_trtexec

if TYPE_CHECKING:
    pass

DESCRIPTION = (
    "Each sample is the time from the padded arrays of a batch, in memory, to its probabilities. After "
    f"{WARMUP} runs of each engine for warm-up, the engines are timed in interleaved blocks of some runs, in "
    "alternating order; before its part of a block come a pause, in which the idle threads of the engine "
    f"before go to sleep, and a run untimed. An engine {SLOW:.0f} times as slow as the fastest runs less "
    "often. trtexec alone is timed after the others, by itself."
)
_TIMED = ("latency", "throughput", "rtf", "speedup", "energy", "share_of_matrix_rate")


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: see ``mtab-bench latency --help``. ``engines`` are keys of the report (none: all)."""

    batch_sizes: tuple[int, ...] = (1, 8)
    seconds: tuple[float, ...] = (4.5,)
    threads: int = field(default_factory=usable_cores)
    min_seconds: float = 5.0
    engines: tuple[str, ...] = ()
    parts: bool = True
    optimum: Path | None = None
    starts: int = 3

    def wants(self, key: str) -> bool:
        """Whether to measure an engine; the reference always is."""
        return key == REFERENCE or not self.engines or key in self.engines


def measure_speed(
    bundle: Bundle, checkpoint: Path | None = None, options: Options | None = None
) -> dict[str, Any]:
    """The report's section ``speed``; docs/report-schema.md describes it.

    ``checkpoint`` is the run that the bundle was exported from (None: the folder that it lies in). What
    cannot be had here is an engine that was skipped, with the reason. Raises `MtabError` if the bundle cannot
    be used, for an engine that is none, and if every engine was skipped.
    """
    options = options or Options()
    cases = make_cases(open_preprocessor(bundle), options.batch_sizes, options.seconds)
    with TemporaryDirectory() as place:
        bench = _Bench(bundle, checkpoint, options, Path(place))
        bench.export_plain(cases[0])
        # Before this process has every engine in its own memory.
        starts = bench.starts(cases[0])
        with OtherLoad() as load_beside:
            timed = bench.time_cases(cases)
            parts = bench.time_parts([case for case in cases if case.batch_size == options.batch_sizes[0]])
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "reference": REFERENCE,
        "random_weights": bundle.manifest.training.dataset is None,
        "parameters": bench.parameters,
        "timing": {
            "threads": options.threads,
            "warmup": WARMUP,
            "min_seconds": options.min_seconds,
            "other_load": load_beside.cores,
            "description": DESCRIPTION,
        },
        "matrix_rate": bench.rate and {"unit": "GFLOP/s", "value": bench.rate, "sizes": list(SIZES)},
        "engines": bench.engines(starts),
        "cases": [bench.with_shares(each) for each in timed],
        "parts": [bench.with_shares(each) for each in parts],
    }


class _Bench:
    """What is measured side by side, and why the rest is ``skipped``."""

    def __init__(self, bundle: Bundle, checkpoint: Path | None, options: Options, place: Path) -> None:
        self._bundle = bundle
        self._options = options
        self._place = place
        self.skipped: dict[str, str] = {}
        self.rate: float | None = None
        self._differences: dict[str, float] = {}
        self._reference, self._model, reason = reference_model(bundle, checkpoint, options.threads)
        self._ways = [
            *pytorch_backends(Path(self._reference.source), options.threads),
            plain_backend(place / "plain.onnx", options.threads),
            *bundle_backends(bundle, options.threads),
        ]
        self._absent = absent_engines()
        known = [*dict.fromkeys([*(way.key for way in self._ways), *BASELINE_TITLES, *self._absent])]
        if unknown := [key for key in options.engines if key not in known]:
            raise EngineError(f"engine {unknown[0]!r}, expected some of {', '.join(known)}")
        self._ways = [way for way in self._ways if options.wants(way.key)]
        if reason is not None:
            self.skipped |= dict.fromkeys((key for key in BASELINE_TITLES if key != TRTEXEC), reason)
        if options.optimum is None:
            self.skipped.setdefault(OPTIMUM, INSTALL)
        elif not options.parts:
            self.skipped.setdefault(OPTIMUM, "it is of the parts, which were not measured")
        try:
            find_trtexec()
        except EngineError as error:
            self.skipped[TRTEXEC] = str(error)

    @property
    def parameters(self) -> int | None:
        """Of the model; None without PyTorch."""
        return self._model and sum(parameter.numel() for parameter in self._model.parameters())

    def export_plain(self, case: Case) -> None:
        """Write the graph of the plain export, where it is wanted."""
        wanted = [way for way in self._ways if way.key == PLAIN and way.key not in self.skipped]
        if not wanted or self._model is None:
            return
        # Two of everything: an axis of one is taken for fixed.
        [traced] = make_cases(open_preprocessor(self._bundle), [2], [case.seconds])
        try:
            export_plain(self._model, Path(wanted[0].source), traced.inputs)
        except EngineError as error:
            self.skipped[PLAIN] = str(error)

    def starts(self, case: Case) -> dict[str, dict[str, Any]]:
        """``start`` and ``memory`` of every engine that answers in a process of its own, by its key."""
        if not self._options.starts:
            return {}
        ways = [way for way in self._ways if way.key not in self.skipped]
        rounds = self._options.starts + 1
        with tqdm(total=rounds * len(ways), desc="starting", disable=None, leave=False) as bar:
            measured, failures = measure_starts(
                ways,
                case.inputs,
                self._options.starts,
                GpuCounters().memory_used,
                lambda: bar.update(),
            )
        self.skipped |= failures
        return measured

    def time_cases(self, cases: list[Case]) -> list[dict[str, Any]]:
        """Every engine on every case. Raises `EngineError` if none can be had."""
        runs = self._open_all(cases[0])
        if not runs:
            first = next(iter(self.skipped.values()))
            raise EngineError(f"{self._bundle.folder}: every engine was skipped; the first: {first}")
        return [self._time_case(runs, case) for case in tqdm(cases, "timing", disable=None, leave=False)]

    def _open_all(self, case: Case) -> dict[str, Run]:
        """Every engine that opens and answers."""
        runs: dict[str, Run] = {}
        for way in tqdm(self._ways, "opening", disable=None, leave=False):
            if way.key in self.skipped:
                continue
            try:
                run = open_backend(way, self._model)
                run(case.inputs)
            except MtabError as error:
                self.skipped[way.key] = str(error)
            else:
                runs[way.key] = run
        return runs

    def _time_case(self, runs: Mapping[str, Run], case: Case) -> dict[str, Any]:
        calls = {key: lambda run=run: run(case.inputs) for key, run in runs.items()}
        answers, failures = first_answers(calls)
        calls = {key: calls[key] for key in answers}
        for key in answers.keys() - {REFERENCE} if REFERENCE in answers else ():
            difference = float(np.abs(answers[key] - answers[REFERENCE]).max())
            self._differences[key] = max(difference, self._differences.get(key, 0.0))
        gflop = None
        if (model := self._model) is not None:
            import torch

            tensors = {name: torch.from_numpy(array) for name, array in case.inputs.items()}
            self.rate = max(matrix_rate(self._options.threads), self.rate or 0.0)
            gflop = 1e-9 * count_flops(lambda: model(**tensors))
        seconds = time_interleaved(calls, self._options.min_seconds) if calls else {}
        energy = {key: self._energy(key, call) for key, call in calls.items()}
        if self._options.wants(TRTEXEC) and TRTEXEC not in self.skipped:
            try:
                seconds[TRTEXEC] = self._time_trtexec(case)
            except MtabError as error:
                failures[TRTEXEC] = str(error)
        hears = "input_values" in case.inputs
        speech = case.batch_size * case.seconds
        entries = {
            key: {
                "latency": latency(taken),
                "throughput": throughput(taken, case.batch_size),
                "rtf": real_time_factor(taken, taken.shape[1] * speech) if hears else None,
                "energy": energy.get(key),
            }
            for key, taken in seconds.items()
        }
        return {
            "batch_size": case.batch_size,
            "seconds": case.seconds,
            "tokens": case.tokens,
            "gflop": gflop,
            "failures": failures,
            "engines": {key: dict.fromkeys(_TIMED) for key in self._keys()} | with_speedups(entries),
        }

    def _time_trtexec(self, case: Case) -> np.ndarray:
        graph = self._bundle.manifest.graph(FUSED.name, "fp32")
        if graph is None:
            raise EngineError(f"{self._bundle.folder}: has no fp32 graph, expected one for trtexec")
        path = self._bundle.path(graph.file)
        return time_trtexec(find_trtexec(), path, case.inputs, self._options.min_seconds)[:, None]

    def _energy(self, key: str, call: Callable[[], object]) -> dict[str, Any] | None:
        """Joules of one run, of the board where it is a GPU's, else of the processor."""
        on_gpu = next(way.device for way in self._ways if way.key == key) != "cpu"
        meter = GpuCounters().meter() if on_gpu else cpu_meter()
        return meter and {"unit": "J", "value": joules_a_run(call, meter, self._options.min_seconds)}

    def time_parts(self, cases: list[Case]) -> list[dict[str, Any]]:
        """Each part of the model in PyTorch, on the bundle's engines on the CPU, and through optimum."""
        if self._model is None or not self._options.parts:
            return []
        published = self._export_by_optimum()
        keys = {way.key for way in self._ways} - self.skipped.keys()
        how = self._options.threads, self._options.min_seconds
        return [
            each
            for case in tqdm(cases, "timing parts", disable=None, leave=False)
            for each in time_parts(self._bundle, self._model, case, keys, published, *how)
        ]

    def _export_by_optimum(self) -> dict[str, PublishedEncoder]:
        """Both encoders through optimum, by the part's name; none where it is skipped."""
        if OPTIMUM in self.skipped or self._options.optimum is None or not self._options.wants(OPTIMUM):
            return {}
        published = {}
        try:
            for part in ("audio_encoder", "text_encoder"):
                if (encoder := getattr(self._model, part)) is not None:
                    graph = export_by_optimum(self._options.optimum, encoder, self._place / part)
                    published[part] = PublishedEncoder(graph, self._options.threads)
        except EngineError as error:
            self.skipped[OPTIMUM] = str(error)
            return {}
        return published

    def engines(self, starts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """An entry for everything that was asked for, in the order of the report."""
        threads = self._options.threads
        others = [
            Backend(OPTIMUM, BASELINE_TITLES[OPTIMUM], "onnx", "", "cpu", "fp32", threads),
            Backend(TRTEXEC, BASELINE_TITLES[TRTEXEC], "onnx", "", "cuda", "fp32", None),
        ]
        entries = {way.key: entry(way, self.skipped.get(way.key)) for way in [*self._ways, *others]}
        found = {}
        for key in self._keys():
            difference = self._differences.get(key)
            found[key] = {
                **(entries | self._absent)[key],
                **(starts.get(key) or {"start": None, "memory": None}),
                "parity": None if difference is None else {"max_probability_difference": difference},
            }
        return found

    def _keys(self) -> list[str]:
        """Of the report's engines, in its order: the reference, its peers, the bundle's."""
        wanted = [key for key in (*BASELINE_TITLES, *self._absent) if self._options.wants(key)]
        peers = [key for key in wanted if key in BASELINE_TITLES]
        return [*dict.fromkeys([*peers, *(way.key for way in self._ways), *wanted])]

    def with_shares(self, timed: dict[str, Any]) -> dict[str, Any]:
        """A case or a part with what each engine reached of the machine's rate for float32 products."""
        for engine in timed["engines"].values():
            known = self.rate and timed["gflop"] and engine["latency"]
            share = timed["gflop"] / engine["latency"]["p50"] / self.rate if known else None
            engine["share_of_matrix_rate"] = share
        return timed
