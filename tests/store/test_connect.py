"""Unsuitable databases are refused at the start."""

import os
from collections.abc import Callable

import pytest

from jobd.errors import ConfigError
from jobd.store.store import Store
from tests import servers


def test_a_database_that_cannot_hold_every_character_is_refused(
    postgresql: servers.Server, open_store: Callable[[str], Store]
) -> None:
    name = f"latin1_{os.getpid()}"
    postgresql.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(ConfigError, match="LATIN1") as refusal:
        open_store(f"postgresql://postgres@127.0.0.1:{postgresql.port}/{name}")
    assert "UTF8" in refusal.value.hint
