"""What a report says of timed samples: their summary, throughput, real-time factor, speedup."""

from dataclasses import dataclass

import numpy as np

from mtab.timing import Ratio


@dataclass(frozen=True, slots=True)
class Latency:
    """Samples and their summary, under optimum-benchmark's names; percentiles interpolate linearly.

    All in ``unit`` but ``stdev_``, which is percent of the mean.
    """

    unit: str
    count: int
    total: float
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    stdev: float
    stdev_: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, seconds: np.ndarray) -> "Latency":
        """Of seconds of any shape."""
        values = np.asarray(seconds, dtype=np.float64).ravel()
        mean, deviation = float(values.mean()), float(values.std())
        p50, p90, p95, p99 = (float(np.percentile(values, q)) for q in (50, 90, 95, 99))
        return cls(
            unit="s",
            count=len(values),
            total=float(values.sum()),
            mean=mean,
            p50=p50,
            p90=p90,
            p95=p95,
            p99=p99,
            stdev=deviation,
            stdev_=100 * deviation / mean,
            values=tuple(values.tolist()),
        )


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit."""

    unit: str
    value: float


@dataclass(frozen=True, slots=True)
class Timed:
    """What was timed of a backend: every request of a new length, and the same ones again.

    ``throughput`` is utterances a second, one batch after the other; ``rtf`` seconds of computing for a
    second of speech, None without speech; ``speedup`` is over the reference, None for the reference itself
    and without it. ``repeated`` is of lengths that came before, None where that was not measured.
    """

    latency: Latency
    throughput: Quantity
    rtf: Quantity | None
    speedup: Ratio | None
    repeated: Latency | None = None

    @classmethod
    def of(
        cls,
        seconds: np.ndarray,
        batch_size: int = 1,
        speech: float | None = None,
        speedup: Ratio | None = None,
        repeated: np.ndarray | None = None,
    ) -> "Timed":
        """Of the ``seconds`` of batches; ``speech`` is the seconds of speech in one, on average."""
        latency = Latency.of(seconds)
        return cls(
            latency,
            Quantity("utterances/s", batch_size / latency.mean),
            Quantity("s/s", latency.mean / speech) if speech else None,
            speedup,
            None if repeated is None else Latency.of(repeated),
        )
