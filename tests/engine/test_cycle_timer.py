"""When the next cycle is due, and how long outcomes gather: pure."""

import pytest

from jobd.claim import ClaimUpdate
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.cycle_timer import (
    BATCH_WINDOW_MAX,
    BATCH_WINDOW_MIN,
    BATCH_WINDOW_NORMAL,
    CLAIM_AHEAD,
    MAX_UPDATES,
    CycleTimer,
)
from jobd.job import JobState, Run

NOW, WALL = 100 * SECOND, 1_000 * SECOND


def outcome(ready: int | None, finished: int = WALL) -> ClaimUpdate:
    run = Run(1, 1, WALL, WALL, finished, 1, "succeeded", 7)
    return ClaimUpdate(7, 1, JobState(1, due=ready, ready=ready), run, ())


def idle(took: int = MILLISECOND, more: bool = False) -> CycleTimer:
    """A timer after a cycle, with nothing requested."""
    timer = CycleTimer()
    timer.cycle_ended(NOW - took, NOW, more=more, again=False)
    assert timer.requested_at is None
    return timer


def test_a_new_timer_requests_the_first_cycle_at_once() -> None:
    assert CycleTimer().requested_at == 0


def test_the_earliest_request_counts() -> None:
    timer = idle()
    for at in (NOW + 5, NOW + 2, NOW + 9):
        timer.request(at)
    assert timer.requested_at == NOW + 2


@pytest.mark.parametrize(
    ("took", "window"),
    [
        (MILLISECOND, BATCH_WINDOW_NORMAL),
        (10 * MILLISECOND, 40 * MILLISECOND),
        (SECOND, BATCH_WINDOW_MAX),
    ],
)
def test_the_window_grows_with_the_duration_of_a_cycle_within_limits(took: int, window: int) -> None:
    timer = idle(took)
    timer.request_batched(NOW)
    assert timer.requested_at == NOW + window


def test_the_window_is_short_while_more_jobs_wait_to_be_claimed() -> None:
    timer = idle(SECOND, more=True)
    timer.request_batched(NOW)
    assert timer.requested_at == NOW + BATCH_WINDOW_MIN


@pytest.mark.parametrize(
    ("ready", "finished", "lingers"),
    [
        (None, WALL, BATCH_WINDOW_NORMAL),  # it never runs again
        (WALL + CLAIM_AHEAD, WALL, BATCH_WINDOW_NORMAL),
        (WALL + CLAIM_AHEAD - 1, WALL, BATCH_WINDOW_MIN),  # it is soon due again
        (WALL, WALL - 4 * MILLISECOND, BATCH_WINDOW_MIN - 4 * MILLISECOND),  # it has waited already
        (WALL, WALL - SECOND, 0),
        (WALL, WALL + SECOND, BATCH_WINDOW_MIN),  # the clock was set back meanwhile
    ],
)
def test_an_outcome_waits_less_if_its_job_is_soon_due(ready: int | None, finished: int, lingers: int) -> None:
    timer = idle()
    timer.request_for(outcome(ready, finished), 1, NOW, WALL)
    assert timer.requested_at == NOW + lingers


def test_a_full_transaction_is_written_at_once() -> None:
    timer = idle()
    timer.request_for(outcome(None), MAX_UPDATES, NOW, WALL)
    assert timer.requested_at == NOW


def test_a_cycle_that_has_left_work_behind_is_followed_by_another() -> None:
    timer = idle()
    timer.cycle_ended(NOW, NOW + MILLISECOND, more=False, again=True)
    assert timer.requested_at == NOW


def test_the_slowest_cycle_is_forgotten_slowly() -> None:
    timer = idle(80 * MILLISECOND)
    timer.cycle_ended(NOW, NOW + MILLISECOND, more=False, again=False)
    assert timer.slowest == 70 * MILLISECOND
    timer.cycle_ended(NOW, NOW + SECOND, more=False, again=False)
    assert timer.slowest == SECOND
