"""The temperature is that of the least negative log-likelihood, and stays sensible where there is none."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mtab.config import from_dict, to_dict
from mtab.errors import ConfigError
from mtab.files import write_json
from mtab_train.calibration import (
    TEMPERATURES,
    BeforeAfter,
    Calibration,
    CalibrationScores,
    calibrated,
    calibration_scores,
    fit_temperature,
    negative_log_likelihood,
    read_calibration,
)
from mtab_train.run import CALIBRATION, RESULTS

SCORES = CalibrationScores(12, BeforeAfter(0.75, 0.5), BeforeAfter(0.25, 0.125))
FITTED = Calibration(1.5, SCORES, SCORES)


def answers(utterances: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A classifier's logits, ``temperature`` times those that its classes were drawn by, and the classes."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(utterances, 4))
    # The largest of logits and Gumbel noise is a draw from their softmax.
    true = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    return (temperature * logits).astype(np.float32), true


def log_loss(logits: np.ndarray, true: np.ndarray, temperature: float) -> float:
    """PyTorch's."""
    return float(
        torch.nn.functional.cross_entropy(
            torch.from_numpy(logits).double() / temperature, torch.from_numpy(true)
        )
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, true = answers(20_000, temperature)
    found = fit_temperature(logits, true)
    assert found == pytest.approx(temperature, rel=0.03)
    held_out = calibration_scores(*answers(20_000, temperature, seed=1), found)
    assert held_out.ece.after < 0.015
    if temperature == 3:
        assert held_out.ece.before > 0.1
        assert held_out.nll.after < 0.7 * held_out.nll.before


@pytest.mark.parametrize(("utterances", "temperature"), [(30, 2.0), (80, 0.6), (500, 4.0)])
def test_it_is_the_best_of_a_grid(utterances: int, temperature: float) -> None:
    logits, true = answers(utterances, temperature)
    grid = np.geomspace(*TEMPERATURES, 4000)
    best = grid[np.argmin([log_loss(logits, true, each) for each in grid])]
    # The grid's own step is a thousandth.
    assert fit_temperature(logits, true) == pytest.approx(best, rel=2e-3)


def test_it_is_that_of_scikit_learn() -> None:
    """A classifier trained on too little, calibrated on more."""
    pytest.importorskip("sklearn", "1.8", reason="scikit-learn fits temperatures since 1.8")
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    random = np.random.default_rng(0)
    true = random.integers(4, size=400)
    x = random.normal(size=(400, 30)) + 1.5 * np.eye(4, 30)[true]
    classifier = LogisticRegression(max_iter=2000).fit(x[:100], true[:100])
    published = CalibratedClassifierCV(FrozenEstimator(classifier), method="temperature")
    published.fit(x[100:], true[100:])
    logits = classifier.decision_function(x[100:])
    temperature = fit_temperature(logits, true[100:])
    assert 1.2 < temperature < 5
    np.testing.assert_allclose(
        calibrated(logits, temperature), published.predict_proba(x[100:]), rtol=1e-3, atol=1e-5
    )


def test_a_set_without_a_mistake_says_nothing() -> None:
    logits = 3 * np.eye(4, dtype=np.float32)
    assert fit_temperature(logits, np.arange(4)) == 1
    assert fit_temperature(logits[:1], np.array([0])) == 1


@pytest.mark.parametrize(
    ("logits", "true", "bound"),
    [
        # One mistake, and nearly a tie: the sharper, the likelier.
        ([[0.3, 0], [0, 0.3], [1e-3, 0]], [0, 1, 1], TEMPERATURES[0]),
        ([[4, 0]], [1], TEMPERATURES[1]),
    ],
)
def test_what_runs_away_is_held(logits: list[list[float]], true: list[int], bound: float) -> None:
    assert fit_temperature(np.array(logits, np.float32), np.array(true)) == pytest.approx(bound, rel=1e-3)


def test_answers_that_no_temperature_changes_keep_theirs() -> None:
    assert fit_temperature(np.full((5, 3), 2.5, np.float32), np.array([0, 1, 2, 1, 1])) == 1


@settings(deadline=None, max_examples=60)
@given(
    utterances=st.integers(1, 12),
    classes=st.integers(2, 7),
    scale=st.sampled_from([1e-6, 0.1, 1, 30, 1e4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_bounded_never_worse_and_changes_no_answer(
    utterances: int, classes: int, scale: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    logits = (scale * random.normal(size=(utterances, classes))).astype(np.float32)
    true = random.integers(classes, size=utterances)
    temperature = fit_temperature(logits, true)
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]
    found = calibration_scores(logits, true, temperature)
    assert found.nll.after <= found.nll.before
    assert math.isfinite(found.nll.after)
    probabilities = calibrated(logits, temperature)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    # Two that are as good as equal may round to the same.
    chosen = probabilities[np.arange(utterances), logits.argmax(axis=1)]
    np.testing.assert_array_equal(chosen, probabilities.max(axis=1))


def test_log_likelihood_is_that_of_pytorch() -> None:
    logits, true = answers(50, 3)
    for temperature in (1.0, 0.3, 8.0):
        assert negative_log_likelihood(logits, true, temperature) == pytest.approx(
            log_loss(logits, true, temperature), rel=1e-12
        )


def test_scores_by_hand() -> None:
    """Two classes whose logits differ by log 9 and log 4: 0.9, right, and 0.8, wrong; at temperature 2 the
    odds are 3 and 2."""
    logits = np.log([[9.0, 1.0], [4.0, 1.0]])
    found = calibration_scores(logits, np.array([0, 1]), 2.0)
    assert found.utterances == 2
    assert found.nll.before == pytest.approx(-(math.log(0.9) + math.log(0.2)) / 2)
    assert found.nll.after == pytest.approx(-(math.log(3 / 4) + math.log(1 / 3)) / 2)
    assert found.ece.before == pytest.approx((0.1 + 0.8) / 2)
    assert found.ece.after == pytest.approx((1 / 4 + 2 / 3) / 2)


@pytest.mark.parametrize(
    "calibration", [FITTED, Calibration(1.0, None, SCORES, "protocol paper has no validation split")]
)
def test_the_file_comes_back(tmp_path: Path, calibration: Calibration) -> None:
    write_json(tmp_path / CALIBRATION, to_dict(calibration))
    # Of an earlier end, or of one that was not reached.
    assert read_calibration(tmp_path) is None
    (tmp_path / RESULTS).touch()
    assert read_calibration(tmp_path) == calibration


@pytest.mark.parametrize("temperature", [0, -1.5, 1e-30, 1e30])
def test_a_temperature_that_is_none_is_refused(tmp_path: Path, temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature is"):
        dataclasses.replace(FITTED, temperature=temperature)
    write_json(tmp_path / CALIBRATION, to_dict(FITTED) | {"temperature": temperature})
    (tmp_path / RESULTS).touch()
    with pytest.raises(ConfigError, match=r"calibration\.json: temperature is .*, expected 0\.25 to 10"):
        read_calibration(tmp_path)


def test_a_field_that_is_missing_is_named() -> None:
    values = to_dict(FITTED)
    del values["test"]["ece"]["after"]
    with pytest.raises(ConfigError, match=r"'test\.ece\.after' is missing"):
        from_dict(Calibration, values, "calibration.json")
