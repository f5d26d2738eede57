"""Invalid rows, which any program may write: shown with the reason, never run, and without effect on other jobs."""

from collections.abc import Callable, Iterator

import pytest

from jobd.clock import SECOND
from jobd.engine.changes import ChangeApplier
from jobd.job import PLAIN
from jobd.store import rows
from jobd.store import schedule_table as table
from jobd.store.reads import JobOverview, Reader
from jobd.store.store import Store
from jobd.store.url import parse_url
from jobd.view.state import error_of, reason, state_of, with_state

NOW = 1_800_000_000 * SECOND
INSERT = 'INSERT INTO job (name, "interval", runonce, retry_times, is_delete) VALUES '
OPTIONS = "INSERT INTO job_options (job_id, {}) SELECT id, {} FROM job WHERE name = 'bad'"
# what is written: (the statements, a word of the reason; None: the database is free to refuse it)
ROWS: dict[str, tuple[list[str], str]] = {
    "unparsable interval": ([f"{INSERT} ('bad', 'every now and then', 0, 0, 0)"], "every now and then"),
    "empty interval": ([f"{INSERT} ('bad', '', 0, 0, 0)"], "empty"),
    "no interval and not once": ([f"{INSERT} ('bad', NULL, 0, 0, 0)"], "interval"),
    "zero interval": ([f"{INSERT} ('bad', '0s', 0, 0, 0)"], "0s"),
    "long interval": ([f"{INSERT} ('bad', '{'1' * 255}', 0, 0, 0)"], ""),
    "unknown zone": ([f"{INSERT} ('bad', 'TZ=Mars/Base @daily', 0, 0, 0)"], "Mars/Base"),
    "never due": ([f"{INSERT} ('bad', '0 0 30 2 *', 0, 0, 0)"], ""),
    "negative retries": ([f"{INSERT} ('bad', '10s', 0, -1, 0)"], "retry_times is -1"),
    "runonce 7": ([f"{INSERT} ('bad', '10s', 7, 0, 0)"], "runonce is 7"),
    "is_delete 5": ([f"{INSERT} ('bad', '10s', 0, 0, 5)"], "is_delete is 5"),
    "blank before the name": ([f"{INSERT} (' bad', '10s', 0, 0, 0)"], "blank"),
    "line in the name": ([f"{INSERT} ('a\nb', '10s', 0, 0, 0)"], "name"),
    "escape in the name": ([f"{INSERT} ('\x1b[2J', '10s', 0, 0, 0)"], "name"),
    "dash before the name": ([f"{INSERT} ('-rf', '10s', 0, 0, 0)"], "-"),
    "empty name": ([f"{INSERT} ('', '10s', 0, 0, 0)"], "empty"),
    "decomposed name": ([f"{INSERT} ('e\u0301', '10s', 0, 0, 0)"], "NFC"),
    "args that are no JSON": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("args", "'{'")], "args"),
    "args that are a list": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("args", "'[1]'")], "args"),
    "a command of numbers": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("command", "'[1]'")], "command"),
    "an empty command": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("command", "'[]'")], "command"),
    "a negative timeout": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("timeout", "-5")], "timeout"),
    "an endless back-off": (
        [f"{INSERT} ('bad', '10s', 0, 5, 0)", OPTIONS.format("backoff", str(2**63 - 1))],
        "backoff",
    ),
    "an end before all time": ([f"{INSERT} ('bad', '10s', 0, 5, 0)", OPTIONS.format("ends", str(-(2**60)))], "ends"),
    "days that are none": ([f"{INSERT} ('bad', '10s', 0, 5, 0)", OPTIONS.format("skip_dates", "'[\"x\"]'")], "'x'"),
    "odd catch_up": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("catch_up", "'often'")], "catch_up"),
    "odd isolation": ([f"{INSERT} ('bad', '10s', 0, 0, 0)", OPTIONS.format("isolation", "'total'")], "isolation"),
    "unknown option zone": ([f"{INSERT} ('bad', '@daily', 0, 0, 0)", OPTIONS.format("timezone", "'Mars'")], "Mars"),
}
SQLITE_ONLY: dict[str, tuple[list[str], str]] = {
    "a time that is none": (["INSERT INTO job (name, runonce, created_time) VALUES ('bad', 1, 'yesterday')"], ""),
    "a name that is no UTF-8": (["INSERT INTO job (name, \"interval\") VALUES (CAST(x'62ff' AS TEXT), '-1s')"], "-1s"),
    "an interval that is no UTF-8": (["INSERT INTO job (name, \"interval\") VALUES ('bad', CAST(x'ff' AS TEXT))"], ""),
    "a name in bytes": (["INSERT INTO job (name, runonce) VALUES (x'ff00', 1)"], "name"),
    "bytes in an option": (
        [
            "PRAGMA ignore_check_constraints = 1",
            f"{INSERT} ('bad', '10s', 0, 0, 0)",
            OPTIONS.format("args", "x'00ff'"),
            "PRAGMA ignore_check_constraints = 0",
        ],
        "args",
    ),
    "an interval in numbers": (["INSERT INTO job (name, \"interval\") VALUES ('bad', 10)"], ""),
}


@pytest.fixture
def overview(store: Store, database: str) -> Iterator[Callable[[], list[JobOverview]]]:
    """What `jobd list` reads."""
    reader = Reader(parse_url(database))
    yield lambda: [with_state(one, NOW, "UTC") for one in reader.jobs(deleted=True)]
    reader.close()


def look(store: Store) -> list[str]:
    """A node's look at the changes; whom it complains about."""
    found = store.transact(ChangeApplier(1, NOW, "UTC", PLAIN).apply)
    return [name for name, _ in found.errors]


@pytest.mark.parametrize("what", [*ROWS, *SQLITE_ONLY])
def test_an_invalid_row_is_reported_and_disturbs_no_other(
    store: Store, overview: Callable[[], list[JobOverview]], what: str
) -> None:
    if what in SQLITE_ONLY and store.dialect.name != "sqlite":
        pytest.skip("the column types of this database refuse it")
    statements, word = (ROWS | SQLITE_ONLY)[what]
    good = f"{INSERT} ('good', '10s', 0, 0, 0)"
    try:
        store.transact(lambda session: [session.execute(sql) for sql in [*statements, good]] and None)
    except Exception:
        assert store.dialect.name == "sqlite", "only SQLite's CHECKs may refuse what the column types admit"
        assert what in SQLITE_ONLY
        return

    (bad,) = (one for one in overview() if one.job.name != "good")
    (fine,) = (one for one in overview() if one.job.name == "good")
    assert state_of(fine) == "waiting"
    if not bad.job.deleted:
        assert state_of(bad) == "invalid"
        assert word in str(reason(bad, [], NOW))
    assert word in (error_of(bad) or "")

    assert len(look(store)) == 1
    assert look(store) == []  # reported once
    claimed = store.transact(lambda session: table.claim(session, 1, "default", NOW, 10))
    assert [one.job.name for one in claimed if one.job] == ["good"]
    assert [error_of(one) for one in overview() if one.job.name != "good"] == [error_of(bad)]


CHANGES = {
    "none": "SELECT 1",
    "arguments as JSON": "ALTER TABLE job_options MODIFY args JSON",
    "an interval in bytes": 'ALTER TABLE job MODIFY "interval" VARBINARY(255)',
    "a flag in bits": "ALTER TABLE job MODIFY is_delete BIT(1) NOT NULL DEFAULT 0",
    "an error in bytes": "ALTER TABLE schedule MODIFY error BLOB",
    "names of other characters": "ALTER TABLE job CONVERT TO CHARACTER SET ucs2",
    "names of other characters that are no UTF-8": "ALTER TABLE job CONVERT TO CHARACTER SET utf16",
}


ODD_NAME = "UPDATE job SET name = 'ジョブ', \"interval\" = NULL, runonce = 1"


def both_ways(store: Store) -> list[tuple[object, ...]]:
    """What a claim reads of all jobs, read at once, which must be what is read row by row."""
    sql = table._JOINED + "schedule.node_id = ?"
    at_once = store.transact(lambda session: session.dialect.all_rows(session, sql, (0,)))
    assert at_once == store.transact(lambda session: session.rows(sql, (0,)))
    return at_once


def add_job_with_arguments(store: Store, args: str) -> None:
    store.transact(lambda session: session.execute(f"{INSERT} ('bad', '10s', 0, 0, 0)") and None)
    store.transact(lambda session: session.execute(OPTIONS.format("args", "?"), (args,)) and None)
    store.transact(
        lambda session: session.execute("INSERT INTO schedule (job_id, error) SELECT id, 'x' FROM job") and None
    )


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_table_is_read_as_it_is(store: Store, change: str) -> None:
    if store.dialect.name != "mysql":
        pytest.skip("only there are rows converted to JSON column by column")
    add_job_with_arguments(store, '{"a": [1, {"b": "c"}]}')
    store.transact(lambda session: session.execute(CHANGES[change]) and None)
    if change.endswith("UTF-8"):
        store.transact(lambda session: session.execute(ODD_NAME) and None)
    assert len(both_ways(store)) == 1


def test_a_row_that_is_too_long_as_json_is_read(
    store: Store, database: str, open_store: Callable[[str], Store]
) -> None:
    if store.dialect.name != "mysql" or "MariaDB" not in str(store.transact(lambda s: s.rows("SELECT version()"))):
        pytest.skip("only there is the length of a text in JSON limited by a setting")
    add_job_with_arguments(store, "\x01" * 60_000)  # six times as long in JSON
    if "ALL PRIVILEGES ON *.*" not in str(store.transact(lambda s: s.rows("SHOW GRANTS"))):
        pytest.skip("this user may not set it")
    ((limit,),) = store.transact(lambda session: session.rows("SELECT @@GLOBAL.max_allowed_packet"))
    set_limit = "SET GLOBAL max_allowed_packet = {}"
    store.transact(lambda session: session.execute(set_limit.format(128 * 1024)) and None)
    try:
        assert len(both_ways(open_store(database))) == 1
    finally:
        store.transact(lambda session: session.execute(set_limit.format(limit)) and None)


def test_a_wrong_option_is_not_taken_for_the_right_one_that_was_read_before_it() -> None:
    def problem(timeout: object) -> str | None:
        options = dict.fromkeys(rows.OPTIONS) | {"timeout": timeout, "priority": 0, "paused": 0}
        return rows.read_job((1, "a", 0, 0, "10s", "2026-01-01", "2026-01-01", None, 0, *options.values()))[1]

    assert problem(1) is None
    assert "timeout is 1.0" in str(problem(1.0))
    assert "timeout is True" in str(problem(True))
    assert problem(1) is None
