"""The table of graphs: what a model of some modalities takes, and what its tolerances mean."""

import numpy as np
import pytest

from mtab.graphs import FUSED, HIDDEN, PROBABILITIES, Tolerance
from mtab.types import Modality


def test_tolerance_is_the_one_that_numpy_calls_close() -> None:
    random = np.random.default_rng(0)
    expected = random.normal(0, 50, 1000).astype(np.float32)
    found = expected + random.normal(0, 5e-3, 1000).astype(np.float32)
    inside = HIDDEN.used(found, expected) <= 1
    np.testing.assert_array_equal(inside, np.isclose(found, expected, rtol=1e-4, atol=1e-4))
    assert 0 < inside.sum() < 1000


def test_tolerance_by_hand() -> None:
    used = Tolerance(atol=1.0, rtol=0.5).used(np.array([3.0, -4.0, 1.0]), np.array([2.0, -2.0, 0.0]))
    np.testing.assert_allclose(used, [0.5, 1.0, 1.0])


def test_a_number_that_is_none_is_outside() -> None:
    assert not PROBABILITIES.used(np.array([np.nan]), np.array([0.5])) <= 1


@pytest.mark.parametrize(
    ("modalities", "inputs"),
    [
        (("audio", "text"), ["input_values", "audio_lengths", "input_ids", "text_lengths"]),
        (("audio",), ["input_values", "audio_lengths"]),
        (("text",), ["input_ids", "text_lengths"]),
    ],
)
def test_a_model_has_the_inputs_of_its_modalities(
    modalities: tuple[Modality, ...], inputs: list[str]
) -> None:
    spec = FUSED.of(modalities, {"classes": 7, "embedding": 32})
    assert [tensor.name for tensor in spec.inputs] == inputs
    assert {tensor.name: tensor.axes for tensor in spec.outputs} == {
        "logits": ("batch", 7),
        "probabilities": ("batch", 7),
        "embeddings": ("batch", 32),
    }
    rated = FUSED.of(modalities, {"classes": 7, "embedding": 32, "dimensions": 2})
    assert rated.outputs[:-1] == spec.outputs
    assert (rated.outputs[-1].name, rated.outputs[-1].axes) == ("dimensions", ("batch", 2))
    assert all(tensor.axes[0] == "batch" for tensor in spec.inputs)


def test_every_output_has_a_tolerance_and_every_input_a_modality() -> None:
    assert all(tensor.tolerance is not None for tensor in FUSED.outputs)
    assert {tensor.modality for tensor in FUSED.inputs} == {"audio", "text"}
    names = [tensor.name for tensor in (*FUSED.inputs, *FUSED.outputs)]
    assert len(set(names)) == len(names)
