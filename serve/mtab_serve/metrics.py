"""What a server counts and times, for Prometheus."""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from mtab.aio import Timings

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the folder in which the workers of a server add up their figures."""

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

REQUESTS = Counter(
    "mtab_requests_total", "Requests by path, method and status.", ["path", "method", "status"]
)
OUTCOMES = Counter(
    "mtab_outcomes_total", "Utterances by outcome: answered, or why not.", ["model", "engine", "outcome"]
)
AUDIO = Counter("mtab_audio_seconds_total", "Seconds of speech that were answered.", ["model", "engine"])
QUEUE = Gauge(
    "mtab_queue_length", "Utterances without an answer yet.", ["model", "engine"], multiprocess_mode="livesum"
)
BATCH = Histogram(
    "mtab_batch_size",
    "Utterances in the batch that an utterance was computed in.",
    ["model", "engine"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
LATENCY = Histogram(
    "mtab_latency_seconds",
    "What an utterance took: reading, waiting for the engine, computing.",
    ["model", "engine", "stage"],
    buckets=_LATENCY,
)
REQUEST_SECONDS = Histogram("mtab_request_seconds", "What a request took.", ["path"], buckets=_LATENCY)
MODELS = Gauge(
    "mtab_model_info",
    "The bundles that are served.",
    ["model", "engine", "content"],
    multiprocess_mode="livemax",
)


def observe(model: str, engine: str, timings: Timings, seconds: float | None) -> None:
    """Count an utterance that was computed, of so many ``seconds`` of speech."""
    BATCH.labels(model, engine).observe(timings.batch)
    for stage in ("read", "wait", "compute"):
        LATENCY.labels(model, engine, stage).observe(getattr(timings, stage))
    AUDIO.labels(model, engine).inc(seconds or 0.0)


def exposition() -> bytes:
    """All figures in Prometheus's text format, of every worker."""
    if DIRECTORY not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
