"""From a target to the dialect that connects to it. The others are not imported, because a command starts quickly."""

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
