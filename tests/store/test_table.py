"""The table `job` is an interface: any program may write to it. The same promises on every database."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobd.clock import SECOND, SystemClock
from jobd.engine.missing_schedules import MissingScheduleScan
from jobd.errors import ConfigError
from jobd.store import apply, schema
from jobd.store import schedule_table as table
from jobd.store.reads import Reader
from jobd.store.rows import JOB, read_time
from jobd.store.store import Session, Store
from jobd.store.url import parse_url

PLAIN_INSERT = """INSERT INTO job (name, "interval") VALUES ('task1', '10s')"""


def one(store: Store, sql: str, *parameters: Any) -> tuple[Any, ...]:
    (row,) = store.transact(lambda session: session.rows(sql, parameters))
    return row


def write(store: Store, *statements: str) -> None:
    store.transact(lambda session: [session.execute(statement) for statement in statements] and None)


def changed_ids(store: Store) -> list[int]:
    return [change.job_id for change in store.transact(lambda session: table.changes(session, 100))]


def drop_changes(store: Store) -> None:
    def work(session: Session) -> None:
        session.dialect.drop_seen_changes(session, [job_id for (job_id,) in session.rows("SELECT id FROM job")])

    store.transact(work)


def is_sealed(store: Store) -> bool:
    """Whether changes are noticed by the seal in `updated_time` (MySQL proper), not by triggers."""
    return bool(getattr(store.dialect, "sealed", False))


def test_the_table_has_exactly_the_nine_columns(store: Store) -> None:
    def names(session: Session) -> list[str]:
        return [column[0] for column in session.execute("SELECT * FROM job").description]

    assert (
        tuple(store.transact(names))
        == JOB
        == (
            "id",
            "name",
            "retry_times",
            "runonce",
            "interval",
            "created_time",
            "updated_time",
            "lastFinished_time",
            "is_delete",
        )
    )


def test_a_plain_insert_by_any_program_gets_its_defaults_and_times_from_the_database(store: Store) -> None:
    if store.dialect.name != "sqlite":
        # A foreign program's session may live in any time zone; the times are still UTC.
        zone = "SET time_zone = '+09:00'" if store.dialect.name == "mysql" else "SET timezone = 'Asia/Tokyo'"
        write(store, zone)
    write(store, PLAIN_INSERT)
    row = one(store, f"SELECT {', '.join(chr(34) + name + chr(34) for name in JOB)} FROM job")
    job_id, name, retry_times, runonce, interval, created, updated, finished, is_delete = row
    assert (name, retry_times, runonce, interval, finished, is_delete) == ("task1", 0, 0, "10s", None, 0)
    assert job_id >= 1
    now = datetime.now(UTC)
    for value in (created, updated):
        moment = read_time(value)
        assert moment is not None
        assert abs(datetime.fromtimestamp(moment / 1e6, UTC) - now) < timedelta(minutes=1)


def test_a_plain_insert_is_noticed(store: Store) -> None:
    write(store, PLAIN_INSERT)
    assert changed_ids(store) == [one(store, "SELECT id FROM job")[0]]


@pytest.mark.parametrize(
    "change",
    ["retry_times = 7", "\"interval\" = '20s'", "runonce = 1", "is_delete = 1", "name = 'other'", '"interval" = NULL'],
)
def test_a_change_of_the_definition_is_noticed_and_moves_updated_time(store: Store, change: str) -> None:
    write(store, PLAIN_INSERT, "UPDATE job SET updated_time = '2020-01-01 00:00:00.000000'")
    drop_changes(store)
    write(store, f"UPDATE job SET {change}")
    assert len(changed_ids(store)) == 1
    moment = read_time(one(store, "SELECT updated_time FROM job")[0])
    assert moment is not None
    assert moment > 1_700_000_000_000_000


@pytest.mark.parametrize(
    "change", ["\"lastFinished_time\" = '2026-01-01 00:00:00.123456'", "retry_times = 0", "name = 'task1'"]
)
def test_a_write_that_leaves_the_definition_is_no_change(store: Store, change: str) -> None:
    write(store, PLAIN_INSERT, "UPDATE job SET updated_time = '2020-01-01 00:00:00.000000'")
    drop_changes(store)
    write(store, f"UPDATE job SET {change}")
    if is_sealed(store) and change.startswith('"last'):
        assert changed_ids(store) == [1]  # ON UPDATE moves updated_time for every write; jobd's own writes do not
        return
    assert changed_ids(store) == []
    moment = read_time(one(store, "SELECT updated_time FROM job")[0])
    assert moment is not None
    assert moment - (moment % SECOND if is_sealed(store) else 0) == 1_577_836_800_000_000


def test_microseconds_are_kept(store: Store) -> None:
    write(store, PLAIN_INSERT, "UPDATE job SET \"lastFinished_time\" = '2026-01-02 03:04:05.678901'")
    assert read_time(one(store, 'SELECT "lastFinished_time" FROM job')[0]) == 1_767_323_045_678_901


def test_a_name_is_unique_and_compared_byte_for_byte(store: Store) -> None:
    for name in ("job", "Job", "jöb", "job😀"):
        write(store, f"INSERT INTO job (name, runonce) VALUES ('{name}', 1)")
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        write(store, "INSERT INTO job (name, runonce) VALUES ('job', 1)")
    assert one(store, "SELECT count(*) FROM job") == (4,)


@pytest.mark.parametrize("column", ["retry_times", "runonce", "is_delete"])
def test_text_where_a_number_belongs_is_refused_by_the_database(store: Store, column: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - each driver has its own
        write(store, f"INSERT INTO job (name, {column}) VALUES ('bad', 'many')")
    assert one(store, "SELECT count(*) FROM job") == (0,)


def test_a_row_removed_with_sql_leaves_only_its_history(store: Store) -> None:
    write(store, PLAIN_INSERT)
    job_id = one(store, "SELECT id FROM job")[0]
    write(
        store,
        f"INSERT INTO schedule (job_id) VALUES ({job_id})",
        f"INSERT INTO job_options (job_id, task) VALUES ({job_id}, 'x')",
        "INSERT INTO run (job_id, number, due_time, finished_time, attempts, outcome, node_id)"
        f" VALUES ({job_id}, 1, 1, 1, 1, 'succeeded', 1)",
        "DELETE FROM job",
    )
    if is_sealed(store):  # no trigger: the next count drops the state
        scan = MissingScheduleScan(SystemClock(), lease=30 * SECOND)
        scan.next_at = 0
        scan.step(store, "UTC")
    for name, left in (("schedule", 0), ("job_options", 0), ("job_change", 0), ("run", 1)):
        assert one(store, f"SELECT count(*) FROM {name}") == (left,)


def test_an_id_is_never_used_again(store: Store) -> None:
    write(store, PLAIN_INSERT)
    first = one(store, "SELECT id FROM job")[0]
    write(store, "DELETE FROM job", PLAIN_INSERT)
    assert one(store, "SELECT id FROM job")[0] > first


def test_a_newer_schema_is_refused_with_one_clear_line(store: Store, database: str) -> None:
    write(store, "UPDATE jobd_schema SET version = 99")
    with pytest.raises(ConfigError, match=f"schema version 99, and this jobd knows only {schema.VERSION}"):
        Store(parse_url(database))


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_an_upgrade_from_every_older_version_keeps_every_row(
    database: str, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", version)
        with contextlib.closing(Store(parse_url(database))) as store:
            write(store, PLAIN_INSERT, "INSERT INTO job_options (job_id, task) SELECT id, 'other' FROM job")
            assert one(store, "SELECT version FROM jobd_schema") == (version,)
    with contextlib.closing(Store(parse_url(database))) as store:
        assert one(store, "SELECT version FROM jobd_schema") == (schema.VERSION,)
        (job,) = apply.all_jobs(store)
        assert (job.name, job.interval, job.task) == ("task1", "10s", "other")


@pytest.mark.parametrize("damage", ["DELETE FROM jobd_schema", "UPDATE jobd_schema SET version = -1", "twice", "text"])
def test_a_damaged_version_is_reported_in_one_clear_line(store: Store, database: str, damage: str) -> None:
    kind = store.dialect.name
    statement = {
        "twice": "INSERT INTO jobd_schema SELECT version + 1 FROM jobd_schema",
        "text": "UPDATE jobd_schema SET version = 'abc'",
    }.get(damage, damage)
    if damage == "text" and kind != "sqlite":
        pytest.skip("the column takes no text")
    write(store, PLAIN_INSERT, statement)
    if damage.startswith("DELETE") and kind == "mysql":
        with contextlib.closing(Store(parse_url(database))) as again:  # it may as well be an upgrade that was cut short
            assert one(again, "SELECT version FROM jobd_schema") == (schema.VERSION,)
            assert one(again, "SELECT count(*) FROM job") == (1,)
        return
    with pytest.raises(ConfigError, match=r"the table jobd_schema in .* holds"):
        Store(parse_url(database))
    with pytest.raises(ConfigError, match=r"the table jobd_schema in .* holds"):
        Reader(parse_url(database))
