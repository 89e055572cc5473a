"""int8 graphs: what they compute by hand, and that no row's answer depends on another row."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import QuantType, quantize_dynamic

from mtab_export.int8 import quantize

from .int8_graphs import OPTIMISED, UNOPTIMISED, WEIGHTS, answers, open_session, reference, speech, write


def by_hand(x: np.ndarray, weight: np.ndarray, largest: int) -> np.ndarray:
    """The product of two rounded matrices, a scale per row of one and per column of the other."""
    row_scales = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    column_scales = np.abs(weight).max(axis=0) / np.float32(largest)
    rows, columns = np.rint(x / row_scales), np.rint(weight / column_scales)
    return (rows.astype(np.int64) @ columns.astype(np.int64)) * (
        row_scales.astype(np.float64) * column_scales
    )


@pytest.mark.parametrize(("reduce_range", "largest"), [(True, 64), (False, 127)])
def test_the_arithmetic_by_hand(source: Path, tmp_path: Path, reduce_range: bool, largest: int) -> None:
    quantize(source, tmp_path / "model.onnx", reduce_range)
    x = speech(3, 5, 16)
    found = reference(tmp_path / "model.onnx", x)
    np.testing.assert_allclose(found["query"], by_hand(x, WEIGHTS["q"], largest), rtol=1e-5, atol=0)
    gemm = by_hand(x.reshape(-1, 16), WEIGHTS["out"].T, largest) + WEIGHTS["out_bias"]
    np.testing.assert_allclose(found["gemm"], gemm, rtol=1e-5, atol=1e-5)


def test_the_errors_are_those_of_8_bits(source: Path, session: onnxruntime.InferenceSession) -> None:
    x = speech(4, 9, 16)
    found, expected = answers(session, x), answers(open_session(source), x)
    for name in ("query", "gemm"):
        size = np.linalg.norm(expected[name], axis=-1)
        assert np.all(np.linalg.norm(found[name] - expected[name], axis=-1) < 0.05 * size), name
    assert not np.array_equal(found["query"], expected["query"])


@pytest.mark.parametrize("level", [OPTIMISED, UNOPTIMISED])
def test_onnx_runtime_computes_what_the_standard_says(
    target: Path, level: onnxruntime.GraphOptimizationLevel
) -> None:
    """It has a fused operator for these nodes, which is wrong where a bias follows scales per row."""
    x = speech(3, 7, 16)
    found, expected = answers(open_session(target, level), x), reference(target, x)
    for name, array in expected.items():
        scale = np.abs(array).max(axis=-1, keepdims=True)
        np.testing.assert_allclose(found[name] / scale, array / scale, atol=2e-6, err_msg=name)


def test_a_reduced_range_cannot_saturate(tmp_path: Path) -> None:
    """All activations and weights at their largest, so that an int16 would overflow with more."""
    weights = WEIGHTS | {"q": np.ones_like(WEIGHTS["q"])}
    quantize(write(tmp_path / "model.onnx", weights), tmp_path / "int8.onnx", reduce_range=True)
    x = np.full((1, 2, 16), 3, np.float32)
    np.testing.assert_allclose(answers(open_session(tmp_path / "int8.onnx"), x)["query"], 48, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 5),
    steps=st.integers(1, 6),
    loudness=st.lists(st.sampled_from([0.0, 1e-6, 1.0, 10.0, 1e4]), min_size=5, max_size=5),
)
def test_a_row_never_depends_on_the_others(
    session: onnxruntime.InferenceSession, seed: int, batch: int, steps: int, loudness: Sequence[float]
) -> None:
    x = speech(batch, steps, 16, seed=seed) * np.array(loudness[:batch], np.float32)[:, None, None]
    together = answers(session, x)
    for row in range(batch):
        alone = answers(session, x[row : row + 1])
        np.testing.assert_array_equal(together["query"][row], alone["query"][0])
        np.testing.assert_array_equal(
            together["gemm"].reshape(batch, steps, 12)[row], alone["gemm"].reshape(steps, 12)
        )
        for step in range(steps):
            one = answers(session, x[row : row + 1, step : step + 1])["query"]
            np.testing.assert_array_equal(together["query"][row, step], one[0, 0])


def test_louder_neighbours_change_nothing(
    source: Path, session: onnxruntime.InferenceSession, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 16)).astype(np.float32)
    louder = x * np.array([1, 10, 10], np.float32)[:, None, None]
    before, after = answers(session, x)["y"][0], answers(session, louder)["y"][0]
    np.testing.assert_allclose(after, before, rtol=1e-6)
    # The usual way, a range per tensor, does change them: the test can tell.
    usual = tmp_path / "usual.onnx"
    quantize_dynamic(source, usual, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    before, after = (answers(open_session(usual), each)["y"][0] for each in (x, louder))
    assert np.abs(after - before).max() > 0.05 * np.abs(before).max()


def test_a_row_of_zeros_stays_zeros(session: onnxruntime.InferenceSession) -> None:
    x = speech(1, 3, 16)
    x[0, 1] = 0
    found = answers(session, x)
    assert not found["query"][0, 1].any()
    np.testing.assert_array_equal(found["gemm"][1], WEIGHTS["out_bias"])
    assert all(np.isfinite(array).all() for array in found.values())


def test_a_column_of_zeros_stays_zeros(tmp_path: Path) -> None:
    weights = WEIGHTS | {"q": WEIGHTS["q"] * (np.arange(24) != 5)}
    quantize(write(tmp_path / "model.onnx", weights), tmp_path / "int8.onnx", reduce_range=False)
    assert not reference(tmp_path / "int8.onnx", speech(1, 3, 16))["query"][..., 5].any()
