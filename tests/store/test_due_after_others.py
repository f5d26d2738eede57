"""The due time of a job that runs after others is the end of the last of these runs, on every database."""

from collections.abc import Callable

import pytest

from jobd.clock import HOUR, MINUTE, SECOND
from jobd.engine.changes import ChangeApplier
from jobd.job import Job, Options
from jobd.store import definitions, requests
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from tests.store.test_dependencies import NOW, add, after, beside, due, end_run, ids


def end(store: Store, name: str, finished: int, late: int = 0) -> None:
    job_id = ids(store)[name]
    store.transact(lambda session: end_run(session, job_id, finished=finished, late=late))


def due_time(store: Store, name: str) -> int | None:
    job_id = ids(store)[name]
    return store.transact(lambda session: table.states_for_update(session, [job_id]))[job_id].due


def test_a_run_that_a_node_records_late_makes_no_due_time_before_the_others_ended(store: Store) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b"))
    end(store, "a", NOW + 200)
    end(store, "b", NOW + 100, late=HOUR)
    assert due_time(store, "both") == NOW + 200


def test_two_nodes_that_record_the_last_two_runs_at_the_same_moment_make_the_job_due(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    """The second transaction began before the first ended, and its own moment is earlier."""
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b"))
    job_id = ids(store)["a"]

    def end_first(session: Session) -> None:
        end_run(session, job_id, finished=NOW + 200)
        meanwhile()

    with beside(open_store(database), lambda other: end(other, "b", NOW + 100)) as meanwhile:
        store.transact(end_first)
    assert due_time(store, "both") == NOW + 200
    end(store, "a", NOW + 300)
    assert due_time(store, "both") == NOW + 200


def test_a_run_after_a_long_one_is_due_at_the_end_of_that(store: Store) -> None:
    add(store, Job("a", "1h"), after("b", "a"))
    end(store, "a", NOW + 100)
    end(store, "a", NOW + 200)
    end(store, "b", NOW + 300)
    assert due_time(store, "b") == NOW + 300


def test_a_run_by_a_clock_that_was_hours_ahead_delays_nothing(store: Store) -> None:
    add(store, Job("a", "1h"), Job("b", "1h"), after("both", "a", "b"))
    end(store, "a", NOW + 5 * HOUR)
    end(store, "b", NOW + 100)
    assert due_time(store, "both") == NOW + 100


def test_a_run_by_a_clock_that_was_ahead_makes_no_due_time_in_the_past(store: Store) -> None:
    add(store, Job("a", "1h"), after("b", "a"))
    end(store, "b", NOW - HOUR)
    end(store, "a", NOW + 5 * MINUTE, late=-5 * MINUTE)  # the clock was set back before this was recorded
    assert due_time(store, "b") == NOW


@pytest.mark.parametrize("ended", [NOW - MINUTE, NOW + SECOND])
def test_a_job_that_is_resumed_is_due_at_once_but_not_before_the_others_ended(store: Store, ended: int) -> None:
    """The command may have waited for the transaction that recorded the end."""
    add(store, Job("a", "1h"), after("b", "a"))
    definitions.set_paused(store, ["b"], True, NOW, "UTC")
    end(store, "a", ended)
    definitions.set_paused(store, ["b"], False, NOW, "UTC")
    assert due_time(store, "b") == max(NOW, ended)


def test_a_cancelled_run_is_followed_by_the_one_that_became_due_during_it(store: Store) -> None:
    add(store, Job("a", "1h"), after("b", "a")._replace(retry_times=3))
    job_id = ids(store)["b"]

    def fail(session: Session) -> None:
        state = table.states_for_update(session, [job_id])[job_id]
        table.save_states(session, [state._replace(attempt=1, ready=NOW + HOUR)])

    end(store, "a", NOW + 100)
    store.transact(fail)
    end(store, "a", NOW + 200)
    for _ in range(2):
        requests.request_cancel(store, "b", NOW + 300)
    store.transact(ChangeApplier(1, NOW + SECOND, "UTC", Options()).apply)
    assert "b" in due(store)
    assert due_time(store, "b") == NOW + SECOND
    runs = "SELECT number, outcome FROM run WHERE job_id = ?"
    assert store.transact(lambda session: session.rows(runs, (job_id,))) == [(1, "cancelled")]
