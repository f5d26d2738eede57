"""A database stops answering at some moment: each call ends by its deadline with a clear result."""

import time
from collections.abc import Callable, Iterator

import pytest

from jobd.errors import DatabaseUnavailable, OutcomeUnknown
from jobd.store.mysql import dialect as mysql
from jobd.store.postgresql import connection as pgconnection
from jobd.store.postgresql import dialect as postgresql
from jobd.store.reads import Reader
from jobd.store.store import RETRY_TIMEOUT, Session, Store
from jobd.store.url import parse_url
from tests import servers
from tests.chaos.proxy import Proxy
from tests.installation import until

DEADLINE = 2  # seconds, in these tests; the least that libpq takes for a connection
SILENCES = ("mute", "held")  # what the server answers is swallowed; nothing gets through in either direction


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "DEADLINE", DEADLINE)
    monkeypatch.setattr(postgresql, "DEADLINE", DEADLINE)
    monkeypatch.setattr(pgconnection, "DEADLINE", float(DEADLINE))


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> servers.Server:
    found: servers.Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxy(server: servers.Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def tables(server: servers.Server) -> str:
    """The URL of a database in which the tables are: to make them may take longer than the deadlines of these tests."""
    url = server.new_database()
    Store(parse_url(url)).close()
    return url


@pytest.fixture
def url(tables: str, server: servers.Server, proxy: Proxy, short_deadlines: None) -> str:
    return tables.replace(f":{server.port}/", f":{proxy.port}/")


def insert(session: Session) -> None:
    session.execute("INSERT INTO job (name, \"interval\") VALUES ('one', '1h')")


@pytest.mark.parametrize("silence", SILENCES)
def test_a_commit_that_is_not_answered_has_an_unknown_outcome(
    url: str, proxy: Proxy, silence: str, open_store: Callable[[str], Store]
) -> None:
    store = open_store(url)

    def last_words(session: Session) -> None:
        insert(session)
        setattr(proxy, silence, True)

    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="broke during the commit"):
        store.transact(last_words)
    assert time.monotonic() - began < DEADLINE + 1
    proxy.heal()
    assert store.transact(lambda session: session.rows("SELECT count(*) FROM job")) in ([(0,)], [(1,)])


@pytest.mark.parametrize("silence", SILENCES)
@pytest.mark.parametrize("when", ["before", "within"])
def test_a_transaction_that_is_not_answered_is_not_done(
    url: str, proxy: Proxy, silence: str, when: str, open_store: Callable[[str], Store]
) -> None:
    store = open_store(url)

    def half(session: Session) -> None:
        insert(session)
        setattr(proxy, silence, True)
        session.rows("SELECT name FROM job")

    setattr(proxy, silence, when == "before")
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        store.transact(half)
    assert time.monotonic() - began < RETRY_TIMEOUT + 2 * DEADLINE + 1
    proxy.heal()
    assert store.transact(lambda session: session.rows("SELECT count(*) FROM job")) == [(0,)]


def test_a_reader_without_an_answer_raises_an_error(url: str, proxy: Proxy, open_store: Callable[[str], Store]) -> None:
    open_store(url)
    reader = Reader(parse_url(url))
    proxy.mute = True
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        list(reader.jobs(deleted=False))
    assert time.monotonic() - began < 3 * DEADLINE + 1
    reader.close()


def test_a_commit_that_waits_for_a_missing_standby_has_an_unknown_outcome(
    open_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.running("postgresql") as primary, servers.following(primary) as standby:
        store = open_store(primary.new_database())
        standby.kill()
        with monkeypatch.context() as short:
            short.setattr(pgconnection, "DEADLINE", float(DEADLINE))
            began = time.monotonic()
            with pytest.raises(OutcomeUnknown, match="has not answered"):
                store.transact(insert)
            assert time.monotonic() - began < DEADLINE + 1
        standby.start()
        until(lambda: store.transact(lambda session: session.rows("SELECT name FROM job")) == [("one",)], "the commit")
