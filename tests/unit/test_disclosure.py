"""What is hidden in a table, and how much."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medhive.privacy.disclosure import Addition, additions, possible_values, primary, suppress


def with_totals(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[Addition]]:
    table = counts
    for axis in range(counts.ndim):
        table = np.concatenate([table, table.sum(axis=axis, keepdims=True)], axis=axis)
    places = np.arange(table.size).reshape(table.shape)
    sums = [
        each
        for axis, n in enumerate(table.shape)
        for each in additions(places, axis, [(range(n - 1), n - 1)])
    ]
    return table, sums


def hidden(counts: list[list[float]], floor: int = 5) -> NDArray[np.bool_]:
    table, sums = with_totals(np.array(counts, dtype=np.float64))
    return suppress(table.ravel(), sums, floor).reshape(table.shape)


def test_a_table_without_small_counts_is_shown_whole() -> None:
    """Nothing is hidden where every count is zero or at least the floor."""
    assert not hidden([[5, 0, 20], [7, 30, 0]]).any()


def test_a_small_count_takes_three_others_with_it() -> None:
    """In a table with all totals, one small count needs another in its line and its column."""
    assert hidden([[2, 50, 60], [40, 70, 80], [90, 95, 99]]).sum() == 4


def test_a_higher_floor_hides_more() -> None:
    """A count of 7 is shown with the floor at 5, and not with the floor at 10."""
    counts: list[list[float]] = [[7, 50], [40, 70]]
    assert not hidden(counts).any()
    assert hidden(counts, 10)[0, 0]


def test_two_small_counts_with_a_small_sum_do_not_protect_each_other() -> None:
    """1 and 2 hidden in a line of 23 would be known to be 3 together: more is hidden."""
    assert hidden([[1, 2, 20], [30, 40, 50]])[0].sum() > 2


def test_counts_that_contradict_each_other_are_refused() -> None:
    """A total that its parts do not add up to is an error, not a table."""
    with pytest.raises(ValueError, match="contradict"):
        suppress(np.array([5.0, 6.0, 12.0]), [((0, 1), 2)])
    with pytest.raises(ValueError, match="contradict"):
        suppress(np.array([np.nan, np.nan, 20.0, 12.0]), [((0, 1), 3), ((0, 1), 2)])


def test_an_unknown_count_is_protected_unless_it_tells_nothing() -> None:
    """An unknown 3 is not left to subtraction; an unknown zero and an unknown 30 may be."""
    table, sums = with_totals(np.array([[3.0, 30.0, 0.0], [40.0, 50.0, 60.0]]))
    unknown = table.copy()
    unknown[0, :3] = np.nan
    unknown[0, 1:3] = table[0, 1:3]
    assert suppress(unknown.ravel(), sums).sum() > 1
    for column in (1, 2):
        harmless = with_totals(np.array([[30.0, 30.0, 0.0], [40.0, 50.0, 60.0]]))[0]
        harmless[0, column] = np.nan
        assert suppress(harmless.ravel(), sums).sum() == 1


tables = st.integers(2, 4).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0, 0, 1, 2, 3, 4, 5, 7, 12, 60]), min_size=n, max_size=n),
        min_size=2,
        max_size=4,
    )
)


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from([5, 8]))
def test_small_counts_keep_a_span_of_the_floor(counts: list[list[int]], floor: int) -> None:
    """Linear programming on what is shown leaves each small count a span of the floor at least."""
    table, sums = with_totals(np.array(counts, dtype=np.float64))
    flat = table.ravel()
    mask = suppress(flat, sums, floor)
    assert mask[primary(flat, floor)].all()
    shown = np.where(mask, np.nan, flat)
    for cell in np.flatnonzero(primary(flat, floor)):
        low, high = possible_values(shown, sums, mask, int(cell))
        assert high - low >= floor - 1e-6
        assert low <= flat[cell] + 1e-6
        assert flat[cell] <= high + 1e-6


@settings(max_examples=30, deadline=None)
@given(tables)
def test_nothing_is_hidden_for_nothing(counts: list[list[int]]) -> None:
    """Showing any one cell that is hidden beside others narrows some small count down."""
    table, sums = with_totals(np.array(counts, dtype=np.float64))
    flat = table.ravel()
    mask, small = suppress(flat, sums), primary(flat)
    for cell in np.flatnonzero(mask & ~small):
        more = mask.copy()
        more[cell] = False
        spans = [possible_values(flat, sums, more, int(each)) for each in np.flatnonzero(small)]
        assert any(high - low < 5 - 1e-6 for low, high in spans)


def test_twenty_sites_ten_levels_two_outcomes_take_seconds() -> None:
    """The largest table of three axes that is promised is made safe within a minute."""
    rng = np.random.default_rng(0)
    level = rng.dirichlet(np.full(10, 2.0))[None, :, None]
    site = rng.lognormal(0, 0.7, (20, 1, 1))
    mean = 300 * level * site * np.array([0.6, 0.4])
    table, sums = with_totals(rng.poisson(mean).astype(np.float64))
    start = time.perf_counter()
    mask = suppress(table.ravel(), sums)
    assert time.perf_counter() - start < 60
    assert mask.mean() < 0.35
