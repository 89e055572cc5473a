"""``mtab-bench --dataset``: a bundle on every engine beside PyTorch, on its corpus's test utterances."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtab.bundle import Bundle
from mtab.errors import MtabError
from mtab.graphs import BUDGETS, NEAR_TIE
from mtab.machine import OtherLoad, describe_machine, usable_cores
from mtab.preprocess import Preprocessor
from mtab.timing import SLOW, Timing, interleaved
from mtab_bench.backends import REFERENCE, Run, bundle_backends, open_backend
from mtab_bench.reference import absent_engines, answer_each, entry, reference_model, require_one
from mtab_bench.sections.accuracy import accuracy, parity
from mtab_bench.sections.samples import latency, real_time_factor, throughput
from mtab_bench.test_set import protocol, read_test_set

MIN_SAMPLES = 200
"""Few utterances are passed over again until each engine has so many samples."""
GROUPS = ("accuracy", "parity", "latency", "throughput", "rtf", "speedup")


def evaluate(
    bundle: Bundle,
    dataset: str,
    data_dir: Path | None = None,
    checkpoint: Path | None = None,
    threads: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Measure accuracy, parity and latency of ``bundle`` on the test part of the fold it was trained for.

    Every engine and precision that it has, all in memory at once, for they take turns. What cannot be had
    here is skipped, with the reason; so is PyTorch where it or the checkpoint is missing. ``threads`` (None:
    one a usable core) holds for all.

    Raises `MtabError` if the bundle or the corpus cannot be used, or no engine can be had.
    """
    threads = threads or usable_cores()
    reference, model, skipped = reference_model(bundle, checkpoint, threads)
    preprocess = Preprocessor.from_folder(bundle.folder)
    test = read_test_set(bundle, preprocess, dataset, data_dir, columns)
    inputs = [preprocess.collate([features]) for features in test.features]
    labels = bundle.config.labels
    true = np.array([labels.index(utterance.label) for utterance in test.utterances])

    engines: dict[str, Any] = {REFERENCE: entry(reference, skipped) | dict.fromkeys(GROUPS)}
    answers: dict[str, np.ndarray] = {}
    runs: dict[str, Run] = {}
    for way in [*([] if model is None else [reference]), *bundle_backends(bundle, threads)]:
        engines[way.key] = engine = entry(way) | dict.fromkeys(GROUPS)
        try:
            run = open_backend(way, model)
            # Every utterance once: the answers, and the warm-up.
            answers[way.key] = answer_each(run, inputs, way.title)
        except MtabError as error:
            engine["skipped"] = str(error)
            continue
        runs[way.key] = run
        engine["accuracy"] = accuracy(answers[way.key], true, labels)
        if way.key != REFERENCE and REFERENCE in runs:
            before, margin = engines[REFERENCE], 2 * min(BUDGETS[way.precision].max_difference, NEAR_TIE)
            found = parity(answers[REFERENCE], answers[way.key], test.utterances, labels, margin)
            engine["parity"] = found | {
                f"{key}_difference": engine["accuracy"][key] - before["accuracy"][key]
                for key in ("war", "uar", "weighted_f1")
            }
    require_one(bundle, engines)
    with OtherLoad() as load_beside:
        timing = _time(runs, inputs)
    speech = test.speech_seconds and test.speech_seconds / len(inputs)
    for key in runs:
        seconds = timing.samples(key)
        engines[key] |= {
            "latency": latency(seconds),
            "throughput": throughput(seconds),
            "rtf": real_time_factor(seconds, speech) if speech else None,
        }
        if key != REFERENCE and REFERENCE in runs:
            rates = (engines[each]["throughput"]["value"] for each in (key, REFERENCE))
            engines[key]["speedup"] = next(rates) / next(rates)
    engines |= {key: absent | dict.fromkeys(GROUPS) for key, absent in absent_engines().items()}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "protocol": protocol(bundle, test),
        "timing": {
            "batch_size": 1,
            "threads": threads,
            "warmup": len(inputs),
            "passes": len(timing.items) // len(inputs),
            "other_load": load_beside.cores,
            "description": (
                "Each sample is the time from the arrays of one utterance, in memory, to its probabilities: "
                "a batch of one. After every utterance once for warm-up, the engines answer them in "
                "interleaved blocks, in alternating order; before its part of a block come a pause, in which "
                "the other engines' idle threads go to sleep, and an utterance untimed. An engine "
                f"{SLOW:.0f} times as slow as the fastest one answers fewer of them."
            ),
        },
        "preprocessing": {"latency": latency(test.seconds)},
        "reference": REFERENCE,
        "engines": engines,
        "utterances": [
            {
                "id": utterance.id,
                "audio": None if utterance.audio is None else str(utterance.audio),
                "true": utterance.label,
                "seconds": features.seconds,
                "tokens": None if features.input_ids is None else len(features.input_ids),
                "probabilities": {key: found[i].tolist() for key, found in answers.items()},
            }
            for i, (utterance, features) in enumerate(zip(test.utterances, test.features, strict=True))
        ],
    }


def _time(runs: dict[str, Run], inputs: list[dict[str, np.ndarray]]) -> Timing:
    """`interleaved` on every utterance."""
    with tqdm(total=100, desc="timing", unit="%", disable=None, leave=False) as bar:

        def show(share: float) -> None:
            bar.update(int(100 * share) - bar.n)

        return interleaved(runs, inputs.__getitem__, len(inputs), MIN_SAMPLES, progress=show)
