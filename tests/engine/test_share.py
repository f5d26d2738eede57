"""A node's fair share of a pool: a table of cases."""

import pytest

from jobd.clock import MILLISECOND, SECOND
from jobd.engine.share import Share, claims_to_add, eager_poll, last_call, max_waiting, recheck_at, share_of


@pytest.mark.parametrize(
    ("in_play", "own", "others", "least", "most"),
    [
        (20, 2, [2], 10, 10),
        (20, 2, [2, 2], 6, 7),
        (2, 2, [2, 2], 0, 1),
        (0, 2, [2], 0, 0),
        (20, 1, [4], 4, 4),
        (20, 4, [1], 16, 16),
        (1, 1, [100], 0, 1),
        (20, 0, [2], 0, 0),
    ],
)
def test_work_is_divided_by_the_number_of_workers(
    in_play: int, own: int, others: list[int], least: int, most: int
) -> None:
    share = share_of(in_play, own, others, None)
    assert share is not None
    assert (share.least, share.most) == (least, most)


@pytest.mark.parametrize("others", [[], [0], [0, 0]])
def test_a_node_alone_in_a_pool_has_no_limit_in_it(others: list[int]) -> None:
    assert share_of(20, 2, others, None) is None


@pytest.mark.parametrize("sizes", [[1, 1], [1, 1, 1], [2, 3, 5], [1, 9], [7, 7, 7, 7, 7]])
@pytest.mark.parametrize("in_play", range(0, 60, 7))
def test_all_shares_together_take_all_and_none_leaves_another_with_too_little(sizes: list[int], in_play: int) -> None:
    shares = shares_at(sizes, in_play, [None] * len(sizes))
    assert sum(share.least for share in shares) <= in_play <= sum(share.most for share in shares)
    assert all(0 <= share.most - share.least <= 1 for share in shares)


@pytest.mark.parametrize("sizes", [[1, 1], [1, 1, 1], [2, 3, 5], [1, 9]])
def test_shares_are_fair_in_the_long_run_however_few_jobs_there_are(sizes: list[int]) -> None:
    shares: list[Share | None] = [None] * len(sizes)
    taken, looks = [0] * len(sizes), 600
    for look in range(looks):
        shares = [*shares_at(sizes, look % 5, shares)]
        taken = [before + share.now for before, share in zip(taken, shares, strict=True) if share is not None]
    fair = [2 * looks * size / sum(sizes) for size in sizes]
    assert all(abs(took - due) <= 2 for took, due in zip(taken, fair, strict=True)), (taken, fair)


def shares_at(sizes: list[int], in_play: int, before: list[Share | None]) -> list[Share]:
    found = [share_of(in_play, size, sizes[:at] + sizes[at + 1 :], before[at]) for at, size in enumerate(sizes)]
    return [share for share in found if share is not None]


@pytest.mark.parametrize(
    ("before", "holding", "more"),
    [
        (7, 6, 1),  # one is over, and is due again: it stays
        (7, 7, 0),
        (20, 19, 0),  # it has too much, and lets go of what is over
        (8, 6, 1),
        (6, 6, 0),  # it may take one more only when it is its turn
        (6, 5, 1),
        (0, 0, 6),
    ],
)
def test_a_node_keeps_its_share_and_gives_back_the_rest(before: int, holding: int, more: int) -> None:
    assert claims_to_add(Share(least=6, most=7, now=6, credit=0), before, holding) == more


def test_a_node_takes_one_more_when_the_fractions_add_up_to_it() -> None:
    assert claims_to_add(Share(least=6, most=7, now=7, credit=0), 6, 6) == 1


@pytest.mark.parametrize(("cycle", "call"), [(0, 20), (5, 20), (25, 100), (50, 200), (1_000, 200)])
def test_the_last_call_leaves_time_for_some_cycles(cycle: int, call: int) -> None:
    assert last_call(cycle * MILLISECOND) == call * MILLISECOND


def test_unclaimed_jobs_are_tried_again_after_their_last_call_and_before_they_are_ready() -> None:
    ready, call = 10 * SECOND, 100 * MILLISECOND
    assert ready - call < recheck_at(ready, call) < ready


def test_a_node_below_its_share_checks_soon_and_then_ever_more_rarely() -> None:
    waits = [eager_poll(SECOND, looks) // MILLISECOND for looks in range(8)]
    assert waits == [30, 48, 78, 127, 205, 332, 382, 382]
    assert eager_poll(50 * MILLISECOND, 0) < 50 * MILLISECOND


def test_the_checks_of_a_node_below_its_share_fall_on_every_phase_of_the_poll() -> None:
    for period in (SECOND, SECOND // 2, SECOND // 3, SECOND // 5):
        looks = sorted(number * eager_poll(SECOND, 99) % period for number in range(21))
        gaps = [after - before for before, after in zip(looks, [*looks[1:], looks[0] + period], strict=True)]
        assert max(gaps) < period / 7


@pytest.mark.parametrize(
    ("workers", "pace", "still", "waiting"),
    [
        (2, 1, 0, 500),
        (2, 20, 0, 25),
        (2, 50, 0, 10),
        (2, 51, 0, 0),  # who runs long runs keeps nothing waiting
        (20, 1_000, 0, 0),
        (2, 1, 100, 500),
        (2, 1, 101, 0),  # runs that were short so far turn out to be long
        (0, 20, 0, 0),
    ],
)
def test_jobs_that_are_ready_wait_only_where_workers_are_soon_free(
    workers: int, pace: int, still: int, waiting: int
) -> None:
    assert max_waiting(workers, pace * MILLISECOND, still * MILLISECOND) == waiting


def test_a_job_that_takes_no_time_causes_no_division_by_zero() -> None:
    assert max_waiting(2, 0, 0) > 1_000
