"""Unsuitable databases are refused at the start."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jobd.errors import ConfigError
from jobd.store.reads import Reader
from jobd.store.store import Store
from jobd.store.url import parse_url
from tests import servers
from tests.store.test_removed import write


def test_a_database_that_cannot_hold_every_character_is_refused(
    postgresql: servers.Server, open_store: Callable[[str], Store]
) -> None:
    name = f"latin1_{os.getpid()}"
    postgresql.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(ConfigError, match="LATIN1") as refusal:
        open_store(f"postgresql://postgres@127.0.0.1:{postgresql.port}/{name}")
    assert "UTF8" in refusal.value.hint


@pytest.mark.parametrize("kind", [Store, Reader])
def test_a_refused_database_leaves_no_connection_open(
    kind: type[Store] | type[Reader], tmp_path: Path, open_store: Callable[[str], Store]
) -> None:
    url = servers.sqlite_url(tmp_path)
    store = open_store(url)
    write(store, "UPDATE jobd_schema SET version = 99")
    store.close()
    with pytest.raises(ConfigError, match="schema version 99"):
        kind(parse_url(url))
    descriptors = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    opened = [str(one.readlink()) for one in descriptors if one.is_symlink()]  # that of listdir has been closed
    assert [name for name in opened if name.startswith(str(tmp_path))] == []
