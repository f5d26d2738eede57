"""The version of the tables, and the upgrade to it.

The first process that needs a newer version upgrades the tables, under a lock, by numbered steps.

`job` has exactly nine columns and is an interface: any program may INSERT and UPDATE it. So the database supplies the
defaults and the two times (UTC, microseconds), and triggers record changes in `job_change` for the daemons; on MySQL
(not MariaDB) seals replace the triggers (jobd.store.mysql.seal). `name` is text: see decision 1. Each kind of database
has its own steps (`Dialect.migrations`); a step also gets the columns of the options that came with it (jobd.options).
"""

import contextlib
from typing import Any

from jobd.errors import ConfigError, DatabaseUnavailable
from jobd.options import OPTION_TABLE
from jobd.store.dialect import Dialect
from jobd.store.rows import JOB
from jobd.store.url import Target

WRITTEN = 9  # steps that each dialect has; more may come from jobd.options
_OWN_COLUMNS = 2  # the steps up to this one name the columns of their options themselves
VERSION = max(WRITTEN, *(option.since for option in OPTION_TABLE))


def step(dialect: Dialect, number: int) -> list[Any]:
    """The written step of this number, if there is one; then the columns of the options that came with it."""
    new = [option for option in OPTION_TABLE if option.since == number > _OWN_COLUMNS]
    columns = [f"{option.name} {dialect.column(option.kind.column)}" for option in new]
    return [
        *(dialect.migrations()[number - 1] if number <= WRITTEN else ()),
        *(f"ALTER TABLE job_options ADD COLUMN {column}" for column in columns),
    ]


def upgrade(connection: Any, dialect: Dialect, target: Target) -> None:
    """Migrate the database to VERSION.

    Raises ConfigError if the database is newer than this jobd, or if `job` is a table of another program, and
    DatabaseUnavailable if another process holds the lock for LOCK_SECONDS (jobd.store.dialect).
    """
    cursor, label = connection.cursor(), target.label
    with dialect.reading(cursor):
        version = _version(cursor, dialect, label)
    if version == VERSION:
        return
    dialect.lock_upgrades(cursor, label)
    try:
        version = _version(cursor, dialect, label)
        cursor.execute("CREATE TABLE IF NOT EXISTS jobd_schema (version BIGINT NOT NULL PRIMARY KEY)")
        for number in range(version + 1, VERSION + 1):
            for statement in step(dialect, number):
                if isinstance(statement, str):
                    dialect.migrate(cursor, statement)
                else:
                    statement(cursor)
            cursor.execute("DELETE FROM jobd_schema")
            cursor.execute(f"INSERT INTO jobd_schema (version) VALUES ({number})")
        _check_columns(cursor, label)
    except BaseException:
        with contextlib.suppress(Exception):  # a broken connection cannot roll back; the first error is raised
            dialect.unlock_upgrades(cursor, "ROLLBACK")
        raise
    dialect.unlock_upgrades(cursor, "COMMIT")


def _version(cursor: Any, dialect: Dialect, label: str) -> int:
    cursor.execute(dialect.has_version)
    if not cursor.fetchone()[0]:
        return 0
    cursor.execute("SELECT version FROM jobd_schema")
    found = [version for (version,) in cursor.fetchall()]
    if not found and dialect.commits_each:
        return 0  # the first upgrade was interrupted before the INSERT
    if len(found) != 1 or type(found[0]) is not int or found[0] < 1:
        raise ConfigError(
            f"the table jobd_schema in {label} holds {ascii(found)[:80]}, not the number of the schema's version",
            "another program has changed it: undo the change or restore the database from a backup",
        )
    (version,) = found
    if version > VERSION:
        raise ConfigError(
            f"{label} has schema version {version}, and this jobd knows only {VERSION}", "upgrade jobd on this machine"
        )
    return int(version)


def check_version(cursor: Any, dialect: Dialect, target: Target) -> None:
    """Check the schema version without migrating, for read-only commands.

    Raises DatabaseUnavailable if the tables are missing or older, ConfigError if they are newer.
    """
    label = target.label
    with dialect.reading(cursor):
        version = _version(cursor, dialect, label)
    if version < VERSION:
        raise DatabaseUnavailable(f"{label} has no tables of this version of jobd yet", "`jobd start` creates them")


def _check_columns(cursor: Any, label: str) -> None:
    cursor.execute("SELECT * FROM job WHERE 1 = 0")
    found = {column[0] for column in cursor.description}
    missing = [column for column in JOB if column not in found]
    if missing:
        raise ConfigError(
            f"the table job in {label} has no column {missing[0]!r}",
            "another program has made this table: use another database",
        )
