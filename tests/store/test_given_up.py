"""A run that waits for its next attempt when its job is changed is recorded, and its number is not used again."""

from collections.abc import Callable

import pytest

from jobd import lifecycle
from jobd.clock import HOUR, SECOND
from jobd.engine.changes import ChangeApplier
from jobd.job import Job, JobState, Options, Run
from jobd.store import definitions, requests, rows
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store

NOW = 1_795_465_213_000_000


def waiting(store: Store) -> tuple[int, JobState]:
    """A job whose first run has had two attempts of four."""
    (job_id,) = definitions.add(store, [Job("a", "1h", retry_times=3)], NOW, "UTC")

    def fail(session: Session) -> JobState:
        state = table.states_for_update(session, [job_id])[job_id]
        waiting = state._replace(attempt=2, ready=NOW + HOUR)
        table.save_states(session, [waiting])
        return waiting

    return job_id, store.transact(fail)


def runs(session: Session) -> list[Run]:
    return [rows.read_run(row) for row in session.rows(f"SELECT {rows.columns('run', rows.RUN)} FROM run")]


def by_set(store: Store, job_id: int) -> None:
    definitions.change(store, "a", lambda job: job._replace(interval="2h"), NOW + SECOND, "UTC")


def by_rm_and_add(store: Store, job_id: int) -> None:
    definitions.delete(store, ["a"], NOW, "UTC")
    definitions.add(store, [Job("a", "2h")], NOW + SECOND, "UTC")


def to(store: Store, job_id: int, interval: str) -> None:
    """Another program changes the job's row, and a node looks at it."""
    store.transact(lambda s: s.execute('UPDATE job SET "interval" = ? WHERE id = ?', (interval, job_id)))
    store.transact(lambda s: ChangeApplier(1, NOW + SECOND, "UTC", Options()).apply(s))


def by_hand(store: Store, job_id: int) -> None:
    to(store, job_id, "2h")


def by_an_invalid_interval_that_is_mended(store: Store, job_id: int) -> None:
    for interval in ("nonsense", "2h"):
        to(store, job_id, interval)


@pytest.mark.parametrize("change", [by_set, by_rm_and_add, by_hand, by_an_invalid_interval_that_is_mended])
def test_a_run_that_is_given_up_is_recorded_and_keeps_its_number(
    store: Store, change: Callable[[Store, int], None]
) -> None:
    job_id, before = waiting(store)
    change(store, job_id)
    (run,) = store.transact(runs)
    assert (run.number, run.due, run.attempts, run.outcome) == (1, before.due, 2, "superseded")
    assert run.error == "given up after 2 attempts: its job was changed"
    state = store.transact(lambda s: table.states_for_update(s, [job_id]))[job_id]
    assert (state.number, state.attempt, state.due) == (2, 0, NOW + SECOND)


def test_a_change_outside_the_schedule_gives_up_no_run(store: Store) -> None:
    job_id, before = waiting(store)
    definitions.change(store, "a", lambda job: job._replace(retry_times=9), NOW, "UTC")
    definitions.set_paused(store, ["a"], True, NOW, "UTC")
    definitions.set_paused(store, ["a"], False, NOW, "UTC")
    assert store.transact(runs) == []
    state = store.transact(lambda s: table.states_for_update(s, [job_id]))[job_id]
    assert (state.number, state.attempt) == (before.number, before.attempt)


def test_a_cancelled_run_is_not_also_given_up(store: Store) -> None:
    waiting(store)
    requests.request_cancel(store, "a", NOW)
    store.transact(lambda s: ChangeApplier(1, NOW + SECOND, "UTC", Options()).apply(s))
    assert [(run.number, run.outcome) for run in store.transact(runs)] == [(1, "cancelled")]


def test_a_run_without_an_attempt_leaves_no_record() -> None:
    job = Job("a", "1h", id=1)
    old = lifecycle.after_change(job, None, NOW, "UTC")
    new = lifecycle.after_change(job._replace(interval="2h"), old, NOW, "UTC")
    assert lifecycle.superseded_run(old, new, NOW) is None
    assert new.number == old.number
