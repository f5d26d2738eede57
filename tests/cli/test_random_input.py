"""Random commands, configurations and rows cause only errors of jobd's own and affect no other job."""

import contextlib
import io
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobd.__main__ import run
from jobd.cli import finish, jobs
from jobd.clock import SECOND
from jobd.config import load
from jobd.definition import with_defaults
from jobd.engine.changes import ChangeApplier
from jobd.errors import ConfigError
from jobd.job import PLAIN, Job
from jobd.lifecycle import after_claim
from jobd.settings import Settings
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store
from jobd.store.url import parse_url
from tests.engine.harness import START, NodeHarness

SEED = settings(
    derandomize=True,
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CODES = (0, 1, 2, 4, 78)
NOW = 1_800_000_000 * SECOND
CONTROL = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"}


def typed(*words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, in this process. Anything but one of jobd's errors comes out."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = finish(lambda: run(list(words)))
    return code, out.getvalue(), err.getvalue()


def clean(code: int, out: str, err: str) -> None:
    """What holds of every answer."""
    assert code in CODES, (code, err)
    assert not CONTROL & set(out + err), (out, err)
    assert (code == 0) or err.startswith("jobd: error: "), (code, err)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a jobd.toml that is the current one; what jobd takes for a bug of its own is raised."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBD_DEBUG", "1")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(jobs, "check_task", lambda context, job: None)  # it starts a process
    (tmp_path / "plugins").mkdir()
    (tmp_path / "jobd.toml").write_text('database = "sqlite:///jobd.db"\ntimezone = "Europe/Berlin"\n')
    return tmp_path


# (a) the command line

TEXT = st.text(max_size=20) | st.binary(max_size=12).map(os.fsdecode)
OPTIONS = [
    "--task", "--every", "--after", "--cron", "--calendar", "--at", "--in", "--after-job", "--interval", "--start",
    "--end", "--jitter", "--skip-dates", "--instead", "--tz", "--retry", "--backoff", "--backoff-max", "--timeout",
    "--arg", "--secret-arg", "--pool", "--priority", "--catch-up", "--grace", "--on-lost", "--isolation", "--no-arg",
    "--from", "-n", "--outcome",
]  # fmt: skip
SCHEDULES = st.sampled_from(
    ["10s", "1h30m", "PT10S", "*/5 * * * *", "@daily", "at 2030-01-01T00:00", "tomorrow 09:00", "weekday at 18:30",
     "Mon..Fri *-*-* 09:00", "TZ=Europe/Berlin 30 2 * * *", "last friday of the month", "default", "none", "once",
     "n=1", "n=[1,2]", 'n={"a":1}', "hello", "hello:finished", "99999999999999999999", "-1", "٣", "2026-02-30"]
)  # fmt: skip
MANGLED = st.tuples(SCHEDULES, st.integers(0, 30), TEXT, st.integers(0, 3)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + parts[3] :]
)
VALUE = TEXT | SCHEDULES | MANGLED
WORD = st.sampled_from(OPTIONS) | st.sampled_from(["--once", "--force", "--paused", "--json", "--", "--if-not-exists"])
ARGV = st.tuples(
    st.sampled_from(["add", "set", "rm", "next", "history", "show", "list", "restore", "pause", "resume", "logs"]),
    st.lists(st.tuples(WORD, VALUE).map(list) | VALUE.map(lambda value: [value]), max_size=5),
).map(lambda parts: [parts[0], *(word for some in parts[1] for word in some)])


def quiet(argv: list[str]) -> bool:
    """Whether it is harmless to try: it asks for no file that could be a device, and follows nothing for ever."""
    return not {"-f", "--follow", "-h", "--help"} & set(argv)


@pytest.fixture
def shop(folder: Path) -> bytes:
    """A database with a job that no random word names."""
    assert typed("add", "untouchable job", "--task", "hello", "--every", "1h")[0] == 0
    with contextlib.closing(sqlite3.connect(folder / "jobd.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return (folder / "jobd.db").read_bytes()


def definition(folder: Path, name: str) -> list[Any]:
    """All that is stored of a job."""
    with contextlib.closing(sqlite3.connect(folder / "jobd.db")) as connection:
        sql = "SELECT * FROM job LEFT JOIN job_options ON job_id = id LEFT JOIN schedule USING (job_id) WHERE name = ?"
        return connection.execute(sql, (name,)).fetchall()


@SEED
@given(argv=ARGV.filter(quiet))
@example(argv=["history", "-n", "99999999999999999999"])
@example(argv=["logs", "untouchable job", "--run", "99999999999999999999"])
@example(argv=["add", "x", "--every", "10s", "--every", "20s"])
def test_any_typed_command_is_done_or_refused_in_clear_words(folder: Path, shop: bytes, argv: list[str]) -> None:
    before = definition(folder, "untouchable job")
    clean(*typed(*argv))
    assert definition(folder, "untouchable job") == before
    code, out, _ = typed("list", "--all", "--json")
    assert code == 0
    for job in json.loads(out):
        assert job.get("error") is None, "what was accepted makes sense"
        assert typed("show", job["name"])[0] == 0


# (b) jobd.toml

KEY = st.sampled_from(
    ["database", "password_file", "plugins", "workers", "timezone", "poll", "lease", "log", "log.level", "log.rotation",
     "history.keep", "history.output", "pool.a.workers", "calendar.a.dates", "defaults.timeout", '"a\\nb"', "x", "''"]
)  # fmt: skip
LITERAL = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False).map(repr),
    st.text(max_size=10).map(json.dumps),
    st.sampled_from(["true", "inf", "nan", "2026-02-30", "07:32:00", "[]", "{}", "[[]]", "{a = 1}", "'''\n'''"]),
    st.sampled_from(['"1h"', '"10MiB"', '"Europe/Berlin"', '["12-25"]', '"sqlite:///x.db"', '"mysql://u:p@h/d"', "3"]),
)
LINE = st.one_of(
    st.tuples(KEY, LITERAL).map(" = ".join),
    st.tuples(st.sampled_from(["[{}]", "[[{}]]", "[{}.b]"]), KEY).map(lambda pair: pair[0].format(pair[1])),
    st.text(max_size=15),
)
FILE = st.lists(LINE, max_size=6).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))


@SEED
@given(data=FILE | st.binary(max_size=60))
@example(data=b"\xef\xbb\xbfworkers = 2\r\n")
@example(data=b"x = " + b"[" * 3_000)
@example(data=b"x = " + b"9" * 5_000)
@example(data=b"a." * 3_000 + b"a = 1")
@example(data=b"x = [\n" + b" " * 20_000 + b"]")
def test_any_configuration_is_read_or_refused(folder: Path, data: bytes) -> None:
    (folder / "jobd.toml").write_bytes(data)
    try:
        assert isinstance(load(None, {}), Settings)
    except ConfigError as error:
        assert "jobd.toml" in str(error)  # noqa: PT017 - only if it is raised
    if b"sql" not in data:
        clean(*typed("list"))


# (c) the tables

COLUMNS = {
    "job": ["name", "retry_times", "runonce", "interval", "created_time", "updated_time", "lastFinished_time",
            "is_delete"],
    "job_options": ["task", "command", "args", "secrets", "timezone", "timeout", "backoff", "backoff_max", "catch_up",
                    "grace", "pool", "jitter", "starts", "ends", "skip_dates", "instead", "after_jobs", "priority",
                    "on_lost", "isolation", "paused"],
    "schedule": ["due_time", "ready_time", "attempt", "losses", "number", "anchor", "resume_time", "manual", "pool",
                 "missed", "basis", "error", "guarded", "node_id", "token", "started_time"],
}  # fmt: skip
PLACE = st.sampled_from([(name, column) for name, columns in COLUMNS.items() for column in columns])
STORED = st.one_of(
    st.none(),
    st.sampled_from([-1, 0, 1, 2, 2**31, 2**62, 2**63 - 1, -(2**63), NOW, NOW - 5 * SECOND, NOW + 5 * SECOND]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.binary(max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["", "{}", "[]", "[1]", '["x"]', '{"a": {}}', "[" * 2_000, "1" * 5_000, "tomorrow", "NaN",
                     "\x1b[2J",
                     "0001-01-01T00:00:00+14:00", "9999-12-31 23:59:59", "2026-01-01", "10s", "@reboot", "0 0 30 2 *",
                     "TZ=Mars/Base @daily", "after 10s", '["good"]', '["bad"]', '["12-25"]']),
)  # fmt: skip
CHANGES = st.lists(st.tuples(PLACE, STORED), min_size=1, max_size=3)


@pytest.fixture
def base(folder: Path) -> Path:
    """A database with two jobs, `good` and `bad`, that have run twice; a copy is spoilt in each example."""
    harness = NodeHarness(folder, poll=SECOND)
    harness.add(Job("good", "10s"), Job("bad", "10s", retry_times=2, options=PLAIN._replace(timeout=SECOND)))
    harness.pass_time(15 * SECOND)
    harness.stop()
    harness.store.close()
    with contextlib.closing(sqlite3.connect(folder / "jobd.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(shutil.copy(folder / "jobd.db", folder / "base.db"))


def spoil(folder: Path, changes: list[tuple[tuple[str, str], object]]) -> None:
    """Put `changes` into the rows of the job `bad`, as far as the database takes them."""
    for leftover in folder.glob("jobd.db*"):
        leftover.unlink()
    shutil.copy(folder / "base.db", folder / "jobd.db")
    with contextlib.closing(sqlite3.connect(folder / "jobd.db")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        for (name, column), value in changes:
            with contextlib.suppress(sqlite3.IntegrityError):
                key = "id" if name == "job" else "job_id"
                connection.execute(f'UPDATE {name} SET "{column}" = ? WHERE {key} = 2', (value,))
        connection.commit()


SPOILT = [
    example(changes=[(("job", "retry_times"), float("inf"))]),
    example(changes=[(("job_options", "timeout"), "soon")]),
    example(changes=[(("job", "name"), b"\x00")]),
    example(changes=[(("job_options", "task"), b"\xff\x00")]),
    example(changes=[(("job_options", "jitter"), 1.5)]),
    example(changes=[(("schedule", "due_time"), "tomorrow")]),
    example(changes=[(("schedule", "due_time"), None), (("schedule", "started_time"), 5)]),
    example(changes=[(("schedule", "number"), 1)]),
    example(changes=[(("schedule", "number"), 2**63 - 1)]),
    example(changes=[(("schedule", "node_id"), 999)]),
    example(changes=[(("job", "created_time"), "0001-01-01T00:00:00+14:00")]),
    example(changes=[(("job", "lastFinished_time"), "9999-12-31 23:59:59")]),
]


def spoilt(test: Any) -> Any:
    """The same examples for both tests of rows: what once was a bug, and random values."""
    for one in SPOILT:
        test = one(test)
    return SEED(given(changes=CHANGES)(test))


@spoilt
def test_any_row_is_shown_and_hides_no_other_job(folder: Path, base: Path, changes: list[Any]) -> None:
    spoil(folder, changes)
    for words in (
        ["list"],
        ["list", "--all"],
        ["next"],
        ["export"],
        ["history"],
        ["show", "bad"],
        ["show", "bad", "--json"],
    ):
        code, out, err = typed(*words)
        clean(code, out, err)
        assert code == 0 or words[0] == "show", err
    code, out, _ = typed("list", "--all", "--json")
    (good,) = (job for job in json.loads(out) if job["name"] == "good")
    assert (good["state"], good.get("error")) == ("waiting", None)


@spoilt
def test_any_row_can_be_planned_and_claimed_with_the_others(folder: Path, base: Path, changes: list[Any]) -> None:
    spoil(folder, changes)
    later = START + 60 * SECOND

    def step(session: Session) -> list[str]:
        ChangeApplier(1, later, "UTC", PLAIN).apply(session)
        claimed = table.claim(session, 1, "default", later, 10)
        for one in claimed:
            if one.job is not None and one.problem is None:
                after_claim(with_defaults(one.job, PLAIN), one.state, later, "UTC")
        return [one.job.name for one in claimed if one.job is not None]

    store = Store(parse_url(f"sqlite:///{folder}/jobd.db"))
    try:
        assert "good" in store.transact(step)
    finally:
        store.close()


@spoilt
def test_a_daemon_survives_any_row(folder: Path, base: Path, changes: list[Any]) -> None:
    spoil(folder, changes)
    harness = NodeHarness(folder, poll=SECOND)
    try:
        harness.clock.ahead += 20 * SECOND
        harness.pass_time(30 * SECOND)
        assert [ran.job for ran in harness.ran].count("good") >= 3
    finally:
        harness.stop()
        harness.store.close()
