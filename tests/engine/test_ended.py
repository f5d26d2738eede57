"""What follows when an attempt has ended: a table of its ends."""

import pytest

from jobd import lifecycle
from jobd.claim import Claim
from jobd.clock import SECOND
from jobd.engine.budget import Budget
from jobd.engine.ended import EndedAttempt
from jobd.engine.worker import Execution
from jobd.job import CANCELLED, FAILED, LOST, SUCCEEDED, TIMED_OUT, Job, JobState, Options
from jobd.wire import UNRESOLVED, Done
from tests.engine.harness import START

JOB = Job("job", "1h", id=7, retry_times=2, options=Options(backoff=2 * SECOND, backoff_max=SECOND * 60))
STATE = JobState(7, START, START, anchor=START, node=3, token=9)


def ended(outcome: str, error: str | None = None, outdated: bool = False, job: Job = JOB) -> EndedAttempt:
    execution = Execution(Claim(job, STATE), 1, 1024, Budget())
    execution.begin(START + 1, 1, 0)
    return EndedAttempt(execution, Done(outcome, error, None, False), START + SECOND, SECOND, outdated)


@pytest.mark.parametrize(
    ("outcome", "retries", "recorded"),
    [(SUCCEEDED, False, SUCCEEDED), (FAILED, True, None), (TIMED_OUT, True, None), (CANCELLED, False, CANCELLED)],
)
def test_the_outcome_decides_on_a_retry_or_a_record(outcome: str, retries: bool, recorded: str | None) -> None:
    decision = ended(outcome).decision("UTC", lambda: 0.5)
    assert (decision.state.attempt == 1) == retries
    assert (decision.run.outcome if decision.run is not None else None) == recorded


def test_a_lost_run_is_recorded_with_its_start_and_is_run_again() -> None:
    decision = ended(LOST, "its worker died").decision("UTC", lambda: 0.5)
    assert decision.run is not None
    assert (decision.run.outcome, decision.run.started, decision.run.error) == (LOST, START + 1, "its worker died")
    assert (decision.state.due, decision.state.losses) == (START, 1)


def test_a_job_whose_task_is_unknown_is_released_with_the_reason() -> None:
    decision = ended(UNRESOLVED, "no such task").decision("UTC", lambda: 0.5)
    assert decision == lifecycle.Decision(lifecycle.unresolved(STATE, "no such task", START + SECOND))


def test_a_task_that_is_unknown_to_the_plugins_from_before_a_reload_is_tried_again() -> None:
    decision = ended(UNRESOLVED, "no such task", outdated=True).decision("UTC", lambda: 0.5)
    assert decision == lifecycle.Decision(lifecycle.give_back(STATE))


def test_an_end_that_the_daemon_has_forced_counts_instead_of_what_the_worker_has_reported() -> None:
    attempt = ended(SUCCEEDED)
    attempt.execution.forced_outcome = (CANCELLED, "cancelled")
    assert attempt.outcome()[:2] == (CANCELLED, "cancelled")
    run = attempt.decision("UTC", lambda: 0.5).run
    assert run is not None
    assert run.outcome == CANCELLED


def test_a_random_number_is_drawn_only_for_an_attempt_that_has_ended_by_itself() -> None:
    def refuse() -> float:
        raise AssertionError

    for outcome in (LOST, UNRESOLVED):
        ended(outcome).decision("UTC", refuse)
