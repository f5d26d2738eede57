"""The tables on SQLite, and their migrations (see jobd.store.migrations)."""

from functools import partial

from jobd.store import migrations
from jobd.store.migrations import CHANGED, Spelling, Step
from jobd.store.references import store_references_by_id
from jobd.store.sqlite.strict import TABLES, make_strict

_SPELLING = Spelling(clustered=" WITHOUT ROWID", generated="INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL")
_NOW = "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"
_JOB = [
    f"""CREATE TABLE IF NOT EXISTS job (
        id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
        name VARCHAR(255) NOT NULL UNIQUE CHECK (typeof(name) = 'text' AND length(name) <= 255),
        retry_times BIGINT NOT NULL DEFAULT 0 CHECK (typeof(retry_times) = 'integer'),
        runonce TINYINT NOT NULL DEFAULT 0 CHECK (typeof(runonce) = 'integer'),
        "interval" VARCHAR(255) NULL CHECK (typeof("interval") IN ('text', 'null') AND length("interval") <= 255),
        created_time DATETIME NOT NULL DEFAULT {_NOW} CHECK (datetime(created_time) IS NOT NULL),
        updated_time DATETIME NOT NULL DEFAULT {_NOW} CHECK (datetime(updated_time) IS NOT NULL),
        "lastFinished_time" DATETIME NULL
            CHECK ("lastFinished_time" IS NULL OR datetime("lastFinished_time") IS NOT NULL),
        is_delete TINYINT NOT NULL DEFAULT 0 CHECK (typeof(is_delete) = 'integer')
    )""",
    """CREATE TRIGGER IF NOT EXISTS job_inserted AFTER INSERT ON job BEGIN
        INSERT INTO job_change (job_id, what) VALUES (NEW.id, 'changed');
    END""",
    f"""CREATE TRIGGER IF NOT EXISTS job_updated
        AFTER UPDATE OF name, retry_times, runonce, "interval", is_delete ON job
        WHEN {CHANGED.format(differs="IS NOT")} BEGIN
        UPDATE job SET updated_time = {_NOW} WHERE id = NEW.id;
        INSERT INTO job_change (job_id, what) VALUES (NEW.id, 'changed');
    END""",
    """CREATE TRIGGER IF NOT EXISTS job_removed AFTER DELETE ON job BEGIN
        DELETE FROM schedule WHERE job_id = OLD.id;
        DELETE FROM job_options WHERE job_id = OLD.id;
        DELETE FROM job_change WHERE job_id = OLD.id;
    END""",
]
MIGRATIONS: list[Step] = [
    migrations.create_tables(_JOB, _SPELLING),
    migrations.add_dates_and_dependencies(_SPELLING),
    migrations.merge_claim_indexes(_SPELLING),
    # SQLite checks the types in jobd's own tables, and a job's row may be deleted during its run.
    [
        "DROP TRIGGER IF EXISTS job_removed",
        f"CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN{migrations.REMOVED}\n    END",
        *(partial(make_strict, table) for table in TABLES),
    ],
    store_references_by_id("?"),
    migrations.ADD_NODE_LOCK,
    migrations.create_installation(" STRICT", "TEXT", "TEXT", "INTEGER"),
    [],
    # The priority of each job in its state, and in the index that serves claims.
    [
        "ALTER TABLE schedule ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
        "DROP INDEX schedule_claim",
        f"CREATE INDEX schedule_claim ON schedule {migrations.CLAIM_INDEX}",
        migrations.FILL_PRIORITY,
    ],
]
