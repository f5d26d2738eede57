"""The state of a job, from what is stored: pure."""

import pytest

from jobd.cli.state import next_due, planned, reason, state_of
from jobd.clock import HOUR, SECOND
from jobd.job import Job, Options, Plan, Run
from jobd.store.reads import Listed, NodeRow

NOW = 1_800_000_000 * SECOND
NODE = NodeRow(1, "here", 1, NOW)
JOB = Job("j", "10s", id=1)
ONCE = Job("j", None, True, id=1)
PAUSED = JOB._replace(options=Options(paused=True))


def a_plan(job: Job = JOB, **fields: object) -> Plan:
    return Plan(1, basis=job.basis)._replace(**{"due": NOW, "ready": NOW, "anchor": NOW} | fields)


def a_run(outcome: str) -> Run:
    return Run(1, 1, NOW, NOW, NOW, 1, outcome, 1)


@pytest.mark.parametrize(
    ("listed", "state"),
    [
        (Listed(JOB), "waiting"),
        (Listed(JOB, a_plan()), "waiting"),
        (Listed(JOB, a_plan(), a_run("failed")), "waiting"),
        (Listed(JOB, a_plan(node=1)), "queued"),
        (Listed(JOB, a_plan(node=1, started=NOW)), "running"),
        (Listed(JOB, a_plan(attempt=1, ready=NOW + HOUR)), "retrying"),
        (Listed(ONCE, a_plan(ONCE, due=None, ready=None), a_run("succeeded")), "done"),
        (Listed(ONCE, a_plan(ONCE, due=None, ready=None), a_run("skipped")), "done"),
        (Listed(ONCE, a_plan(ONCE, due=None, ready=None), a_run("failed")), "failed"),
        (Listed(ONCE, a_plan(ONCE, due=None, ready=None), a_run("timed_out")), "failed"),
        (Listed(ONCE, a_plan(ONCE, due=None, ready=None), a_run("lost")), "failed"),
        (Listed(PAUSED, a_plan(PAUSED, ready=None)), "paused"),
        (Listed(PAUSED, a_plan(PAUSED, manual=True)), "waiting"),
        (Listed(PAUSED, a_plan(PAUSED, node=1, started=NOW)), "running"),
        (Listed(JOB, a_plan(error="unknown task 'j'")), "invalid"),
        (Listed(JOB, None, None, "retry_times is -1"), "invalid"),
        (Listed(JOB._replace(deleted=True), a_plan(ready=None)), "deleted"),
    ],
)
def test_each_state_follows_from_what_is_stored(listed: Listed, state: str):
    assert state_of(listed) == state


def test_the_next_due_time_is_the_one_in_hand_until_its_run_has_begun():
    assert next_due(Listed(JOB, a_plan()), "UTC") == NOW
    assert next_due(Listed(JOB, a_plan(node=1)), "UTC") == NOW
    assert next_due(Listed(JOB, a_plan(node=1, started=NOW)), "UTC") == NOW + 10 * SECOND
    assert next_due(Listed(ONCE, a_plan(ONCE, node=1, started=NOW)), "UTC") is None
    assert next_due(Listed(PAUSED, a_plan(PAUSED, ready=None)), "UTC") is None


def test_a_row_that_no_node_has_seen_is_shown_with_the_plan_it_will_have():
    assert state_of(planned(Listed(JOB), NOW, "UTC")) == "waiting"
    nonsense = planned(Listed(JOB._replace(interval="often")), NOW, "UTC")
    assert state_of(nonsense) == "invalid"
    assert "often" in nonsense.plan.error


@pytest.mark.parametrize(
    ("listed", "nodes", "words"),
    [
        (Listed(JOB, a_plan(node=1, started=NOW)), [NODE], None),
        (Listed(JOB, a_plan()), [], "no node is running"),
        (Listed(JOB, a_plan(pool="gpu")), [NODE], "'gpu'"),
        (Listed(JOB, a_plan(ready=NOW + HOUR)), [NODE], "due at"),
        (Listed(JOB, a_plan(ready=NOW + HOUR, attempt=1)), [NODE], "next attempt"),
        (Listed(PAUSED, a_plan(PAUSED, ready=None)), [NODE], "jobd resume j"),
        (Listed(JOB._replace(deleted=True)), [NODE], "jobd restore j"),
        (Listed(JOB, a_plan(error="unknown task 'j'")), [NODE], "unknown task 'j'"),
        (Listed(ONCE, a_plan(ONCE, due=None, ready=None)), [NODE], "nothing more is due"),
    ],
)
def test_why_a_job_is_not_running_is_said(listed: Listed, nodes: list[NodeRow], words: str | None):
    found = reason(listed, nodes, NOW)
    why = found and found.text
    assert why is None if words is None else words in why


def test_a_job_whose_row_of_schedule_is_gone_is_said_to_be_that() -> None:
    new = Listed(JOB._replace(created=NOW, updated=NOW))
    old = Listed(JOB._replace(created=NOW - HOUR, updated=NOW - HOUR))
    assert "is due" in str(reason(planned(new, NOW, "UTC"), [NODE], NOW))
    assert "is gone" in str(reason(planned(old, NOW, "UTC"), [NODE], NOW))
