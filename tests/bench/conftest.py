"""Reports with every section, and what they are without one; names are hostile where a test asks for them."""

from collections.abc import Callable

import pytest

from mtab_bench.report import Report

from .reports import (
    FEW,
    HOSTILE,
    make_batching,
    make_evaluation,
    make_invariance,
    make_report,
    make_speed,
    make_training,
)


@pytest.fixture(scope="session")
def report() -> Report:
    return make_report()


@pytest.fixture(scope="session")
def report_of() -> Callable[..., Report]:
    """`make_report`, for a report of other sections."""
    return make_report


@pytest.fixture(scope="session")
def hostile_report() -> Report:
    """Two backends, and names that break a page, a table or a terminal that trusts them."""
    return make_report(
        make_evaluation(
            labels=HOSTILE,
            keys=("pytorch", "onnxruntime-int8"),
            name="utt-{}<script>alert(1)</script>".format,
        )
    )


@pytest.fixture(scope="session")
def report_without_pytorch() -> Report:
    why = "PyTorch's side needs torch, which is not installed: pip install 'mtab[train]'"
    return make_report(make_evaluation(count=40, keys=FEW, skipped={"pytorch": why}, other_load=0.1))


@pytest.fixture(scope="session")
def report_without_change() -> Report:
    return make_report(make_evaluation(count=40, keys=FEW, changes=False, other_load=0.1), make_invariance())


@pytest.fixture(scope="session")
def report_at_chance() -> Report:
    return make_report(make_evaluation(count=40, keys=FEW, signal=0.0))


@pytest.fixture(scope="session")
def report_beyond_budget() -> Report:
    return make_report(make_invariance(beyond=True), make_speed(other_load=1.25))


@pytest.fixture(
    scope="session",
    params=[
        "report",
        "hostile_report",
        "report_without_pytorch",
        "report_without_change",
        "report_at_chance",
        "report_beyond_budget",
        "batching",
        "training",
    ],
)
def any_report(request: pytest.FixtureRequest) -> Report:
    """Each of the above, and the two sections that have no backends alone."""
    if request.param == "batching":
        return make_report(make_batching())
    if request.param == "training":
        return make_report(make_training())
    return request.getfixturevalue(request.param)
