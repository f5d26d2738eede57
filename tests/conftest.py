"""Fixtures of all tests: a fresh database of each kind, on real servers that live as long as the session."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg  # noqa: F401 - jobd lets peewee see only the driver it needs; the tests need all of them in one process
import pymysql  # noqa: F401
import pytest
from hypothesis import HealthCheck, settings

from jobd.store.store import Store
from jobd.store.url import parse_url
from tests import servers
from tests.installation import Installation

# A shell ignores SIGINT in its background processes, and every process started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# No test states how long an example takes, and a busy machine stops a process for some tenths of a second.
# In CI the examples are the same each time, as Hypothesis has it by itself where it knows that it is CI: there a change
# is judged. `make test` goes on searching.
settings.register_profile(
    "jobd",
    deadline=None,
    derandomize=os.environ.get("JOBD_TEST_REQUIRE") == "all",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("jobd")


SERVERS = {
    *("mariadb", "mysql", "postgresql", "pgbouncer", "mariadb118", "postgresql18"),
    *("odd-mariadb", "odd-postgresql", "elsewhere"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a database server, by their fixtures and parameters."""
    for item in items:
        given = set(getattr(item, "fixturenames", ()))
        if callspec := getattr(item, "callspec", None):
            given |= {value for value in callspec.params.values() if isinstance(value, str)}
        if given & SERVERS:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.Server]:
    """A private MariaDB."""
    with servers.running("mariadb") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.Server]:
    """A private PostgreSQL."""
    with servers.running("postgresql") as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgresql: servers.Server) -> Iterator[servers.Server]:
    """A private pgbouncer before the PostgreSQL, in transaction mode."""
    with servers.pooled(postgresql) as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[servers.Server]:
    """A private MySQL 9."""
    with servers.running("mysql") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb118() -> Iterator[servers.Server]:
    """A private MariaDB 11.8."""
    with servers.running("mariadb118") as server:
        yield server


@pytest.fixture(scope="session")
def postgresql18() -> Iterator[servers.Server]:
    """A private PostgreSQL 18."""
    with servers.running("postgresql18") as server:
        yield server


@pytest.fixture(params=servers.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; a test that takes it runs once on each kind."""
    if request.param == "sqlite":
        return servers.sqlite_url(tmp_path)
    server: servers.Server = request.getfixturevalue(request.param)
    return server.new_database()


@pytest.fixture
def open_store() -> Iterator[Callable[[str], Store]]:
    """Opens stores that are closed at the end."""
    opened = []

    def open_one(url: str) -> Store:
        store = Store(parse_url(url))
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(database: str, open_store: Callable[[str], Store]) -> Store:
    """An open store on an empty database of each kind."""
    return open_store(database)


@pytest.fixture(autouse=True)
def no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the configuration of the person who runs the tests from the environment."""
    for name in list(os.environ):
        if name.startswith("JOBD_") and not name.startswith("JOBD_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A folder with a configuration, in which daemons can be started."""
    installation = Installation(tmp_path / "home")
    yield installation
    installation.close()
