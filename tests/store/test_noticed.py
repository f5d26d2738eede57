"""Every change that a program writes to `job` is noticed by the next poll after its commit."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.clock import HOUR, MINUTE, SECOND, SystemClock
from jobd.engine.changes import ChangeApplier
from jobd.errors import JobdError
from jobd.job import PLAIN, Job, JobState
from jobd.store import apply, definitions, dependencies, requests
from jobd.store import schedule_table as table
from jobd.store.rows import read_time
from jobd.store.store import Session, Store
from tests.store.test_dependencies import beside
from tests.store.test_hostile_rows import NOW

OLD = "'2020-01-01 00:00:00.000000'"
ZONES = ["-08:00", "+00:00", "+13:00"]
# How a program may change the interval of the job "one" to 20s; the last statement does it.
WAYS = {
    "plainly": ["UPDATE job SET \"interval\" = '20s'"],
    "with a time of its own": [f"UPDATE job SET \"interval\" = '20s', updated_time = {OLD}"],
    "a whole row, as it was read before": ["UPDATE job SET \"interval\" = '20s', updated_time = updated_time"],
    "with both times": [f"UPDATE job SET \"interval\" = '20s', updated_time = {OLD}, created_time = {OLD}"],
    "together with its name": ["UPDATE job SET name = 'other', \"interval\" = '20s'"],
}
MYSQL_WAYS = {
    "as a duplicate": [
        "INSERT INTO job (name, \"interval\") VALUES ('one', '20s') ON DUPLICATE KEY UPDATE \"interval\" = '20s'"
    ],
    "in the place of the row": ["REPLACE INTO job (id, name, \"interval\") VALUES (1, 'one', '20s')"],
    "with the server's clock an hour back": [
        "SET timestamp = UNIX_TIMESTAMP() - 3600",
        "UPDATE job SET \"interval\" = '20s'",
    ],
}


def look(store: Store, now: int = NOW) -> None:
    """A poll of a daemon."""
    store.transact(ChangeApplier(1, now, "UTC", PLAIN).apply)


def changed(store: Store) -> list[int]:
    """The jobs that a poll would look at."""
    return [change.job_id for change in store.transact(lambda session: table.changes(session, 100))]


def write(store: Store, *statements: str) -> None:
    store.transact(lambda session: [session.execute(sql) for sql in statements] and None)


def fingerprints(store: Store) -> list[str]:
    return [
        fingerprint for (fingerprint,) in store.transact(lambda s: s.rows("SELECT basis FROM schedule ORDER BY job_id"))
    ]


@pytest.mark.parametrize("way", [*WAYS, *MYSQL_WAYS])
def test_a_change_written_in_any_way_is_noticed(store: Store, way: str) -> None:
    if way in MYSQL_WAYS and store.dialect.name != "mysql":
        pytest.skip("only MySQL and MariaDB have this")
    definitions.add(store, [Job("one", "10s")], NOW, "UTC")
    assert changed(store) == []
    write(store, *(WAYS | MYSQL_WAYS)[way])
    assert changed(store) == [1]
    look(store)
    assert [fingerprint.rpartition("|")[2] for fingerprint in fingerprints(store)] == ["20s"]
    assert changed(store) == []


@pytest.mark.parametrize("day", ["0000-00-00", "2026-02-00", "9999-12-31 23:59:59.999999"])
def test_a_job_with_times_that_are_no_days_keeps_no_other_from_being_noticed(store: Store, day: str) -> None:
    if store.dialect.name != "mysql":
        pytest.skip("only MySQL and MariaDB take such")
    columns = 'name, "interval", created_time, updated_time'
    loose = "SET sql_mode = 'ANSI_QUOTES'"
    store._connection().cursor().execute(loose)
    store._connection().cursor().execute(f"INSERT INTO job ({columns}) VALUES ('odd', '10s', '{day}', '{day}')")
    store.close()
    write(store, "INSERT INTO job (name, \"interval\") VALUES ('one', '20s')")
    look(store)
    assert [fingerprint.rpartition("|")[2] for fingerprint in fingerprints(store)] == ["10s", "20s"]
    assert changed(store) == []


@pytest.mark.parametrize("zone", ZONES)
def test_the_times_are_utc_for_programs_in_every_zone(store: Store, zone: str) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("its sessions have no zone")
    name = "time_zone" if store.dialect.name == "mysql" else "timezone"
    hours = zone if store.dialect.name == "mysql" else str(int(zone[:3]))
    utc = "'+00:00'" if store.dialect.name == "mysql" else "'UTC'"
    write(store, f"SET {name} = '{hours}'", "INSERT INTO job (name, \"interval\") VALUES ('one', '10s')")
    look(store)
    write(store, "UPDATE job SET \"interval\" = '20s'", f"SET {name} = {utc}")
    look(store)
    ((created, updated),) = store.transact(lambda s: s.rows("SELECT created_time, updated_time FROM job"))
    now = SystemClock().wall()
    for value in (created, updated):
        moment = read_time(value)
        assert moment is not None
        assert abs(moment - now) < 5 * MINUTE


@pytest.mark.usefixtures("patient")
def test_a_change_is_noticed_however_late_it_is_committed(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    definitions.add(store, [Job("one", "10s"), Job("two", "10s")], NOW, "UTC")
    late = open_store(database)

    def slow(session: Session) -> None:
        session.execute("UPDATE job SET \"interval\" = '20s' WHERE name = 'one'")
        session.execute("INSERT INTO job (name, \"interval\") VALUES ('three', '20s')")
        write(store, "UPDATE job SET \"interval\" = '30s' WHERE name = 'two'")
        assert changed(store) == [2]  # the others' rows are neither seen nor waited for
        look(store)

    late.transact(slow)
    assert sorted(changed(store)) == [1, 3]


@pytest.mark.usefixtures("patient")
def test_nodes_that_poll_at_once_notice_a_change_once(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    definitions.add(store, [Job("one", "10s")], NOW, "UTC")
    write(store, "UPDATE job SET \"interval\" = '20s'")
    other = open_store(database)
    seen: list[int] = []

    def both(session: Session) -> None:
        seen.extend(change.job_id for change in table.changes(session, 100))
        if not seen_by_triggers:
            assert changed(other) == []

    seen_by_triggers = not getattr(store.dialect, "sealed", False)
    store.transact(both)
    assert seen == [1]
    assert len(changed(other)) == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("command", ["run", "set"])
def test_a_change_that_a_program_commits_during_a_command_is_kept_and_noticed(
    store: Store, database: str, open_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Between the command's read of the definition and its removal of the recorded changes."""
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    definitions.add(store, [Job("one", "10s")], NOW, "UTC")
    after_change = lifecycle.after_change

    with beside(open_store(database), lambda other: write(other, "UPDATE job SET \"interval\" = '20s'")) as meanwhile:

        def edit(job: Job) -> Job:
            meanwhile()
            return job._replace(retry_times=3)

        def planned(*values: Any) -> Any:
            meanwhile()
            return after_change(*values)

        if command == "set":
            definitions.change(store, "one", edit, NOW, "UTC")
        else:
            monkeypatch.setattr(lifecycle, "after_change", planned)
            requests.request_run(store, "one", NOW, "UTC")
            monkeypatch.undo()
    assert changed(store) == [1]
    (job,) = apply.all_jobs(store)
    assert (job.interval, job.retry_times) == ("20s", 3 if command == "set" else 0)


@pytest.mark.parametrize("command", ["run", "cancel"])
def test_a_request_for_a_claimed_job_does_not_wait_for_a_program_that_changes_its_row(
    store: Store, database: str, open_store: Callable[[str], Store], command: str
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    definitions.add(store, [Job("one", "10s")], NOW, "UTC")
    store.transact(lambda s: table.claim(s, 1, "default", NOW, 10))
    other = open_store(database)

    def program(session: Session) -> None:
        session.execute("UPDATE job SET \"interval\" = '20s'")
        if command == "run":
            requests.request_run(other, "one", NOW, "UTC")
        else:
            requests.request_cancel(other, "one", NOW)

    store.transact(program)
    found = store.transact(lambda session: table.changes(session, 100))
    assert {change.what for change in found} == {"changed", command}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("command", ["run", "set", "cancel"])
def test_a_command_for_a_job_whose_row_a_program_is_deleting_says_that_there_is_none(
    store: Store, database: str, open_store: Callable[[str], Store], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    definitions.add(store, [Job("one", "10s")], NOW, "UTC")
    states_for_update = table.states_for_update

    with beside(open_store(database), lambda other: write(other, "DELETE FROM job")) as meanwhile:

        def deleted(session: Session, job_ids: Sequence[int]) -> dict[int, JobState]:
            meanwhile()
            return states_for_update(session, job_ids)

        monkeypatch.setattr(table, "states_for_update", deleted)
        given: dict[str, Callable[[], object]] = {
            "run": lambda: requests.request_run(store, "one", NOW, "UTC"),
            "set": lambda: definitions.change(store, "one", lambda job: job, NOW, "UTC"),
            "cancel": lambda: requests.request_cancel(store, "one", NOW),
        }
        with pytest.raises(JobdError, match="there is no job named 'one'"):
            given[command]()
        monkeypatch.undo()


def test_a_job_inserted_under_the_id_of_one_that_was_removed_is_a_new_job(store: Store) -> None:
    definitions.add(store, [Job("once", runonce=True)], NOW, "UTC")
    (claimed,) = store.transact(lambda s: table.claim(s, 1, "default", NOW, 10))
    done = claimed.state._replace(node=0, due=None, ready=None, number=2)
    store.transact(lambda s: table.record(s, [ClaimUpdate(1, claimed.state.token, done, None, ())], NOW))
    write(store, "DELETE FROM job", "INSERT INTO job (id, name, runonce) VALUES (1, 'once', 1)")
    look(store, NOW + HOUR)
    (again,) = store.transact(lambda s: table.claim(s, 1, "default", NOW + HOUR + SECOND, 10))
    assert again.job is not None
    assert again.job.name == "once"


def test_new_jobs_that_a_node_is_planning_are_left_to_it_without_a_wait_or_a_conflict(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    """With all their changes, in their order, however many nodes see them."""
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    sealed = getattr(store.dialect, "sealed", False)  # then the other sees nothing of them before the commit
    write(store, *(f"INSERT INTO job (name, \"interval\") VALUES ('job{n}', '1h')" for n in range(3)))
    other = open_store(database)
    tries: list[int] = []

    def plan(session: Session) -> None:
        tries.append(1)
        done = ChangeApplier(1, NOW, "UTC", PLAIN).apply(session)
        assert (len(done.touched), done.left_over) == (3, False)
        if not sealed:
            other.transact(lambda s: table.record_changes(s, [2], "run"))
        assert other.transact(plan_too) == (0 if sealed else 3, not sealed, False)

    def plan_too(session: Session) -> tuple[int, bool, bool]:
        tries.append(2)
        done = ChangeApplier(2, NOW, "UTC", PLAIN).apply(session)
        return len(done.touched), done.left_over, done.more

    store.transact(plan)
    assert tries == [1, 2]
    look(store)
    sql = "SELECT job_id, manual FROM schedule ORDER BY job_id"
    assert store.transact(lambda session: session.rows(sql)) == [(1, 0), (2, 0 if sealed else 1), (3, 0)]
    assert changed(store) == []


def test_a_change_of_a_new_job_and_its_planning_do_not_wait_for_each_other_in_a_circle(
    store: Store, database: str, open_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user pauses it while a node sees it: in the middle of the pause, the node leaves it to the user."""
    if store.dialect.name == "sqlite":
        pytest.skip("only one can write at a time")
    write(store, "INSERT INTO job (name, \"interval\") VALUES ('new', '1h')")
    tries: list[str] = []

    def plan(session: Session) -> None:
        tries.append("plan")
        ChangeApplier(1, NOW, "UTC", PLAIN).apply(session)

    with beside(open_store(database), lambda other: other.transact(plan)) as meanwhile:

        def between(*given: object) -> None:
            tries.append("pause")
            meanwhile()

        monkeypatch.setattr(dependencies, "recheck", between)
        definitions.set_paused(store, ["new"], True, NOW, "UTC")
        monkeypatch.undo()
    assert sorted(tries) == ["pause", "plan"]
    assert store.transact(lambda session: session.rows("SELECT ready_time FROM schedule")) == [(None,)]
