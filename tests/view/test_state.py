"""The state of a job, from what is stored: pure."""

from typing import Any

import pytest

from jobd.clock import HOUR, SECOND
from jobd.job import Job, JobState, Options, Run
from jobd.store.reads import JobOverview, NodeSummary
from jobd.view.state import next_due, reason, state_of, with_state

NOW = 1_800_000_000 * SECOND
NODE = NodeSummary(1, "here", 1, NOW)
JOB = Job("j", "10s", id=1)
ONCE = Job("j", None, True, id=1)
PAUSED = JOB._replace(options=Options(paused=True))


def a_plan(job: Job = JOB, **fields: Any) -> JobState:
    return JobState(1, fingerprint=job.fingerprint)._replace(**{"due": NOW, "ready": NOW, "anchor": NOW} | fields)


def a_run(outcome: str) -> Run:
    return Run(1, 1, NOW, NOW, NOW, 1, outcome, 1)


@pytest.mark.parametrize(
    ("overview", "state"),
    [
        (JobOverview(JOB), "waiting"),
        (JobOverview(JOB, a_plan()), "waiting"),
        (JobOverview(JOB, a_plan(), a_run("failed")), "waiting"),
        (JobOverview(JOB, a_plan(node=1)), "queued"),
        (JobOverview(JOB, a_plan(node=1, started=NOW)), "running"),
        (JobOverview(JOB, a_plan(attempt=1, ready=NOW + HOUR)), "retrying"),
        (JobOverview(ONCE, a_plan(ONCE, due=None, ready=None), a_run("succeeded")), "done"),
        (JobOverview(ONCE, a_plan(ONCE, due=None, ready=None), a_run("skipped")), "done"),
        (JobOverview(ONCE, a_plan(ONCE, due=None, ready=None), a_run("failed")), "failed"),
        (JobOverview(ONCE, a_plan(ONCE, due=None, ready=None), a_run("timed_out")), "failed"),
        (JobOverview(ONCE, a_plan(ONCE, due=None, ready=None), a_run("lost")), "failed"),
        (JobOverview(PAUSED, a_plan(PAUSED, ready=None)), "paused"),
        (JobOverview(PAUSED, a_plan(PAUSED, manual=True)), "waiting"),
        (JobOverview(PAUSED, a_plan(PAUSED, node=1, started=NOW)), "running"),
        (JobOverview(JOB, a_plan(error="unknown task 'j'")), "invalid"),
        (JobOverview(JOB, None, None, "retry_times is -1"), "invalid"),
        (JobOverview(JOB._replace(deleted=True), a_plan(ready=None)), "deleted"),
    ],
)
def test_each_state_follows_from_the_stored_values(overview: JobOverview, state: str) -> None:
    assert state_of(overview) == state


def test_the_next_due_time_is_the_claimed_one_until_its_run_has_started() -> None:
    assert next_due(JobOverview(JOB, a_plan()), "UTC") == NOW
    assert next_due(JobOverview(JOB, a_plan(node=1)), "UTC") == NOW
    assert next_due(JobOverview(JOB, a_plan(node=1, started=NOW)), "UTC") == NOW + 10 * SECOND
    assert next_due(JobOverview(ONCE, a_plan(ONCE, node=1, started=NOW)), "UTC") is None
    assert next_due(JobOverview(PAUSED, a_plan(PAUSED, ready=None)), "UTC") is None


def test_a_row_that_no_node_has_seen_is_shown_with_its_future_state() -> None:
    assert state_of(with_state(JobOverview(JOB), NOW, "UTC")) == "waiting"
    nonsense = with_state(JobOverview(JOB._replace(interval="often")), NOW, "UTC")
    assert state_of(nonsense) == "invalid"
    assert nonsense.state is not None
    assert "often" in str(nonsense.state.error)


@pytest.mark.parametrize(
    ("overview", "nodes", "words"),
    [
        (JobOverview(JOB, a_plan(node=1, started=NOW)), [NODE], None),
        (JobOverview(JOB, a_plan()), [], "no node is running"),
        (JobOverview(JOB, a_plan(pool="gpu")), [NODE], "'gpu'"),
        (JobOverview(JOB, a_plan(ready=NOW + HOUR)), [NODE], "due at"),
        (JobOverview(JOB, a_plan(ready=NOW + HOUR, attempt=1)), [NODE], "next attempt"),
        (JobOverview(PAUSED, a_plan(PAUSED, ready=None)), [NODE], "jobd resume j"),
        (JobOverview(JOB._replace(deleted=True)), [NODE], "jobd restore j"),
        (JobOverview(JOB, a_plan(error="unknown task 'j'")), [NODE], "unknown task 'j'"),
        (JobOverview(ONCE, a_plan(ONCE, due=None, ready=None)), [NODE], "nothing more is due"),
    ],
)
def test_the_reason_why_a_job_is_not_running_is_shown(
    overview: JobOverview, nodes: list[NodeSummary], words: str | None
) -> None:
    found = reason(overview, nodes, NOW)
    why = found and found.text
    assert why is None if words is None else words in str(why)


def test_a_job_without_a_row_of_schedule_is_shown_as_such() -> None:
    new = JobOverview(JOB._replace(created=NOW, updated=NOW))
    old = JobOverview(JOB._replace(created=NOW - HOUR, updated=NOW - HOUR))
    assert "is due" in str(reason(with_state(new, NOW, "UTC"), [NODE], NOW))
    assert "is gone" in str(reason(with_state(old, NOW, "UTC"), [NODE], NOW))
