"""What a report says of timed samples: their summary, throughput and real-time factor."""

from typing import Any

import numpy as np


def latency(seconds: np.ndarray) -> dict[str, Any]:
    """Samples and their summary, under optimum-benchmark's names; percentiles interpolate linearly."""
    values = seconds.ravel()
    mean, deviation = float(values.mean()), float(values.std())
    return {
        "unit": "s",
        "count": len(values),
        "total": float(values.sum()),
        "mean": mean,
        **{f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 95, 99)},
        "stdev": deviation,
        "stdev_": 100 * deviation / mean,
        "values": values.tolist(),
    }


def throughput(seconds: np.ndarray, batch_size: int = 1) -> dict[str, Any]:
    """Utterances a second, one batch after the other."""
    return {"unit": "utterances/s", "value": batch_size * seconds.size / float(seconds.sum())}


def real_time_factor(seconds: np.ndarray, speech: float) -> dict[str, Any]:
    """Seconds of computing for a second of speech, ``speech`` being that of one pass: below 1 keeps up."""
    return {"unit": "s/s", "value": float(seconds.sum()) / (len(seconds) * speech)}
