"""jobd's own tables refuse invalid values, and invalid values of an older SQLite database are dropped."""

import contextlib
from functools import partial
from pathlib import Path

import pytest

from jobd import logs
from jobd.store import apply, nodes, schema
from jobd.store import schedule_table as table
from jobd.store.sqlite.strict import TABLES
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests.servers import sqlite_url

NONSENSE = {
    "job_change": "INSERT INTO job_change (job_id, what) VALUES ('abc', 'changed')",
    "schedule": "INSERT INTO schedule (job_id, due_time, ready_time) VALUES ('abc', 1, 1)",
    "schedule token": "UPDATE schedule SET token = 1.5 WHERE job_id = 2",
    "schedule text": "UPDATE schedule SET node_id = 'abc' WHERE job_id = 2",
    "schedule node": "UPDATE schedule SET node_id = x'ff' WHERE job_id = 2",
    "run": "INSERT INTO run VALUES (1, 900, 1, 1, 'abc', 1, 'succeeded', 1, NULL, NULL, 0)",
    "run number": "INSERT INTO run VALUES (1, 'x', 1, 1, 1, 1, 'succeeded', 1, NULL, NULL, 0)",
    "job_options": "INSERT INTO job_options (job_id, timeout) VALUES (3, 'soon')",
    "job_dependency": "INSERT INTO job_dependency (job_id, on_job_id) VALUES (1, 'abc')",
    "node": "UPDATE node SET heartbeat = 'abc'",
    "output": "INSERT INTO output VALUES (1, 'abc', 1, 1, '')",
}
GOOD = [
    "INSERT INTO job (id, name, \"interval\") VALUES (1, 'good', '10s'), (2, 'bad', '10s')",
    "INSERT INTO schedule (job_id, due_time, ready_time, token) VALUES (1, 1, 1, 5), (2, 1, 1, 5)",
    "INSERT INTO run VALUES (1, 1, 1, 1, 1, 1, 'succeeded', 1, NULL, NULL, 0)",
    "INSERT INTO output VALUES (1, 1, 1, 0, 'hello')",
    "INSERT INTO job_options (job_id, timeout) VALUES (1, 7000000)",
    "INSERT INTO node (id, host, pid, version, instance, started_time) VALUES (7, 'h', 1, '1', 'i', 1)",
]


def write(store: Store, *statements: str) -> None:
    store.transact(lambda session: [session.execute(sql) for sql in statements] and None)


def counts(store: Store) -> dict[str, int]:
    return {name: store.transact(partial(Session.rows, sql=f"SELECT count(*) FROM {name}"))[0][0] for name in TABLES}


@pytest.mark.parametrize("what", NONSENSE)
def test_text_where_a_number_belongs_is_refused_in_all_tables(store: Store, what: str) -> None:
    write(store, *GOOD)
    before = counts(store)
    if what == "schedule token" and store.dialect.name != "sqlite":
        pytest.skip("it is rounded")
    if what == "schedule node" and getattr(store.dialect, "sealed", False):
        pytest.skip("MySQL takes x'ff' for a number wherever one belongs")
    with pytest.raises(Exception):  # noqa: B017, PT011 - each driver has its own
        write(store, NONSENSE[what])
    assert counts(store) == before


def test_valid_values_of_an_older_sqlite_database_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(logs, "log", lambda level, message: logged.append(message))
    url = sqlite_url(tmp_path)
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", 3)
        with contextlib.closing(Store(parse_url(url))) as store:
            write(
                store,
                *GOOD,
                "INSERT INTO node (id, host, pid, version, instance, started_time) VALUES (9, '', 1, '', '', 1)",
            )
            write(store, "DELETE FROM node WHERE id = 9", "DELETE FROM job_change")
            good = counts(store)
            (indexes,) = store.transact(
                lambda s: s.rows("SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            )
            write(store, *(sql for what, sql in NONSENSE.items() if what != "node"))
    with contextlib.closing(Store(parse_url(url))) as store:
        assert counts(store) == good | {"schedule": 1}
        assert store.transact(
            lambda s: s.rows("SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        ) == [indexes]
        assert any("2 rows of the table schedule were invalid and were dropped" in line for line in logged), logged
        assert store.transact(lambda s: nodes.register(s, "host", 7, "1", "instance", 5)) == 10
        (claimed,) = store.transact(lambda session: table.claim(session, 1, "default", 5, 10))
        assert (claimed.job and claimed.job.options.timeout, claimed.state.token) == (7_000_000, 6)
        write(store, "UPDATE job SET retry_times = 1")
        assert len(store.transact(lambda session: table.changes(session, 10))) == 2
        assert [job.name for job in apply.all_jobs(store)] == ["bad", "good"]
