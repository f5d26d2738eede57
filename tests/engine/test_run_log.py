"""What the daemon's log says about an attempt: nothing about a success, one line about anything else."""

import pytest

from jobd import lifecycle, logs
from jobd.claim import Claim
from jobd.clock import HOUR, SECOND
from jobd.engine.run_log import log_attempt, log_output
from jobd.job import CANCELLED, FAILED, LOST, SUCCEEDED, TIMED_OUT, Job, JobState, Options
from jobd.lifecycle import Ended
from jobd.wire import UNRESOLVED, Done
from tests.engine.harness import START

Line = tuple[object, ...]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    said: list[Line] = []
    monkeypatch.setattr(logs, "log", lambda *line: said.append(line))
    return said


def claim(attempt: int = 0, retry_times: int = 0, backoff: int = 0, error: str | None = None) -> Claim:
    options = Options(backoff=backoff, backoff_max=24 * HOUR)
    state = JobState(7, START, START, anchor=START, node=3, token=9, number=4, attempt=attempt, error=error)
    return Claim(Job("job", "1h", id=7, retry_times=retry_times, options=options), state)


def end(one: Claim, outcome: str, error: str | None = None) -> None:
    ended = Ended(outcome, START, START, error, None)
    decision = lifecycle.after_attempt(one.job, one.state, ended, "UTC", 0.5)
    log_attempt(one, decision, Done(outcome, error, None, False), START)


def test_a_success_is_not_logged(said: list[Line]) -> None:
    end(claim(), SUCCEEDED)
    assert said == []


@pytest.mark.parametrize(
    ("one", "outcome", "error", "line"),
    [
        (claim(), FAILED, "exit status 1", "job failed after 1 attempt: exit status 1"),
        (claim(2, 2), TIMED_OUT, None, "job timed out after 3 attempts"),
        (claim(), CANCELLED, "cancelled", "job cancelled after 1 attempt: cancelled"),
    ],
)
def test_the_last_attempt_of_a_run_is_logged_as_an_error(
    said: list[Line], one: Claim, outcome: str, error: str | None, line: str
) -> None:
    end(one, outcome, error)
    assert said == [("error", line, "job", 4)]


@pytest.mark.parametrize(
    ("backoff", "when"), [(0, "now"), (SECOND // 4, "in 0.25 s"), (90 * SECOND, "in 90 s"), (2 * HOUR, "in 2h")]
)
def test_an_attempt_before_the_last_is_a_warning_that_says_when_the_next_one_is(
    said: list[Line], backoff: int, when: str
) -> None:
    end(claim(1, 3, backoff // 2), FAILED, "no")
    assert said == [("warning", f"job failed (attempt 2 of 4), retrying {when}: no", "job", 4)]


def test_a_lost_run_is_an_error_although_it_is_run_again(said: list[Line]) -> None:
    one = claim()
    decision = lifecycle.after_loss(one.job, one.state._replace(started=START), START, "UTC", "its node died")
    log_attempt(one, decision, Done(LOST, "its node died", None, True), START)
    assert said == [("error", "job lost after 1 attempt: its node died", "job", 4)]


@pytest.mark.parametrize(("before", "logged"), [(None, True), ("another reason", True), ("no such task", False)])
def test_an_unknown_task_is_logged_once_although_the_job_is_claimed_again(
    said: list[Line], before: str | None, logged: bool
) -> None:
    one = claim(error=before)
    decision = lifecycle.Decision(lifecycle.unresolved(one.state, "no such task", START))
    log_attempt(one, decision, Done(UNRESOLVED, "no such task", None, False), START)
    assert said == [("error", "job cannot run: no such task", "job", 4)] * logged


def test_output_is_logged_line_by_line_with_its_job_and_run(said: list[Line]) -> None:
    log_output(claim(), [("info", "one"), ("error", "two")])
    assert said == [("info", "one", "job", 4), ("error", "two", "job", 4)]
