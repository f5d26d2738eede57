"""A job whose state is missing, or was made from another definition, is found, and planned after a while."""

from collections.abc import Sequence
from typing import Any

import pytest

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.clock import SECOND
from jobd.definition import BUILT_IN, with_defaults
from jobd.engine.changes import ChangeApplier
from jobd.job import PLAIN, Job, Options
from jobd.store import definitions, slices
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from tests.store.test_hostile_rows import NOW
from tests.store.test_removed import write


def missing(store: Store, after: int, until: int) -> list[int]:
    return store.transact(lambda session: slices.jobs_without_schedule(session, after, until))


def test_live_jobs_without_a_row_are_found_in_their_slice(store: Store) -> None:
    names = [f"job{number}" for number in range(6)]
    ids = definitions.add(store, [Job(name, "1h") for name in names], NOW, "UTC")
    definitions.delete(store, ["job1"], NOW, "UTC")
    assert missing(store, 0, ids[-1]) == []
    write(store, "DELETE FROM schedule WHERE job_id <> 1")
    assert missing(store, 0, ids[-1]) == [ids[2], ids[3], ids[4], ids[5]]
    assert missing(store, ids[2], ids[4]) == [ids[3], ids[4]]
    store.transact(lambda session: table.record_changes(session, [ids[3]], "changed"))
    store.transact(ChangeApplier(1, NOW + SECOND, "UTC", PLAIN).apply)
    assert missing(store, 0, ids[-1]) == [ids[2], ids[4], ids[5]]
    assert len(store.transact(lambda session: table.claim(session, 1, "default", NOW + SECOND, 10))) == 2


# What a dump holds that is older than the state, and what `schedule` says meanwhile.
SINCE = {
    "another interval": "UPDATE job SET \"interval\" = '20s' WHERE id = 2",
    "once": "UPDATE job SET runonce = 1 WHERE id = 2",
    "deleted": "UPDATE job SET is_delete = 1 WHERE id = 2",
    "restored": "UPDATE job SET is_delete = 0 WHERE id = 2",
}
COLUMNS = 'id, name, retry_times, runonce, "interval", created_time, updated_time, "lastFinished_time", is_delete'


def jobs_with_outdated_schedule(store: Store) -> list[int]:
    return store.transact(lambda session: slices.jobs_with_outdated_schedule(session, 0, 100, "UTC"))


@pytest.mark.parametrize("how", ["updated", "inserted"])
@pytest.mark.parametrize("since", SINCE)
def test_jobs_from_a_dump_older_than_their_states_are_found_and_planned_again(
    store: Store, since: str, how: str
) -> None:
    if how == "inserted" and not getattr(store.dialect, "sealed", False):
        pytest.skip("there a plan goes with the row of its job, and is found missing")
    definitions.add(store, [Job(name, "1h") for name in ("one", "two", "three")], NOW, "UTC")
    definitions.delete(store, ["three"], NOW, "UTC")
    if since == "restored":
        definitions.delete(store, ["two"], NOW, "UTC")
    look = ChangeApplier(1, NOW + SECOND, "UTC", PLAIN).apply
    store.transact(look)
    assert jobs_with_outdated_schedule(store) == []
    dump = store.transact(lambda session: session.rows(f"SELECT {COLUMNS} FROM job ORDER BY id"))
    wanted = store.transact(lambda session: session.rows("SELECT basis, ready_time FROM schedule ORDER BY job_id"))
    write(store, SINCE[since])
    store.transact(look)
    assert jobs_with_outdated_schedule(store) == []
    store.transact(lambda session: restore(session, dump, how))
    assert jobs_with_outdated_schedule(store) == [2]
    store.transact(lambda session: table.record_changes(session, [2], "changed"))
    store.transact(ChangeApplier(1, NOW + 2 * SECOND, "UTC", PLAIN).apply)
    assert jobs_with_outdated_schedule(store) == []
    found = store.transact(lambda session: session.rows("SELECT basis, ready_time FROM schedule ORDER BY job_id"))
    assert [fingerprint for fingerprint, _ in found] == [fingerprint for fingerprint, _ in wanted]
    assert [ready is None for _, ready in found] == [ready is None for _, ready in wanted]


def restore(session: Session, dump: Sequence[Sequence[Any]], how: str) -> None:
    """Have the rows of the dump; what is noted of it is lost."""
    if how == "inserted":
        session.execute("DELETE FROM job")
        session.write_rows("job", COLUMNS.replace('"', "").split(", "), dump)
    else:
        sets = ", ".join(f"{column} = ?" for column in COLUMNS.split(", "))
        for row in dump:
            session.execute(f"UPDATE job SET {sets} WHERE id = ?", (*row, row[0]))
    session.execute("DELETE FROM job_change")


def test_a_paused_and_a_finished_job_have_correct_states(store: Store) -> None:
    definitions.add(store, [Job("paused", "1h", options=Options(paused=True)), Job("once", None, True)], NOW, "UTC")
    write(store, "INSERT INTO job (name, \"interval\") VALUES ('odd', 'every blue moon')")
    store.transact(ChangeApplier(1, NOW + SECOND, "UTC", PLAIN).apply)
    (claimed,) = store.transact(lambda session: table.claim(session, 1, "default", NOW + SECOND, 10))
    assert jobs_with_outdated_schedule(store) == []
    assert claimed.job is not None
    job = with_defaults(claimed.job, BUILT_IN)
    state, run = lifecycle.after_attempt(
        job, claimed.state, lifecycle.Ended("succeeded", NOW, NOW + SECOND), "UTC", 0.5
    )[:2]
    update = ClaimUpdate(1, claimed.state.token, state, run, ())
    assert store.transact(lambda session: table.record(session, [update], NOW + SECOND)) == {job.id}
    assert jobs_with_outdated_schedule(store) == []


def test_a_state_for_another_default_zone_is_found_unless_its_run_has_started(store: Store) -> None:
    jobs = [Job(name, "0 9 * * *") for name in ("here", "elsewhere", "begun", "over")]
    definitions.add(
        store, [*jobs, Job("nowhere", "1h"), Job("named", "0 9 * * *", options=Options(timezone="UTC"))], NOW, "UTC"
    )
    store.transact(ChangeApplier(1, NOW + SECOND, "UTC", PLAIN).apply)
    assert jobs_with_outdated_schedule(store) == []
    another = "UPDATE schedule SET basis = REPLACE(basis, '|UTC|', '|Asia/Tokyo|')"
    write(store, f"{another} WHERE job_id IN (2, 3, 4)", "UPDATE schedule SET attempt = 1 WHERE job_id = 3")
    write(store, "UPDATE schedule SET due_time = NULL, ready_time = NULL WHERE job_id = 4")
    assert jobs_with_outdated_schedule(store) == [2]
    store.transact(lambda session: table.record_changes(session, [2], "changed"))
    store.transact(ChangeApplier(1, NOW + 2 * SECOND, "UTC", PLAIN).apply)
    assert jobs_with_outdated_schedule(store) == []


@pytest.mark.parametrize("change", ["priority = 7", "pool = 'other'"])
def test_options_written_with_sql_are_found_and_put_into_effect(store: Store, change: str) -> None:
    two = Job("two", "1h", options=Options(pool="default", priority=1))
    definitions.add(store, [Job("one", "1h"), two], NOW, "UTC")
    look = ChangeApplier(1, NOW + SECOND, "UTC", PLAIN).apply
    store.transact(look)
    assert jobs_with_outdated_schedule(store) == []
    write(store, f"UPDATE job_options SET {change} WHERE job_id = 2")
    assert jobs_with_outdated_schedule(store) == [2]
    store.transact(lambda session: table.record_changes(session, [2], "changed"))
    store.transact(look)
    assert jobs_with_outdated_schedule(store) == []
    state = store.transact(lambda session: table.states_for_update(session, [2]))[2]
    assert (state.pool, state.priority) in (("default", 7), ("other", 1))
