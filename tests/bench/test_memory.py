"""Which backends fit into memory together."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mtab_bench.memory import SHARE, in_groups


def test_groups_share_the_reference() -> None:
    sizes = {"pytorch": 2, "a": 3, "b": 3, "c": 3, "d": 3}
    assert in_groups(sizes, ["pytorch"], int(9 / SHARE)) == [["pytorch", "a", "b"], ["pytorch", "c", "d"]]
    assert in_groups(sizes, ["pytorch"], None) == [["pytorch", "a", "b", "c", "d"]]
    assert in_groups({"pytorch": 2}, ["pytorch"], 1) == [["pytorch"]]
    assert in_groups({"a": 1, "b": 1}, ["pytorch"], 100) == [["a", "b"]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 20), max_size=12), st.integers(1, 60))
def test_every_backend_is_in_one_group_that_fits_or_stands_alone(sizes: list[int], free: int) -> None:
    named = {"pytorch": 5} | {str(number): size for number, size in enumerate(sizes)}
    groups = in_groups(named, ["pytorch"], free)
    assert all(group[0] == "pytorch" for group in groups)
    assert sorted(key for group in groups for key in group[1:]) == sorted(map(str, range(len(sizes))))
    assert all(sum(named[key] for key in group) <= SHARE * free or len(group) <= 2 for group in groups)
