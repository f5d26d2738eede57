"""From a URL to an open connection, without the ORM: shared by the store and by the command line's quick reads."""

from typing import Any

from jobd.store.dialect import Dialect
from jobd.store.url import Target


def dialect_of(target: Target) -> Dialect:
    """What is particular to the target's kind of database."""
    if target.kind == "sqlite":
        from jobd.store.sqlite import Sqlite

        return Sqlite()
    if target.kind == "mysql":
        from jobd.store.mysql import Mysql

        return Mysql()
    from jobd.store.postgresql import Postgresql

    return Postgresql()


def connect(target: Target, *, create: bool = False, read_only: bool = False) -> Any:
    """A DB-API connection in autocommit mode with its session set up. Raises JobdError.

    `create`: an SQLite file that is missing is made. `read_only`: nothing at all is written, not even set up.
    """
    return dialect_of(target).connect(target, create, read_only)
