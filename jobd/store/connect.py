"""From a target to a connection, without the ORM: used by the store and by the command line's quick reads."""

from typing import Any

from jobd.store.dialect import Dialect
from jobd.store.url import Target


def dialect_of(target: Target) -> Dialect:
    """The dialect for the target's kind of database."""
    if target.kind == "sqlite":
        from jobd.store.sqlite.dialect import Sqlite

        return Sqlite()
    if target.kind == "mysql":
        from jobd.store.mysql.dialect import Mysql

        return Mysql()
    from jobd.store.postgresql.dialect import Postgresql

    return Postgresql()


def connect(target: Target, *, create: bool = False, read_only: bool = False) -> Any:
    """A DB-API connection in autocommit mode with its session set up. Raises JobdError.

    `create`: create a missing SQLite file. `read_only`: write nothing, not even for the set-up.
    """
    return dialect_of(target).connect(target, create, read_only)
