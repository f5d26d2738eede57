"""peewee on jobd's own connections, imported with only the driver that it needs.

At its import, peewee tries to import every installed driver, which can take longer than the rest of a command. So the
other drivers are hidden from it during the import.
"""

import importlib
import sys
from typing import Any

from jobd.store.dialect import Dialect
from jobd.store.url import Target

_DRIVERS = {"psycopg", "psycopg2", "psycopg2cffi", "pymysql", "MySQLdb", "pysqlite3"}


def import_peewee(driver: str) -> Any:
    """The module peewee, imported with this one of its drivers; "": with none but SQLite's."""
    hidden = [name for name in _DRIVERS - {driver} if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` raise ImportError
    try:
        return importlib.import_module("peewee")
    finally:
        for name in hidden:
            del sys.modules[name]


def open_database(target: Target, dialect: Dialect) -> Any:
    """An open peewee database that connects through `dialect`. Raises JobdError if it cannot connect."""
    base: Any = getattr(import_peewee(dialect.driver), dialect.peewee_class)

    class Database(base):  # type: ignore[misc]
        is_known = False
        target: Target

        def _connect(self) -> Any:
            # After the first connection, a missing database is an error; it is not created again.
            connection = dialect.connect(self.target, create=not self.is_known)
            self.is_known = True
            return connection

    database = Database(target.path or target.database, autoconnect=False, **dialect.peewee_options)
    database.target = target
    database.connect()
    return database
