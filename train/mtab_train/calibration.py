"""Probabilities that mean what they say: one temperature, fitted on validation data. No torch.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: probabilities are
softmax(logits / temperature), which changes how sure an answer is and never which class it is.
"""

from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from mtab.config import load_config
from mtab.provenance import TEMPERATURES, BeforeAfter, Calibration, CalibrationScores
from mtab_train.metrics import expected_calibration_error
from mtab_train.run import CALIBRATION, RESULTS


def read_calibration(folder: Path) -> Calibration | None:
    """A run folder's calibration, None before its training has ended. Raises `ConfigError` if it is wrong."""
    path = folder / CALIBRATION
    ended = (folder / RESULTS).is_file() and path.is_file()
    return load_config(Calibration, path) if ended else None


def fit_temperature(logits: np.ndarray, true: np.ndarray) -> float:
    """The temperature in `TEMPERATURES` of the least negative log-likelihood; never one worse than 1.

    ``logits`` is (utterances, classes), ``true`` (utterances,) class indices. Where every utterance is
    answered right, the likelihood only grows with sharper answers and says nothing about how sure they may
    be: the temperature is 1.
    """
    if (logits.argmax(axis=1) == true).all():
        return 1.0
    # In the logarithm, where halving is as far as doubling.
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, true, float(np.exp(log))),
        bounds=np.log(TEMPERATURES),
        method="bounded",
    )
    temperature = float(np.exp(found.x))
    better = negative_log_likelihood(logits, true, temperature) < negative_log_likelihood(logits, true)
    return temperature if better else 1.0


def negative_log_likelihood(logits: np.ndarray, true: np.ndarray, temperature: float = 1.0) -> float:
    """The mean over utterances, in nats; shapes as of `fit_temperature`."""
    logs = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-logs[np.arange(len(true)), true].mean())


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature): (utterances, classes) -> (utterances, classes), as the model does it."""
    return softmax(logits / np.float32(temperature), axis=1)


def calibration_scores(logits: np.ndarray, true: np.ndarray, temperature: float) -> CalibrationScores:
    """Measure ``temperature`` against 1; shapes as of `fit_temperature`."""
    figures = [
        (
            negative_log_likelihood(logits, true, each),
            expected_calibration_error(calibrated(logits, each), true),
        )
        for each in (1.0, temperature)
    ]
    nll, ece = (BeforeAfter(*pair) for pair in zip(*figures, strict=True))
    return CalibrationScores(len(true), nll, ece)
