"""peewee on jobd's own connections, imported with only the driver that it needs.

At its import, peewee tries to import every installed driver, which can take longer than the rest of a command. So the
other drivers are hidden from it during the import.
"""

import importlib
import sys
from typing import Any

from jobd.store.dialect import Dialect
from jobd.store.url import Target

_NEEDED = {"sqlite": set[str](), "mysql": {"pymysql"}, "postgresql": {"psycopg"}}
_DRIVERS = {"psycopg", "psycopg2", "psycopg2cffi", "pymysql", "MySQLdb", "pysqlite3"}


def import_peewee(kind: str) -> Any:
    """The module peewee, imported for this kind of database ("sqlite", "mysql" or "postgresql")."""
    hidden = [name for name in _DRIVERS - _NEEDED[kind] if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` raise ImportError
    try:
        return importlib.import_module("peewee")
    finally:
        for name in hidden:
            del sys.modules[name]


def open_database(target: Target, dialect: Dialect) -> Any:
    """An open peewee database that connects through `dialect`. Raises JobdError if it cannot connect."""
    peewee = import_peewee(target.kind)
    kinds = {"sqlite": peewee.SqliteDatabase, "mysql": peewee.MySQLDatabase, "postgresql": peewee.PostgresqlDatabase}
    base: Any = kinds[target.kind]

    class Database(base):  # type: ignore[misc]
        is_known = False
        target: Target

        def _connect(self) -> Any:
            # After the first connection, a missing database is an error; it is not created again.
            connection = dialect.connect(self.target, create=not self.is_known)
            self.is_known = True
            return connection

    extra = {"prefer_psycopg3": True} if target.kind == "postgresql" else {}
    database = Database(target.path or target.database, autoconnect=False, **extra)
    database.target = target
    database.connect()
    return database
