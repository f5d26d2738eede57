"""A daemon survives lost sessions and revoked rights, on real servers."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pymysql
import pytest

from jobd.store.url import parse_url
from tests import servers
from tests.chaos.proxy import Proxy
from tests.faults.helpers import noted, notes
from tests.installation import Installation, until

REPORTED_WITHIN = 3  # seconds; a poll and a connection, on a busy machine
BACK_WITHIN = 9  # seconds; the longest back-off is 5
AWAY_FOR = 3.5
MOST_TRIES = 9  # in that time: 50 ms, then twice as long each time, and what the commands ask
END = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'",
    "mariadb": "KILL USER {user}",
}
# What is done, and how it is undone.
DOORS = {
    "postgresql": {
        "read-only": (
            "ALTER DATABASE {db} SET default_transaction_read_only = on",
            "ALTER DATABASE {db} RESET default_transaction_read_only",
        ),
        "no rights": (
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {user}",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}",
        ),
        "no right to claim": ("REVOKE UPDATE ON schedule FROM {user}", "GRANT UPDATE ON schedule TO {user}"),
        "no way in": ("ALTER ROLE {user} NOLOGIN", "ALTER ROLE {user} LOGIN"),
        "tables out of sight": ("ALTER ROLE {user} SET search_path = nowhere", "ALTER ROLE {user} RESET search_path"),
        "no heartbeat": ("REVOKE UPDATE ON node FROM {user}", "GRANT UPDATE ON node TO {user}"),
        "no table": ("ALTER TABLE run RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO run"),
    },
    "mariadb": {
        "read-only": ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"),
        "no rights to write": (
            "REVOKE INSERT, UPDATE, DELETE ON {db}.* FROM {user}",
            "GRANT INSERT, UPDATE, DELETE ON {db}.* TO {user}",
        ),
        "no rights": ("REVOKE ALL ON {db}.* FROM {user}", "GRANT ALL ON {db}.* TO {user}"),
        "another password": ("ALTER USER {user} IDENTIFIED BY 'other'", "ALTER USER {user} IDENTIFIED BY 'secret'"),
        "locked out": ("ALTER USER {user} ACCOUNT LOCK", "ALTER USER {user} ACCOUNT UNLOCK"),
    },
}
ENOUGH_TO_ADD = ("no heartbeat",)
# Through these a turn that has nothing to write goes well, so that a daemon takes the database for back.
HALF_OPEN = ("read-only", "no right to claim", "no heartbeat", "no table", "no rights to write")


class Administrator:
    """Who rules a server, and has given jobd an ordinary user on one database."""

    def __init__(self, kind: str, url: str, number: int) -> None:
        self.kind = kind
        self._url = url
        self.database = parse_url(url).database
        self.user = f"user_{self.database}_{number}"
        if kind == "postgresql":
            self.does(f"CREATE ROLE {self.user} LOGIN", f"GRANT CREATE ON SCHEMA public TO {self.user}")
            self.url = url.replace("postgres@", f"{self.user}@")
        else:
            self.does(
                f"CREATE USER {self.user} IDENTIFIED BY 'secret'", f"GRANT ALL ON {self.database}.* TO {self.user}"
            )
            self.url = url.replace("root@", f"{self.user}:secret@")

    def does(self, *statements: str) -> list[Any]:
        """Run statements in the database; the rows of the last."""
        given = parse_url(self._url)
        with self._connected(given) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.format(db=self.database, user=self.user))
            return list(cursor.fetchall()) if cursor.description else []

    def connections(self) -> int:
        """How many sessions the server has had, as far as it counts."""
        if self.kind == "mariadb":
            return int(self.does("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])
        counted = "SELECT sessions FROM pg_stat_database WHERE datname = '{db}'"
        return int(self.does("SELECT pg_stat_force_next_flush()", counted)[0][0])

    @contextmanager
    def _connected(self, given: Any) -> Iterator[Any]:
        if self.kind == "postgresql":
            writing = "-c default_transaction_read_only=off"
            with psycopg.connect(self._url, autocommit=True, options=writing) as connection:
                yield connection
        else:
            where = {"host": given.host, "port": given.port, "user": given.user, "database": given.database}
            with pymysql.connect(**where, autocommit=True) as connection:
                yield connection


@pytest.fixture
def administrator(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Administrator]]:
    made: list[Administrator] = []

    def make(kind: str) -> Administrator:
        made.append(Administrator(kind, request.getfixturevalue(kind).new_database(), len(made)))
        return made[-1]

    yield make
    for one in made:
        if one.kind == "mariadb":
            one.does("SET GLOBAL read_only = 0")


def logged_lines(installation: Installation) -> list[str]:
    return re.findall(r"retrying until it is back", installation.log())


@pytest.mark.parametrize(("kind", "door"), [(kind, door) for kind, doors in DOORS.items() for door in doors])
def test_revoked_rights_are_reported_at_once_and_all_goes_on_when_they_return(
    kind: str,
    door: str,
    administrator: Callable[[str], Administrator],
    make_installation: Callable[..., Installation],
) -> None:
    admin = administrator(kind)
    shut, opened = DOORS[kind][door]
    installation = make_installation(admin.url, more='poll = "200ms"\nlease = "30s"\n')
    daemon = installation.foreground()
    installation.fine("add", "quick", "--every", "200ms")
    noted(installation, "ran", 3)
    admin.does(shut, END[kind])
    began = time.monotonic()
    until(lambda: logged_lines(installation), "the line in the log")
    assert time.monotonic() - began < REPORTED_WITHIN
    until(lambda: door not in HALF_OPEN or installation.status()["database"] != "ok", "the status")
    assert door in HALF_OPEN or installation.status()["database"] != "ok"
    before = admin.connections()
    time.sleep(AWAY_FOR)
    tries = admin.connections() - before
    refused = installation.jobd("add", "late", "--task", "quick", "--once")
    if door in ENOUGH_TO_ADD:
        assert refused.returncode == 0
        assert "it is stored, but the daemon on this machine cannot use its database yet" in refused.stderr
        assert "cannot use its database" in installation.fine("show", "late")
    else:
        assert refused.returncode in (4, 78), refused
        assert "nothing was changed" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert len(logged_lines(installation)) <= 2, installation.log()
    assert tries <= MOST_TRIES
    until(lambda: door not in HALF_OPEN or installation.status()["database"] != "ok", "the status")
    assert door in HALF_OPEN or installation.status()["database"] != "ok"
    back = installation.log().count("the database is back")
    assert back <= (door in HALF_OPEN)
    count = len(notes(installation))
    admin.does(opened)
    began = time.monotonic()
    until(lambda: len(notes(installation)) > count and installation.status()["database"] == "ok", "runs")
    assert time.monotonic() - began < BACK_WITHIN
    assert daemon.poll() is None
    assert installation.log().count("the database is back") == back + 1
    installation.ended("quick", 5)
    recorded = Counter(run["run"] for run in installation.history("quick"))
    done = Counter(int(run) for _, job, run, _ in map(str.split, notes(installation)) if job == "quick")
    assert set(done.values()) == set(recorded.values()) == {1}
    assert "Traceback" not in installation.log()


def freeze_between_transactions(daemon: int, url: str) -> None:
    """Stop the daemon where it keeps a session and has begun nothing in it."""
    busy = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'jobd' AND state <> 'idle'"
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            os.kill(daemon, signal.SIGSTOP)
            time.sleep(0.1)
            if not connection.execute(busy).fetchall():
                return
            os.kill(daemon, signal.SIGCONT)
            time.sleep(0.03)


def fail_over(how: str, primary: servers.Server, standby: servers.Standby, proxy: Proxy, daemon: int, url: str) -> None:
    """Have the standby take the primary's place."""
    if how == "the primary dies":
        primary.kill()
        proxy.lead_to(standby.port)  # for a while it takes sessions, but no writes
        time.sleep(1)
        standby.promote()
        return
    freeze_between_transactions(daemon, url)
    primary.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    primary.sql("SELECT pg_reload_conf()")
    time.sleep(0.5)  # for the standby to have all
    standby.promote()
    proxy.lead_to(standby.port)
    os.kill(daemon, signal.SIGCONT)


@pytest.mark.parametrize("how", ["the primary dies", "the former primary goes on, read-only"])
def test_a_daemon_follows_a_fail_over_by_itself(make_installation: Callable[..., Installation], how: str) -> None:
    with servers.running("postgresql") as primary, servers.following(primary) as standby:
        proxy = Proxy(primary.port)
        url = primary.new_database()
        installation = make_installation(
            url.replace(f":{primary.port}/", f":{proxy.port}/"), more='poll = "200ms"\nlease = "30s"\n'
        )
        daemon = installation.foreground()
        installation.fine("add", "quick", "--every", "200ms")
        noted(installation, "ran", 3)
        installation.fine("add", "gated", "--once")
        noted(installation, "began")
        fail_over(how, primary, standby, proxy, daemon.pid, url)
        began = time.monotonic()
        installation.fine("add", "late", "--task", "quick", "--once")
        (installation.folder / "open").touch()
        assert installation.ended("late")[0]["outcome"] == "succeeded"
        assert time.monotonic() - began < BACK_WITHIN
        assert [run["outcome"] for run in installation.ended("gated")] == ["succeeded"]
        assert installation.status()["database"] == "ok"
        installation.fine("stop")
        recorded = Counter((run["job"], run["run"]) for run in installation.history("quick"))
        done = Counter((job, int(run)) for what, job, run, _ in map(str.split, notes(installation)) if job == "quick")
        assert done == recorded
        assert set(done.values()) == {1}
        proxy.close()


def test_daemons_behind_a_pooler_share_the_work(
    make_installation: Callable[..., Installation], pgbouncer: servers.Server
) -> None:
    url = pgbouncer.new_database()
    installations = [make_installation(url, 'poll = "100ms"\nlease = "30s"\n', workers=2) for _ in range(2)]
    for installation in installations:
        installation.foreground()
    jobs = "".join(f'[job.job{number}]\ntask = "quick"\ninterval = "200ms"\n' for number in range(20))
    (installations[0].folder / "jobs.toml").write_text(jobs)
    installations[0].fine("apply", "jobs.toml", "--yes")
    until(lambda: len(notes(*installations)) > 100, "100 runs")
    database = parse_url(url).database
    pgbouncer.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    until(lambda: len(notes(*installations)) > 250, "more runs")
    for installation in installations:
        installation.fine("stop")
        assert "prepared statement" not in installation.log()
        assert "a bug in jobd" not in installation.log()
    recorded = Counter((run["job"], run["run"]) for run in installations[0].fine("history", "--json"))
    done = Counter((job, int(run)) for _, job, run, _ in map(str.split, notes(*installations)))
    assert done == recorded
    assert set(done.values()) == {1}


def test_a_new_password_takes_a_reload_and_no_restart(
    administrator: Callable[[str], Administrator], make_installation: Callable[..., Installation]
) -> None:
    admin = administrator("mariadb")
    installation = make_installation(
        admin.url.replace(":secret@", "@"), more='poll = "200ms"\nlease = "30s"\npassword_file = "password"\n'
    )
    password = installation.folder / "password"
    password.touch(0o600)
    password.write_text("secret")
    installation.foreground()
    installation.fine("add", "quick", "--every", "200ms")
    noted(installation, "ran", 3)
    admin.does("ALTER USER {user} IDENTIFIED BY 'another'", END["mariadb"])
    began = time.monotonic()  # the broken connection may be logged before
    until(lambda: "check the user and the password" in installation.log(), "the reason in the log")
    assert time.monotonic() - began < REPORTED_WITHIN
    password.write_text("another")
    installation.fine("reload")
    count = len(notes(installation))
    until(lambda: len(notes(installation)) > count + 3, "runs")
    assert installation.status()["database"] == "ok"
    assert "another" not in installation.log()


def test_a_right_that_only_pruning_needs_delays_no_job(
    administrator: Callable[[str], Administrator], make_installation: Callable[..., Installation]
) -> None:
    admin = administrator("postgresql")
    installation = make_installation(admin.url)
    installation.configure("[history]\nkeep_per_job = 3\n", more='poll = "200ms"\nlease = "30s"\n')
    installation.foreground()
    admin.does("REVOKE DELETE ON run, output FROM {user}")
    installation.fine("add", "quick", "--every", "100ms")
    until(lambda: "permission denied" in installation.log(), "the line in the log")
    count, began = len(notes(installation)), time.monotonic()
    until(lambda: len(notes(installation)) > count + 20, "runs")
    assert time.monotonic() - began < 4
    assert len(logged_lines(installation)) == 1
