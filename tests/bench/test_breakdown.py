"""Breakdowns: figures of scikit-learn, intervals of scipy, hand-worked groups; and the estimate of noise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import accuracy_score, recall_score

from mtab_bench.render.breakdown_tables import MOST_ROWS, breakdown_tables
from mtab_bench.sections.breakdown import Group, break_down, resampled
from mtab_bench.snr import MOST, estimate_snr

from .reports import make_evaluation

TRUE = np.array([0, 0, 1, 1, 2, 2, 0, 1])
PREDICTED = np.array([0, 1, 1, 1, 2, 0, 0, 0])


def groups_of(by: str, **fields: Any) -> dict[str, Group]:
    none = [None] * len(TRUE)
    known = {name: fields.get(name, none) for name in ("speakers", "genders", "seconds", "snrs")}
    found = {each.by: each for each in break_down(TRUE, PREDICTED, **known)}
    return {group.name: group for group in found[by].groups} if by in found else {}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_figures_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array(each) for each in zip(*pairs, strict=True))
    war, uar = resampled(true, predicted, np.arange(len(true))[None])
    assert war[0] == pytest.approx(accuracy_score(true, predicted))
    expected = recall_score(true, predicted, labels=np.unique(true), average="macro")
    assert uar[0] == pytest.approx(expected)


def test_the_interval_is_a_bootstraps() -> None:
    random = np.random.default_rng(3)
    true = random.integers(0, 4, 300)
    predicted = np.where(random.random(300) < 0.6, true, random.integers(0, 4, 300))
    war = Group.of("all", true, predicted).war
    right = (true == predicted).astype(float)
    theirs = bootstrap((right,), np.mean, n_resamples=2000, method="percentile", rng=random)
    assert (war.low, war.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.015)
    assert war.low < war.value == right.mean() < war.high


def test_groups_by_name() -> None:
    found = groups_of("speaker", speakers=["b", "b", "a", "a", "b", None, "a", "b"])
    assert [(name, group.utterances) for name, group in found.items()] == [("a", 3), ("b", 4)]
    assert found["a"].war.value == 1
    # Right are the first and the fifth of b: classes 0 (one of two), 1 (none of one) and 2.
    assert found["b"].war.value == 0.5
    assert found["b"].uar.value == pytest.approx((0.5 + 0 + 1) / 3)


def test_groups_by_terciles() -> None:
    found = groups_of("duration", seconds=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None, 7.0])
    assert [(name, group.utterances) for name, group in found.items()] == [
        ("up to 3.0 s", 3),
        ("3.0 s to 5.0 s", 2),
        ("more than 5.0 s", 2),
    ]


@pytest.mark.parametrize("snrs", [[None] * 8, [20.0] * 8])
def test_what_does_not_tell_them_apart_makes_no_groups(snrs: list[float | None]) -> None:
    assert groups_of("snr", snrs=snrs) == {}
    assert groups_of("all")["all"].utterances == 8


@pytest.mark.parametrize("level", [0, 10, 20, 30])
def test_the_estimate_of_noise(level: int) -> None:
    """Speech for two thirds of the time, noise all of it."""
    random = np.random.default_rng(0)
    time = np.arange(48_000) / 16_000
    speech = np.sin(2 * np.pi * 200 * time) * (np.sin(2 * np.pi * time) > -0.5)
    noise = random.normal(0, 1, len(time))
    noise *= np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (level / 10))
    assert estimate_snr((speech + noise).astype(np.float32)) == pytest.approx(level, abs=2)
    assert estimate_snr(speech.astype(np.float32)) == MOST


def test_silence_and_too_short_clips_have_no_estimate() -> None:
    assert estimate_snr(np.zeros(16_000, np.float32)) is None
    assert estimate_snr(np.ones(9 * 320, np.float32)) is None


def test_of_many_speakers_the_table_shows_the_ends() -> None:
    speakers = [f"{i % 40:02}" for i in range(120)]
    true = np.arange(120) % 3
    predicted = np.where(np.arange(120) % 40 < 5, (true + 1) % 3, true)
    unknown = [None] * 120
    found = break_down(true, predicted, speakers, unknown, unknown, unknown)
    section = make_evaluation(broken_down="pytorch", breakdowns=found)
    whole, table = breakdown_tables(section)
    assert len(whole.rows) == 1
    assert len(table.rows) == MOST_ROWS
    assert [row.cells[0] for row in table.rows[:5]] == ["00", "01", "02", "03", "04"]
    assert "The lowest and the highest of 40" in table.note
