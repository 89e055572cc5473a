"""Every case of bad input ends as docs/errors.md says, and the page says what the cases say."""

import sys
from pathlib import Path

import pytest

# What a script beside this file imports too, and therefore no package.
sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, Place
from write_page import AREAS, PAGE, cases, page

from mtab.data import Corpus

CASES = [pytest.param(case, id=f"{area}: {case.bad}") for area in AREAS for case in cases(area)]


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: Case, tmp_path: Path, tone_run: Path, tone_bundle: Path, tones: Corpus) -> None:
    outcome = case.try_at(Place(tmp_path, tone_run, tone_bundle, tones))
    assert outcome.exit_code == case.exit_code, outcome
    assert case.error is None or type(outcome.error) is case.error, outcome
    assert "\n" not in outcome.message
    assert case.describes(outcome.message), outcome.message


def test_a_shape_is_no_pattern_that_takes_everything() -> None:
    case = Case("", lambda place: None, None, "<FILE>: holds (<N>), expected 2")
    assert case.describes("Error: a.wav: holds (3), expected 2")
    assert not case.describes("a.wav: holds 3, expected 2")
    assert not case.describes(": holds (3), expected 2")
    assert not case.describes("a.wav: holds (3), expected 2 or more")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/contract/write_page.py"
