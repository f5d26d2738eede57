"""The pace of a pool follows the duration of its runs, and decides how many claims it can use."""

from jobd.clock import MILLISECOND, SECOND
from jobd.engine.pace import PACE_GUESS, Pace
from jobd.engine.share import MAX_READY_WAIT


def paced(run: int) -> Pace:
    pace = Pace()
    pace.duration = run
    return pace


def test_the_pace_approaches_the_duration_of_the_runs() -> None:
    pace = Pace()
    assert pace.duration == PACE_GUESS
    pace.ended(PACE_GUESS + 16)
    assert pace.duration == PACE_GUESS + 1
    for _ in range(200):
        pace.ended(SECOND)
    assert SECOND - 16 <= pace.duration <= SECOND
    for _ in range(200):
        pace.ended(0)
    assert pace.duration == 0


def test_claims_that_wait_too_long_for_a_worker_show_that_the_runs_are_long() -> None:
    pace = paced(MILLISECOND)
    pace.stands_still()
    assert pace.duration == MAX_READY_WAIT
    pace = paced(SECOND)
    pace.stands_still()
    assert pace.duration == SECOND


def test_a_pool_can_use_as_many_runs_as_fit_into_the_horizon_and_two_for_each_worker() -> None:
    assert paced(10 * MILLISECOND).runs_within(SECOND, workers=3) == 300
    assert paced(10 * SECOND).runs_within(SECOND, workers=3) == 6
    assert paced(0).runs_within(1_000, workers=2) == 2_000


def test_no_claim_may_wait_when_no_run_has_started_for_long() -> None:
    pace = paced(10 * MILLISECOND)
    pace.started(SECOND)
    assert pace.max_waiting(2, SECOND + MAX_READY_WAIT) > 0
    assert pace.max_waiting(2, SECOND + MAX_READY_WAIT + 1) == 0
