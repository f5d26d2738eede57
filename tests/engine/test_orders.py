"""Which worker may execute a run, and what it is told: a table of the kinds of runs."""

import pytest

from jobd.claim import Claim
from jobd.clock import MILLISECOND, SECOND
from jobd.engine.orders import MAX_PREFETCH, fits, forks, may_prefetch, needs_fresh, order_of, prefetch_limit
from jobd.job import Job, JobState, Options

NEW, FORKED, USED = (0, False), (5, False), (5, True)  # a worker's runs, and whether a task was called in it
KINDS = {  # kind of run: options, guarded, (fits a new worker, one that has forked, one that has called), prefetched
    "warm": (Options(), False, (True, True, True), True),
    "fork": (Options(isolation="fork"), False, (True, True, False), True),
    "fresh": (Options(isolation="fresh"), False, (True, False, False), False),
    "program": (Options(command=("true",)), False, (True, True, True), False),
    "program, fork": (Options(command=("true",), isolation="fork"), False, (True, True, True), False),
    "program, fresh": (Options(command=("true",), isolation="fresh"), False, (True, False, False), False),
    "guarded": (Options(), True, (True, True, True), False),
    "guarded, fork": (Options(isolation="fork"), True, (True, True, False), False),
}


def claim_of(options: Options, guarded: bool = False) -> Claim:
    return Claim(
        Job("job", "1h", id=7, options=options), JobState(7, due=3, number=4, attempt=1, guarded=guarded, token=9)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_given_only_to_a_worker_that_its_isolation_allows(kind: str) -> None:
    options, guarded, allowed, _ = KINDS[kind]
    assert tuple(fits(claim_of(options, guarded), *worker) for worker in (NEW, FORKED, USED)) == allowed


@pytest.mark.parametrize("kind", KINDS)
def test_only_calls_and_forks_whose_start_needs_no_record_are_prefetched(kind: str) -> None:
    options, guarded, _, prefetched = KINDS[kind]
    assert may_prefetch(claim_of(options, guarded)) == prefetched


@pytest.mark.parametrize(
    ("kind", "forked", "fresh"),
    [("warm", False, False), ("fork", True, False), ("fresh", False, True), ("program, fork", False, False)],
)
def test_a_fork_is_made_for_a_task_alone_and_a_process_for_each_fresh_run(kind: str, forked: bool, fresh: bool) -> None:
    claim = claim_of(KINDS[kind][0])
    assert (forks(claim), needs_fresh(claim)) == (forked, fresh)


@pytest.mark.parametrize(
    ("pace", "limit"),
    [
        (0, MAX_PREFETCH - 1),
        (50, MAX_PREFETCH - 1),
        (100, 19),
        (MILLISECOND, 1),
        (MILLISECOND + 1, 0),
        (2 * MILLISECOND + 1, -1),
        (SECOND, -1),
    ],
)
def test_orders_are_prefetched_while_all_of_them_take_at_most_two_milliseconds(pace: int, limit: int) -> None:
    assert prefetch_limit(pace) == limit


def test_an_order_says_what_to_run_and_until_when() -> None:
    order = order_of(claim_of(Options(timeout=2 * SECOND, args={"x": 1}, task="work")), 11, 5 * SECOND)
    assert (order.serial, order.job, order.task, order.command, order.args) == (11, "job", "work", None, {"x": 1})
    assert (order.number, order.attempt, order.due, order.token, order.fork) == (4, 2, 3, 9, False)
    assert order.deadline == 7.0


def test_an_order_of_a_program_names_no_task_and_one_without_timeout_no_end() -> None:
    order = order_of(claim_of(Options(command=("true",), isolation="fork")), 1, SECOND)
    assert (order.task, order.command, order.deadline, order.fork) == (None, ("true",), None, False)
