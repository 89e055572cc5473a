"""Measures the section ``speed``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mtab.bundle import Bundle
from mtab.errors import EngineError, MtabError
from mtab.graphs import FUSED
from mtab.loading import open_preprocessor
from mtab.memory import available_memory
from mtab.progress import progress, track
from mtab.timing import Timing
from mtab_bench.backends import (
    BASELINE_TITLES,
    OPTIMUM,
    REFERENCE,
    TRTEXEC,
    Backend,
    Inputs,
    Run,
    bundle_backends,
    bytes_of,
    export_plain,
    open_backend,
    plain_backends,
    pytorch_backends,
)
from mtab_bench.cases import Case, make_cases
from mtab_bench.energy import GpuCounters, cpu_meter, joules_a_run
from mtab_bench.flops import count_flops
from mtab_bench.interleaving import HOW, WARMUP, Phase, first_answers, time_phases
from mtab_bench.memory import in_groups
from mtab_bench.optimum import INSTALL, PublishedEncoder, check_python, export_by_optimum
from mtab_bench.rates import MachineRates, measure_rates
from mtab_bench.reference import reference_model
from mtab_bench.sections.parts import Part, time_parts, timed_of
from mtab_bench.sections.samples import Quantity, Timed
from mtab_bench.sections.section import Conditions, Machine, now
from mtab_bench.sections.speed import CaseBackend, Options, Speed, SpeedBackend, SpeedCase
from mtab_bench.sections.start import Start, StartMemory, measure_starts
from mtab_bench.trtexec import find_trtexec, time_trtexec

MIN_SAMPLES = 12
"""Runs of each backend that are timed, but for those that are too slow."""
DESCRIPTION = (
    "Each sample is the time from the padded arrays of a batch, in memory, to its probabilities. Every batch "
    "has lengths that no batch before had, about the seconds named, as real traffic has; “repeated” is one "
    f"batch again and again. After {WARMUP} runs for warm-up: {HOW} Backends that do not fit into memory "
    "together are timed in groups, each beside PyTorch. trtexec alone is timed by itself, on one length."
)


def measure_speed(bundle: Bundle, checkpoint: Path | None = None, options: Options | None = None) -> Speed:
    """Time the whole model and its parts, and the start of each backend.

    ``checkpoint`` is the run that the bundle was exported from (None: the folder that it lies in). What
    cannot be had here is a backend that was skipped, with the reason. Ctrl-C once the clock runs ends the
    measuring: the section holds the cases that are complete.

    Raises `MtabError` if the bundle cannot be used, for a backend that is none, for a Python for optimum that
    is not there, and if all were skipped.
    """
    options = options or Options()
    if options.optimum is not None:
        check_python(options.optimum)
    cases = make_cases(open_preprocessor(bundle), options.batch_sizes, options.seconds)
    with TemporaryDirectory() as place:
        bench = _Bench(bundle, checkpoint, options, Path(place))
        bench.export_plain(cases[0])
        # Before this process has every backend in its own memory.
        starts = bench.starts(cases[0])
        try:
            bench.time_cases(cases)
            bench.time_parts([case for case in cases if case.batch_size == options.batch_sizes[0]])
        except KeyboardInterrupt:
            bench.interrupted = True
    section = bench.section(cases, starts)
    if section.interrupted and not section.cases:
        raise KeyboardInterrupt
    return section


class _Bench:
    """What is measured side by side, and why the rest is ``skipped``."""

    def __init__(self, bundle: Bundle, checkpoint: Path | None, options: Options, place: Path) -> None:
        self._bundle = bundle
        self._options = options
        self._place = place
        self._skipped: dict[str, str] = {}
        self._rates: MachineRates | None = None
        self._differences: dict[str, float] = {}
        self._timings: list[Timing] = []
        self._found: dict[int, dict[str, CaseBackend]] = {}
        self._parts: list[Part] = []
        self.interrupted = False
        self._reference, self._model, reason = reference_model(bundle, checkpoint, options.threads)
        self._backends = [
            *pytorch_backends(Path(self._reference.source), options.threads),
            *plain_backends(place / "plain.onnx", options.threads),
            *bundle_backends(bundle, options.threads),
        ]
        self._absent = SpeedBackend.absent()
        known = [*dict.fromkeys([*(each.key for each in self._backends), *BASELINE_TITLES, *self._absent])]
        if unknown := [key for key in options.backends if key not in known]:
            raise EngineError(f"engine {unknown[0]!r}, expected some of {', '.join(known)}")
        self._backends = [each for each in self._backends if options.wants(each.key)]
        if reason is not None:
            self._skipped |= dict.fromkeys((key for key in BASELINE_TITLES if key != TRTEXEC), reason)
        if options.optimum is None:
            self._skipped.setdefault(OPTIMUM, INSTALL)
        elif not options.parts:
            self._skipped.setdefault(OPTIMUM, "it is of the parts, which were not measured")
        try:
            find_trtexec()
        except EngineError as error:
            self._skipped[TRTEXEC] = str(error)

    @property
    def _parameters(self) -> int | None:
        return self._model and sum(parameter.numel() for parameter in self._model.parameters())

    @property
    def _weights(self) -> int | None:
        """The parameters that are multiplied: all but those of embeddings."""
        if (model := self._model) is None:
            return None
        from torch import nn

        return sum(
            parameter.numel()
            for module in model.modules()
            if not isinstance(module, nn.Embedding)
            for parameter in module.parameters(recurse=False)
        )

    def export_plain(self, case: Case) -> None:
        """Write the graph of the plain export, where it is wanted."""
        plain = [each for each in self._backends if each.kind == "onnx"]
        wanted = [each for each in plain if each.key not in self._skipped]
        if not wanted or self._model is None:
            return
        # Two of everything: an axis of one is taken for fixed.
        [traced] = make_cases(open_preprocessor(self._bundle), [2], [case.seconds])
        try:
            export_plain(self._model, Path(wanted[0].source), traced.inputs)
        except EngineError as error:
            self._skipped |= dict.fromkeys((each.key for each in plain), str(error))

    def starts(self, case: Case) -> dict[str, tuple[Start, StartMemory]]:
        """Start and memory of every backend that answers in a process of its own, by its key."""
        if not self._options.starts:
            return {}
        backends = [each for each in self._backends if each.key not in self._skipped]
        rounds = self._options.starts + 1
        with progress("starting", rounds * len(backends), "processes") as shown:
            measured, failures = measure_starts(
                backends, case.inputs, self._options.starts, GpuCounters().memory_used, shown.update
            )
        self._skipped |= failures
        return measured

    def time_cases(self, cases: list[Case]) -> None:
        """Every backend on every case, in groups that fit into memory. Raises `EngineError` if none opens."""
        wanted = {each.key: each for each in self._backends if each.key not in self._skipped}
        sizes = {key: bytes_of(each, self._bundle, self._parameters or 0) for key, each in wanted.items()}
        free = available_memory()
        groups = in_groups(sizes, [REFERENCE], free and free[0])
        opened = False
        with progress("timing", len(groups) * len(cases), "cases of backends") as shown:
            for group in groups:
                runs = self._open([wanted[key] for key in group], cases[0])
                opened = opened or bool(runs)
                for number, case in enumerate(cases):
                    if runs and not self.interrupted:
                        self._time_case(number, case, runs)
                    shown.update()
                del runs
        if not opened:
            first = next(iter(self._skipped.values()))
            raise EngineError(f"{self._bundle.folder}: every engine was skipped; the first: {first}")
        for number, case in enumerate(cases):
            self._time_trtexec(number, case)

    def _open(self, backends: list[Backend], case: Case) -> dict[str, Run]:
        """Those that open and answer."""
        runs: dict[str, Run] = {}
        for backend in track(backends, "opening", "backends"):
            try:
                run = open_backend(backend, self._model)
                run(case.inputs)
            except MtabError as error:
                self._skipped[backend.key] = str(error)
            else:
                runs[backend.key] = run
        return runs

    def _time_case(self, number: int, case: Case, runs: Mapping[str, Run]) -> None:
        first = {key: lambda r=run: r(case.inputs)["probabilities"] for key, run in runs.items()}
        answers, failures = first_answers(first)
        longest, beyond = first_answers(
            {key: lambda r=runs[key]: r(case.longest)["probabilities"] for key in answers}
        )
        failures |= beyond
        if self._model is not None:
            self._rates = measure_rates(self._options.threads).better(self._rates)
        phases = (
            Phase(case.new_lengths, 1, MIN_SAMPLES, self._options.min_seconds),
            Phase(lambda _: case.inputs, 1, MIN_SAMPLES),
        )
        title = f"{case.batch_size} x {case.seconds:g} s"
        timings, self.interrupted = (
            time_phases({key: runs[key] for key in longest}, phases, title) if longest else ([], False)
        )
        self._timings += timings[:1]
        found = self._found.setdefault(number, {})
        hears = "input_values" in case.inputs
        for key in longest if timings else ():
            if REFERENCE in answers and key != REFERENCE:
                difference = float(np.abs(answers[key] - answers[REFERENCE]).max())
                self._differences[key] = max(difference, self._differences.get(key, 0.0))
            # The reference is in every group: its first figures stand.
            found.setdefault(
                key,
                CaseBackend(
                    timed=timed_of(
                        timings, key, case.batch_size, case.batch_size * case.seconds if hears else None
                    ),
                    energy=None
                    if self.interrupted
                    else self._energy(key, lambda r=runs[key]: r(case.inputs)),
                ),
            )
        for key, reason in failures.items():
            found.setdefault(key, CaseBackend(failure=reason))

    def _time_trtexec(self, number: int, case: Case) -> None:
        if self.interrupted or TRTEXEC in self._skipped or not self._options.wants(TRTEXEC):
            return
        try:
            graph = self._bundle.manifest.graph(FUSED.name, "fp32")
            if graph is None:
                raise EngineError(f"{self._bundle.folder}: has no fp32 graph, expected one for trtexec")
            path = self._bundle.path(graph.file)
            seconds = time_trtexec(find_trtexec(), path, case.inputs, self._options.min_seconds)
            speech = case.batch_size * case.seconds if "input_values" in case.inputs else None
            entry = CaseBackend(timed=Timed.of(seconds, case.batch_size, speech))
        except MtabError as error:
            entry = CaseBackend(failure=str(error))
        self._found.setdefault(number, {})[TRTEXEC] = entry

    def _energy(self, key: str, call: Callable[[], object]) -> Quantity | None:
        """Joules of one run, of the board where it is a GPU's, else of the processor."""
        on_gpu = next(each.device for each in self._backends if each.key == key) != "cpu"
        meter = GpuCounters().meter() if on_gpu else cpu_meter()
        return None if meter is None else Quantity("J", joules_a_run(call, meter, self._options.min_seconds))

    def time_parts(self, cases: list[Case]) -> None:
        """Each part of the model in PyTorch, on the bundle's engines on the CPU, and through optimum."""
        if self._model is None or not self._options.parts or self.interrupted:
            return
        published = self._export_by_optimum()
        keys = {each.key for each in self._backends} - self._skipped.keys()
        how = self._options.threads, self._options.min_seconds
        for case in track(cases, "timing parts", "cases"):
            parts, timings, self.interrupted = time_parts(
                self._bundle, self._model, case, keys, published, *how
            )
            self._parts += parts
            self._timings += timings
            if self.interrupted:
                return

    def _export_by_optimum(self) -> dict[str, PublishedEncoder]:
        """Both encoders through optimum, by the part's name; none where it is skipped."""
        if OPTIMUM in self._skipped or self._options.optimum is None or not self._options.wants(OPTIMUM):
            return {}
        from mtab_train.encoders import AudioEncoder, TextEncoder

        published = {}
        try:
            for part in ("audio_encoder", "text_encoder"):
                # What transformers does not publish, optimum cannot export.
                if isinstance(encoder := getattr(self._model, part), AudioEncoder | TextEncoder):
                    graph = export_by_optimum(self._options.optimum, encoder, self._place / part)
                    published[part] = PublishedEncoder(graph, self._options.threads)
        except EngineError as error:
            self._skipped[OPTIMUM] = str(error)
            return {}
        return published

    def section(self, cases: list[Case], starts: Mapping[str, tuple[Start, StartMemory]]) -> Speed:
        """All that was measured."""
        options, threads = self._options, self._options.threads
        others = [
            Backend(OPTIMUM, BASELINE_TITLES[OPTIMUM], "onnx", "", "cpu", "fp32", threads),
            Backend(TRTEXEC, BASELINE_TITLES[TRTEXEC], "onnx", "", "cuda", "fp32", None),
        ]
        entries = dict(self._absent)
        for each in [*self._backends, *others]:
            start, memory = starts.get(each.key, (None, None))
            entries[each.key] = SpeedBackend.of(
                each,
                self._skipped.get(each.key),
                start=start,
                memory=memory,
                max_probability_difference=self._differences.get(each.key),
            )
        wanted = [key for key in (*BASELINE_TITLES, *self._absent) if options.wants(key)]
        baselines = [key for key in wanted if key in BASELINE_TITLES]
        keys = [*dict.fromkeys([*baselines, *(each.key for each in self._backends), *wanted])]
        return Speed(
            created=now(),
            machine=Machine.here(),
            interrupted=self.interrupted,
            protocol=None,
            timing=Conditions.of(threads, self._timings, DESCRIPTION),
            reference=REFERENCE,
            random_weights=self._bundle.manifest.training.dataset is None,
            parameters=self._parameters,
            weights=self._weights,
            min_seconds=options.min_seconds,
            rates=self._rates,
            backends={key: entries[key] for key in keys},
            cases=tuple(
                self._case(case, {key: self._found[number].get(key, CaseBackend()) for key in keys})
                for number, case in enumerate(cases)
                if any(each.timed for each in self._found.get(number, {}).values())
            ),
            parts=tuple(
                replace(
                    part,
                    backends={
                        key: replace(
                            each, share_of_matrix_rate=self._matrix_share(key, part.gflop, each.timed)
                        )
                        for key, each in part.backends.items()
                    },
                )
                for part in self._parts
            ),
        )

    def _case(self, case: Case, backends: Mapping[str, CaseBackend]) -> SpeedCase:
        gflop = self._gflop(case.inputs)
        return SpeedCase(
            case.batch_size,
            case.seconds,
            case.tokens,
            gflop,
            {
                key: replace(
                    each,
                    share_of_matrix_rate=self._matrix_share(key, gflop, each.timed),
                    share_of_memory_rate=self._memory_share(key, each.timed),
                )
                for key, each in backends.items()
            },
        )

    def _gflop(self, inputs: Inputs) -> float | None:
        if (model := self._model) is None:
            return None
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        return 1e-9 * count_flops(lambda: model(**tensors))

    def _matrix_share(self, key: str, gflop: float | None, timed: Timed | None) -> float | None:
        precision = self._precision_on_cpu(key)
        if not (gflop and timed and precision and self._rates):
            return None
        return self._rates.matrix_share(precision, gflop, timed.latency.p50)

    def _memory_share(self, key: str, timed: Timed | None) -> float | None:
        precision = self._precision_on_cpu(key)
        if not (self._weights and timed and precision and self._rates):
            return None
        return self._rates.memory_share(precision, self._weights, timed.latency.p50)

    def _precision_on_cpu(self, key: str) -> str | None:
        on_cpu = {each.key: each.precision for each in self._backends if each.device == "cpu"}
        return "fp32" if key == OPTIMUM else on_cpu.get(key)
