"""The contract of the store holds on every database, also on servers with odd settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.store.mysql import dialect as mysql
from jobd.store.postgresql.dialect import Postgresql
from jobd.store.sqlite import dialect as sqlite
from tests import servers


@pytest.fixture(scope="session", name="odd-mariadb")
def odd_mariadb() -> Iterator[servers.Server]:
    """A private MariaDB that is not set up as jobd would."""
    with servers.running("mariadb", servers.ODD_SETTINGS["mariadb"]) as server:
        yield server


@pytest.fixture(scope="session", name="odd-postgresql")
def odd_postgresql() -> Iterator[servers.Server]:
    """A private PostgreSQL that is not set up as jobd would."""
    with servers.running("postgresql", servers.ODD_SETTINGS["postgresql"]) as server:
        yield server


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[servers.Elsewhere]:
    """The MySQL that JOBD_TEST_MYSQL_URL names."""
    assert servers.MYSQL is not None
    server = servers.Elsewhere(servers.MYSQL)
    yield server
    server.close()


ELSEWHERE = ["elsewhere"] if servers.MYSQL else []


@pytest.fixture(
    params=[*servers.KINDS, "odd-mariadb", "odd-postgresql", "pgbouncer", *servers.CACHED_KINDS, *ELSEWHERE]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return servers.sqlite_url(tmp_path)
    server: servers.Server | servers.Elsewhere = request.getfixturevalue(request.param)
    return server.new_database()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the disk takes: a transaction may stand still, and SQLite's lock is waited for."""
    begin = Postgresql.begin.replace("session_timeout = '4s'", "session_timeout = '60s'")
    assert begin != Postgresql.begin
    monkeypatch.setattr(Postgresql, "begin", begin)
    monkeypatch.setattr(mysql, "IDLE", 60)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 60.0)
