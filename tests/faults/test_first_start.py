"""The first start on servers with usual settings works, or one line says what to do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests import servers
from tests.installation import Installation, until

WITH_BINARY_LOG = ["--log-bin=binary", "--server-id=1"]


@pytest.fixture(scope="module")
def replicated(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    """A private server of a kind, with a binary log."""
    with servers.running(request.param, WITH_BINARY_LOG) as server:
        yield server


@pytest.fixture
def make_installation(tmp_path: Path) -> Iterator[Callable[[str], Installation]]:
    installations: list[Installation] = []

    def make(url: str) -> Installation:
        installations.append(Installation(tmp_path / "home", url))
        return installations[-1]

    yield make
    for installation in installations:
        installation.close()


def works(installation: Installation) -> None:
    installation.fine("add", "hello", "--once")
    installation.foreground()
    assert installation.ended("hello")[0]["outcome"] == "succeeded"


def refused(installation: Installation, advice: str) -> None:
    for words in (("add", "hello", "--once"), ("start", "--foreground")):
        answer = installation.jobd(*words)
        line = answer.stderr.strip().splitlines()[-1]
        assert answer.returncode in (4, 78), answer
        assert line.startswith("jobd: error: "), answer
        assert advice in line, line
        assert "Traceback" not in answer.stderr + answer.stdout


def for_one_database(server: servers.Server, rights: str = "ALL") -> str:
    """The URL of a new database and a new user, who has these rights to it and no others."""
    url = server.new_database()
    name = url.rpartition("/")[2]
    server.sql(f"CREATE USER one_{name}@'127.0.0.1'; GRANT {rights} ON {name}.* TO one_{name}@'127.0.0.1'")
    return f"mariadb://one_{name}@127.0.0.1:{server.port}/{name}"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        # as with managed servers and groups of servers
        ("mysql", ["--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--sql-require-primary-key=ON"]),
        ("mariadb", ["--innodb-force-primary-key=ON"]),
    ],
)
def test_a_server_that_wants_a_key_in_each_table(
    make_installation: Callable[[str], Installation], kind: str, settings: list[str]
) -> None:
    with servers.running(kind, settings) as server:
        works(make_installation(server.new_database()))


def test_a_database_that_publishes_all_its_tables(
    make_installation: Callable[[str], Installation], postgresql: servers.Server
) -> None:
    url = postgresql.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    works(make_installation(url))


@pytest.mark.parametrize("replicated", ["mariadb", "mariadb118"], indirect=True)
def test_triggers_need_a_word_of_the_administrator_once_where_a_binary_log_is_kept(
    make_installation: Callable[[str], Installation], replicated: servers.Server
) -> None:
    installation = make_installation(for_one_database(replicated))
    refused(installation, "as an administrator: SET GLOBAL log_bin_trust_function_creators = 1")
    replicated.sql("SET GLOBAL log_bin_trust_function_creators = 1")
    installation.fine("add", "hello", "--once")
    replicated.sql("SET GLOBAL log_bin_trust_function_creators = 0")
    installation.foreground()
    assert installation.ended("hello")[0]["outcome"] == "succeeded"


@pytest.mark.parametrize("replicated", ["mariadb", "mysql"], indirect=True)
def test_a_statement_based_binary_log_is_refused(
    make_installation: Callable[[str], Installation], replicated: servers.Server
) -> None:
    replicated.sql("SET GLOBAL binlog_format = 'STATEMENT'")
    try:
        refused(make_installation(replicated.new_database()), "SET GLOBAL binlog_format = 'ROW'")
    finally:
        replicated.sql("SET GLOBAL binlog_format = 'ROW'")


def test_no_outcome_is_lost_while_the_binary_log_holds_statements(
    make_installation: Callable[[str], Installation],
) -> None:
    with servers.running("mariadb", [*WITH_BINARY_LOG, "--log-bin-trust-function-creators=1"]) as server:
        installation = make_installation(server.new_database())
        installation.foreground()
        installation.fine("add", "hello", "--every", "100ms")
        installation.ended("hello", 3)
        server.kill()
        server.command.append("--binlog-format=STATEMENT")
        server.start()
        until(lambda: "SET GLOBAL binlog_format" in installation.log(), "the reason in the log")
        server.sql("SET GLOBAL binlog_format = 'ROW'")
        until(lambda: installation.status()["database"] == "ok", "the recovery")
        runs = installation.ended("hello", len(installation.history("hello")) + 3)
    assert [run["run"] for run in reversed(runs)] == list(range(1, len(runs) + 1))
    assert {run["outcome"] for run in runs} == {"succeeded"}


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
@pytest.mark.parametrize("rights", ["SELECT, INSERT, UPDATE, DELETE", "CREATE, SELECT, INSERT, UPDATE, DELETE"])
def test_a_user_without_all_rights_gets_advice(
    make_installation: Callable[[str], Installation], request: pytest.FixtureRequest, kind: str, rights: str
) -> None:
    url = for_one_database(request.getfixturevalue(kind), rights)
    refused(make_installation(url), f"GRANT ALL ON {url.rpartition('/')[2]}.* TO")


def test_a_password_that_is_only_sent_over_tls(make_installation: Callable[[str], Installation]) -> None:
    with servers.running("mysql", ["--tls-version="]) as server:  # and there is no package `cryptography` here
        refused(
            make_installation(server.new_database()), "install that package beside jobd, or have the server offer TLS"
        )


def test_a_user_who_may_connect_but_make_no_table(
    make_installation: Callable[[str], Installation], postgresql: servers.Server
) -> None:
    url = postgresql.new_database()
    name = url.rpartition("/")[2]
    postgresql.sql(f"CREATE USER one_{name}")
    postgresql.sql(f"GRANT ALL ON DATABASE {name} TO one_{name}")  # which, since version 15, lets nobody make a table
    refused(make_installation(url.replace("postgres@", f"one_{name}@")), f"ALTER DATABASE {name} OWNER TO …")
