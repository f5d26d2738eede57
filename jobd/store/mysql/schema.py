"""The tables on MariaDB and MySQL, and their migrations (see jobd.store.migrations).

On MySQL (not MariaDB) seals replace the triggers (jobd.store.mysql.seal).
"""

from typing import Any

from jobd.errors import ConfigError
from jobd.store import migrations
from jobd.store.migrations import CHANGED, Spelling, Step
from jobd.store.mysql import seal
from jobd.store.mysql.dialect import is_maria
from jobd.store.references import store_references_by_id

_SPELLING = Spelling(
    long_text="MEDIUMTEXT",
    table=" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    generated="BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
    if_not_exists="",
)
_JOB = [
    """CREATE TABLE IF NOT EXISTS job (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        name VARCHAR(255) NOT NULL UNIQUE,
        retry_times BIGINT NOT NULL DEFAULT 0,
        runonce TINYINT NOT NULL DEFAULT 0,
        "interval" VARCHAR(255) NULL,
        created_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
        updated_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
        "lastFinished_time" DATETIME(6) NULL,
        is_delete TINYINT NOT NULL DEFAULT 0
    ){table}""",
    """CREATE TRIGGER IF NOT EXISTS job_inserted AFTER INSERT ON job FOR EACH ROW
        INSERT INTO job_change (job_id, what) VALUES (NEW.id, 'changed')""",
    f"""CREATE TRIGGER IF NOT EXISTS job_updating BEFORE UPDATE ON job FOR EACH ROW
        SET NEW.updated_time = IF({CHANGED.format(differs="<=> ").replace("OLD", "NOT OLD")},
            UTC_TIMESTAMP(6), NEW.updated_time)""",
    f"""CREATE TRIGGER IF NOT EXISTS job_updated AFTER UPDATE ON job FOR EACH ROW
        INSERT INTO job_change (job_id, what) SELECT NEW.id, 'changed' FROM DUAL
        WHERE {CHANGED.format(differs="<=> ").replace("OLD", "NOT OLD")}""",
    """CREATE TRIGGER IF NOT EXISTS job_removed AFTER DELETE ON job FOR EACH ROW BEGIN
        DELETE FROM schedule WHERE job_id = OLD.id;
        DELETE FROM job_options WHERE job_id = OLD.id;
        DELETE FROM job_change WHERE job_id = OLD.id;
    END""",
]


def execute(cursor: Any, statement: str) -> None:
    """Run a statement of a step. Each is committed, so an interrupted upgrade may have run it: that is no error.

    Raises ConfigError if the server lets only administrators create triggers.
    """
    if " TRIGGER " in statement and _is_mysql_proper(cursor):
        return  # most users of MySQL may not create triggers, and seals replace them
    try:
        cursor.execute(statement)
    except Exception as error:
        number = error.args[0] if error.args else None
        if number in (1060, 1061, 1091, 1826):
            return
        if number == 1419:
            raise ConfigError(
                "the database server keeps a binary log and lets only administrators create triggers (error 1419)",
                "as an administrator: SET GLOBAL log_bin_trust_function_creators = 1, start jobd, set it back",
            ) from None
        raise


def _is_mysql_proper(cursor: Any) -> bool:
    cursor.execute("SELECT version()")
    return not is_maria(str(cursor.fetchone()[0]))


def _seal(cursor: Any) -> None:
    if _is_mysql_proper(cursor):
        for statement in seal.STATEMENTS:
            execute(cursor, statement)
        seal.drop_triggers(cursor)


def _index_priority(cursor: Any) -> None:
    """One statement, so that the table is never without the index; only once, because a large table takes long."""
    cursor.execute("SHOW INDEX FROM schedule WHERE Key_name = 'schedule_claim' AND Column_name = 'priority'")
    if not cursor.fetchall():
        cursor.execute(
            f"ALTER TABLE schedule DROP INDEX schedule_claim, ADD INDEX schedule_claim {migrations.CLAIM_INDEX}"
        )


MIGRATIONS: list[Step] = [
    migrations.create_tables(_JOB, _SPELLING),
    migrations.add_dates_and_dependencies(_SPELLING),
    # One trigger, without effect on runs.
    [
        *migrations.merge_claim_indexes(_SPELLING, "DROP INDEX {} ON schedule"),
        f"""CREATE TRIGGER IF NOT EXISTS job_changing BEFORE UPDATE ON job FOR EACH ROW BEGIN
                IF {CHANGED.format(differs="<=> ").replace("OLD", "NOT OLD")} THEN
                    SET NEW.updated_time = UTC_TIMESTAMP(6);
                    INSERT INTO job_change (job_id, what) VALUES (NEW.id, 'changed');
                END IF;
            END""",
        "DROP TRIGGER IF EXISTS job_updated",
        "DROP TRIGGER IF EXISTS job_updating",
    ],
    # A job's row may be deleted during its run.
    [
        "DROP TRIGGER IF EXISTS job_removed",
        f"CREATE TRIGGER job_removed AFTER DELETE ON job FOR EACH ROW BEGIN{migrations.REMOVED}\n    END",
    ],
    store_references_by_id("%s"),
    migrations.ADD_NODE_LOCK,
    migrations.create_installation(_SPELLING.table),
    [_seal],
    # The priority of each job in its state, and in the index that serves claims.
    ["ALTER TABLE schedule ADD COLUMN priority INT NOT NULL DEFAULT 0", _index_priority, migrations.FILL_PRIORITY],
]
