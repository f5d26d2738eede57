"""STRICT tables, in which SQLite checks the types of jobd's values (a part of the fourth step).

SQLite accepts any type in a column, even text for a number, unless the table is STRICT. (`job` cannot be STRICT,
because its column types are an interface. It has CHECKs.) The other databases check types by default.
"""

import re
from typing import Any

TABLES = ("job_options", "schedule", "run", "output", "node", "job_change", "job_dependency")
_KINDS = {"BIGINT": "INTEGER", "SMALLINT": "INTEGER", "INT": "INTEGER", "VARCHAR": "TEXT"}
_KIND = re.compile(rf"\b({'|'.join(_KINDS)})\b(\(\d+\))?")


def strict_types(definition: str) -> str:
    """The definition of columns with the types of a STRICT table, which are fewer."""
    return _KIND.sub(lambda found: _KINDS[found[1]], definition)


def make_strict(table: str, cursor: Any) -> None:
    """Make an SQLite table STRICT. Its indexes and valid rows are kept; invalid rows are dropped and logged."""
    definition, indexes = _definition(cursor, table)
    if definition.endswith("STRICT"):
        return
    definition = strict_types(definition)
    definition += ", STRICT" if definition.endswith("ROWID") else " STRICT"
    columns = cursor.execute(f"PRAGMA table_info({table})").fetchall()
    sound = " AND ".join(
        f'typeof("{name}") IN ({_types(declared, required or key)})' for _, name, declared, required, _, key in columns
    )
    (rows,) = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()
    counted = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    # Not with ALTER TABLE RENAME: it checks the triggers, which name tables that do not exist at that moment.
    cursor.execute(f"CREATE TEMP TABLE jobd_kept AS SELECT * FROM {table} WHERE {sound}")
    cursor.execute(f"DROP TABLE {table}")
    cursor.execute(definition)
    cursor.execute(f"INSERT INTO {table} SELECT * FROM jobd_kept")
    cursor.execute("DROP TABLE jobd_kept")
    for index in indexes:
        cursor.execute(index)
    if counted is not None:  # an id is never used again
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, *counted))
    (kept,) = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()
    if kept < rows:
        from jobd import logs

        logs.log("warning", f"{rows - kept} rows of the table {table} were invalid and were dropped")


def _definition(cursor: Any, table: str) -> tuple[str, list[str]]:
    """The statements that made a table and its indexes."""
    found = cursor.execute("SELECT type, sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL", (table,))
    statements = found.fetchall()
    (definition,) = (sql for kind, sql in statements if kind == "table")
    return definition.strip(), [sql for kind, sql in statements if kind == "index"]


def _types(declared: str, required: int) -> str:
    kind = "'text'" if declared.startswith(("VARCHAR", "TEXT")) else "'integer'"
    return kind if required else f"{kind}, 'null'"
