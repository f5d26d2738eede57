"""A real daemon on MySQL with default settings, as a user with rights on one database only."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.store.store import Store
from tests import servers
from tests.installation import Installation, until

PACIFIC = "SET time_zone = '-08:00'"


@pytest.fixture
def url(mysql: servers.Server) -> str:
    return mysql.new_database()


@pytest.fixture
def installation(tmp_path: Path, url: str) -> Iterator[Installation]:
    installation = Installation(tmp_path / "home", url)
    yield installation
    installation.close()


def write(store: Store, *statements: str) -> None:
    store.transact(lambda session: [session.execute(sql) for sql in statements] and None)


def test_rows_that_other_programs_write_are_noticed_without_triggers(
    installation: Installation, url: str, open_store: Callable[[str], Store]
) -> None:
    installation.foreground()
    installation.fine("add", "hello", "--once")
    assert installation.ended("hello")[0]["outcome"] == "succeeded"
    store = open_store(url)
    assert store.transact(lambda session: session.rows("SHOW TRIGGERS")) == []
    insert = "INSERT INTO job (name, \"interval\") VALUES ('{}', '1h')"
    write(store, PACIFIC, insert.format("other"), "UPDATE job SET name = 'hallo', runonce = 0 WHERE name = 'other'")

    def shown(name: str) -> Any:
        (found,) = (one for one in installation.fine("list", "--json") if one["name"] == name)
        return found

    until(lambda: shown("hallo")["state"] == "invalid", "the row that another program wrote")  # there is no such task
    write(store, PACIFIC, "UPDATE job SET \"interval\" = 'now and then' WHERE name = 'hallo'")
    until(lambda: "now and then" in str(shown("hallo").get("error")), "the change that another program wrote")


def test_the_table_has_nine_columns_for_every_client(url: str, open_store: Callable[[str], Store]) -> None:
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'job'"
    assert open_store(url).transact(lambda session: session.rows(columns)) == [(9,)]
