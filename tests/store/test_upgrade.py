"""A database of an older jobd opens, keeps every row, and gets the tables of a new one."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest

from jobd.options import OPTION_TABLE
from jobd.store import schema
from jobd.store.connect import dialect_of
from jobd.store.store import Session, Store
from jobd.store.url import Target, parse_url
from tests import servers

OLD = 4  # the version of the schema before nodes shared the work
RELEASED = 9  # a later version may get further steps; these never change
# What the released steps were when databases of that version were made.
DIGESTS = {
    "sqlite": "6e5286a67826fe9c8b052fb5cb2d71aaeed2d17c93aa84b72c4442acd925bdd0",
    "mysql": "6ee0bfe7840ae1d9646452c65a4fa73c8bcaaf7c038531eb2fdb3eacbb74ab12",
    "postgresql": "29a07199c40e3123c89ee4adc1fd23502c37d69fd3ca4db05a9abe9715cce4e3",
}
ROWS = (
    """INSERT INTO job (id, name, "interval") VALUES (1, 'parent', '1h')""",
    "INSERT INTO job (id, name, retry_times, runonce) VALUES (2, 'retrying', 5, 1)",
    "INSERT INTO job (id, name, is_delete) VALUES (3, 'child', 1)",
    """INSERT INTO job_options (job_id, task, after_jobs) VALUES (3, 'other', '["parent:finished"]')""",
    "INSERT INTO job_options (job_id, task, priority) VALUES (2, 'other', 7)",
    "INSERT INTO job_dependency (job_id, on_job_id, any_outcome, met) VALUES (3, 1, 1, 1)",
    "INSERT INTO schedule (job_id, due_time, ready_time, attempt, number, basis, token)"
    " VALUES (2, 5, 900, 2, 7, '1||', 4)",
    "INSERT INTO schedule (job_id, due_time, ready_time) VALUES (1, 5, 5)",
    "INSERT INTO run (job_id, number, due_time, finished_time, attempts, outcome, node_id, error)"
    " VALUES (1, 6, 5, 8, 2, 'failed', 1, 'no')",
    "INSERT INTO output (job_id, number, attempt, part, text) VALUES (1, 6, 2, 0, 'words')",
    "INSERT INTO node (id, host, pid, version, instance, started_time) VALUES (1, 'here', 9, '0.1.0', 'x', 3)",
)
KEPT = {
    'SELECT id, name, retry_times, runonce, "interval", is_delete FROM job ORDER BY id': [
        (1, "parent", 0, 0, "1h", 0),
        (2, "retrying", 5, 1, None, 0),
        (3, "child", 0, 0, None, 1),
    ],
    "SELECT job_id, task, after_jobs FROM job_options ORDER BY job_id": [
        (2, "other", None),
        (3, "other", '["1:finished parent"]'),
    ],
    "SELECT job_id, on_job_id, any_outcome, met FROM job_dependency": [(3, 1, 1, 1)],
    "SELECT job_id, due_time, ready_time, attempt, number, basis, token, priority FROM schedule ORDER BY job_id": [
        (1, 5, 5, 0, 1, "", 0, 0),
        (2, 5, 900, 2, 7, "1||", 4, 7),
    ],
    "SELECT job_id, number, attempts, outcome, error FROM run": [(1, 6, 2, "failed", "no")],
    "SELECT job_id, number, attempt, part, text FROM output": [(1, 6, 2, 0, "words")],
    "SELECT id, host, pid, instance, stopped_time, lock_name, pools FROM node": [(1, "here", 9, "x", None, None, None)],
}
DESCRIPTIONS = {
    "sqlite": ("SELECT type, name, sql FROM sqlite_master",),
    "mysql": (
        "SELECT table_name, column_name, ordinal_position, column_type, is_nullable, column_default, extra,"
        " collation_name FROM information_schema.columns WHERE table_schema = DATABASE()",
        "SELECT table_name, index_name, seq_in_index, column_name, non_unique FROM information_schema.statistics"
        " WHERE table_schema = DATABASE()",
        "SELECT trigger_name, event_manipulation, action_timing, action_statement FROM information_schema.triggers"
        " WHERE trigger_schema = DATABASE()",
        "SELECT table_name, constraint_name, delete_rule FROM information_schema.referential_constraints"
        " WHERE constraint_schema = DATABASE()",
    ),
    "postgresql": (
        "SELECT table_name, column_name, ordinal_position, data_type, character_maximum_length, is_nullable,"
        " column_default, collation_name FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ),
}
COLUMNS = {
    "sqlite": """SELECT name, type, "notnull", dflt_value FROM pragma_table_info('{}')""",
    "mysql": "SELECT column_name, column_type, is_nullable, column_default FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = '{}'",
    "postgresql": "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default"
    " FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{}'",
}


def asked(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return store.transact(lambda session: session.rows(sql))


def described(store: Store) -> list[list[str]]:
    """Columns, indexes, triggers and functions."""
    return [sorted(map(repr, asked(store, sql))) for sql in DESCRIPTIONS[store.dialect.name]]


@pytest.mark.parametrize("kind", ["sqlite", "mariadb", "postgresql", "mysql"])
def test_a_database_of_an_older_jobd_keeps_every_row_and_gets_the_tables_of_a_new_one(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def new_database(name: str) -> str:
        if kind == "sqlite":
            (tmp_path / name).mkdir()
            return servers.sqlite_url(tmp_path / name)
        server: servers.Server = request.getfixturevalue(kind)
        return server.new_database()

    url = new_database("old")
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", OLD)
        with contextlib.closing(Store(parse_url(url))) as store:
            store.transact(lambda session: [session.execute(statement) for statement in ROWS] and None)
    with (
        contextlib.closing(Store(parse_url(url))) as upgraded,
        contextlib.closing(Store(parse_url(new_database("new")))) as fresh,
    ):
        assert {sql: asked(upgraded, sql) for sql in KEPT} == KEPT
        assert described(upgraded) == described(fresh)


@pytest.mark.parametrize("kind", DIGESTS)
def test_the_migrations_of_older_versions_are_unchanged(kind: str) -> None:
    dialect = dialect_of(Target(kind))
    assert len(dialect.migrations()) == schema.WRITTEN
    steps = [schema.step(dialect, number) for number in range(1, RELEASED + 1)]
    statements = [one for step in steps for one in step if isinstance(one, str)]
    assert hashlib.sha256("\n".join(statements).encode()).hexdigest() == DIGESTS[kind]


def test_the_columns_of_job_options_are_those_of_the_table_of_options(store: Store) -> None:
    kind = store.dialect.name
    strict = " STRICT" if kind == "sqlite" else ""
    columns = [f"{option.name} {option.kind.column}" for option in OPTION_TABLE]
    listed = store.dialect.column(", ".join(["job_id BIGINT NOT NULL PRIMARY KEY", *columns]))

    def described_columns(session: Session, table: str) -> list[str]:
        return sorted(map(repr, session.rows(COLUMNS[kind].format(table))))

    def compare(session: Session) -> tuple[list[str], list[str]]:
        session.execute(f"CREATE TABLE as_listed ({listed}){strict}")
        return described_columns(session, "job_options"), described_columns(session, "as_listed")

    found, expected = store.transact(compare)
    assert len(found) == len(OPTION_TABLE) + 1
    assert found == expected
