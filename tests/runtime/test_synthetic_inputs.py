"""Made-up speech: of the length asked for, alike for a seed, and as loud as speech is."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtab.synthetic_inputs import speech, transcript


@settings(deadline=None, max_examples=20)
@example(1.5, 44_100, 82)
@given(st.floats(0.05, 5), st.sampled_from([8_000, 16_000, 44_100]), st.integers(0, 99))
def test_speech_has_its_length_and_stays_in_range(seconds: float, rate: int, seed: int) -> None:
    one, same = (speech(np.random.default_rng(seed), seconds, rate) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == (round(seconds * rate),)
    assert 0.01 < np.abs(one).max() <= 1
    np.testing.assert_array_equal(one, same)


def test_a_transcript_has_so_many_words() -> None:
    assert len(transcript(np.random.default_rng(0), 7).split()) == 7
    assert transcript(np.random.default_rng(0), 0) == ""
