"""The parts of the migrations that all kinds of database share. Each kind has its steps in its `schema.py`.

A released step never changes: a new one is added. MySQL commits each statement, and a process may die between two, so a
step may be repeated there: a statement says IF NOT EXISTS, or jobd.store.mysql.schema ignores its error. Each table has
a primary key: replication groups and many managed servers refuse a table without one, and PostgreSQL publishes no
deletion from such a table.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Step = Sequence[str | Callable[[Any], None]]  # statements, and functions of a cursor for more than a statement


class Spelling(NamedTuple):
    """How a kind of database spells parts of the statements below."""

    long_text: str = "TEXT"
    table: str = ""  # the end of each CREATE TABLE, after the columns
    clustered: str = ""  # what precedes this end for a table whose rows are often read in the order of their key
    generated: str = ""  # the type of a number that the database generates
    if_not_exists: str = "IF NOT EXISTS"


# The condition that a program has changed a row of `job`; {differs} compares values, and any may be NULL.
CHANGED = " OR ".join(
    f'OLD."{column}" {{differs}} NEW."{column}"'
    for column in ("name", "retry_times", "runonce", "interval", "is_delete")
)
# A claimed row of `schedule` stays until its node releases the claim. If the job is inserted again under its id before
# that, the claim still holds, so no second run starts, and its tokens continue.
REMOVED = """
        DELETE FROM schedule WHERE job_id = OLD.id AND node_id = 0;
        DELETE FROM job_options WHERE job_id = OLD.id;
        DELETE FROM job_change WHERE job_id = OLD.id;"""
CLAIM_INDEX = "(node_id, pool, priority, ready_time, job_id)"
FILL_PRIORITY = (
    "UPDATE schedule SET priority = (SELECT priority FROM job_options WHERE job_options.job_id = schedule.job_id)"
    " WHERE job_id IN (SELECT job_id FROM job_options WHERE job_options.priority <> 0)"
)
_COMPANIONS = [
    """CREATE TABLE IF NOT EXISTS job_options (
        job_id BIGINT NOT NULL PRIMARY KEY, task VARCHAR(255) NULL, command TEXT NULL, args TEXT NULL,
        secrets TEXT NULL, timezone VARCHAR(64) NULL, timeout BIGINT NULL, backoff BIGINT NULL,
        backoff_max BIGINT NULL, catch_up VARCHAR(8) NULL, grace BIGINT NULL, pool VARCHAR(64) NULL,
        priority INT NOT NULL DEFAULT 0, on_lost VARCHAR(8) NULL, isolation VARCHAR(8) NULL,
        paused SMALLINT NOT NULL DEFAULT 0
    ){table}""",
    """CREATE TABLE IF NOT EXISTS schedule (
        job_id BIGINT NOT NULL PRIMARY KEY, due_time BIGINT NULL, ready_time BIGINT NULL,
        attempt BIGINT NOT NULL DEFAULT 0, losses BIGINT NOT NULL DEFAULT 0, number BIGINT NOT NULL DEFAULT 1,
        anchor BIGINT NULL, resume_time BIGINT NULL, manual SMALLINT NOT NULL DEFAULT 0,
        pool VARCHAR(64) NOT NULL DEFAULT 'default', missed BIGINT NOT NULL DEFAULT 0,
        basis VARCHAR(600) NOT NULL DEFAULT '', error VARCHAR(500) NULL, guarded SMALLINT NOT NULL DEFAULT 0,
        node_id BIGINT NOT NULL DEFAULT 0, token BIGINT NOT NULL DEFAULT 0, started_time BIGINT NULL
    ){table}""",
    "CREATE INDEX {if_not_exists} schedule_ready ON schedule (pool, node_id, ready_time, job_id)",
    "CREATE INDEX {if_not_exists} schedule_node ON schedule (node_id)",
    """CREATE TABLE IF NOT EXISTS run (
        job_id BIGINT NOT NULL, number BIGINT NOT NULL, due_time BIGINT NOT NULL, started_time BIGINT NULL,
        finished_time BIGINT NOT NULL, attempts BIGINT NOT NULL, outcome VARCHAR(10) NOT NULL, node_id BIGINT NOT NULL,
        error TEXT NULL, result TEXT NULL, missed BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (job_id, number)
    ){clustered}{table}""",
    "CREATE INDEX {if_not_exists} run_finished ON run (finished_time)",
    """CREATE TABLE IF NOT EXISTS output (
        job_id BIGINT NOT NULL, number BIGINT NOT NULL, attempt BIGINT NOT NULL, part BIGINT NOT NULL,
        text {long_text} NOT NULL, PRIMARY KEY (job_id, number, attempt, part)
    ){table}""",
    """CREATE TABLE IF NOT EXISTS node (
        id {generated}, host VARCHAR(255) NOT NULL, pid BIGINT NOT NULL, version VARCHAR(64) NOT NULL,
        instance VARCHAR(64) NOT NULL, started_time BIGINT NOT NULL, heartbeat BIGINT NOT NULL DEFAULT 0,
        stopped_time BIGINT NULL
    ){table}""",
    "CREATE INDEX {if_not_exists} node_stopped ON node (stopped_time)",
    """CREATE TABLE IF NOT EXISTS job_change (
        id {generated}, job_id BIGINT NOT NULL, what VARCHAR(8) NOT NULL
    ){table}""",
    "CREATE INDEX {if_not_exists} job_change_job ON job_change (job_id)",
]


def create_tables(job: Sequence[str], spelling: Spelling) -> Step:
    """The tables. `job`: the statements that make the table `job`, and its triggers."""
    table, *triggers = job
    return [
        table.replace("{table}", spelling.table),
        *(statement.format(**spelling._asdict()) for statement in _COMPANIONS),
        *triggers,
    ]


def add_dates_and_dependencies(spelling: Spelling) -> Step:
    """Jitter, the window, the dates to skip, and jobs that run after other jobs."""
    columns = ["jitter BIGINT", "starts BIGINT", "ends BIGINT", "instead VARCHAR(8)", "skip_dates TEXT"]
    columns += ["after_jobs TEXT"]
    return [
        *(f"ALTER TABLE job_options ADD COLUMN {column} NULL" for column in columns),
        f"""CREATE TABLE IF NOT EXISTS job_dependency (
            job_id BIGINT NOT NULL, on_job_id BIGINT NOT NULL, any_outcome SMALLINT NOT NULL DEFAULT 0,
            met SMALLINT NOT NULL DEFAULT 0, PRIMARY KEY (job_id, on_job_id)
        ){spelling.clustered}{spelling.table}""",
        f"CREATE INDEX {spelling.if_not_exists} job_dependency_on ON job_dependency (on_job_id)",
    ]


def merge_claim_indexes(spelling: Spelling, drop: str = "DROP INDEX IF EXISTS {}") -> Step:
    """One index instead of two, because every run changes it twice. `drop`: the statement that drops an index."""
    return [
        f"CREATE INDEX {spelling.if_not_exists} schedule_claim ON schedule (node_id, pool, ready_time, job_id)",
        *(drop.format(name) for name in ("schedule_ready", "schedule_node")),
    ]


ADD_NODE_LOCK: Step = ["ALTER TABLE node ADD COLUMN lock_name TEXT NULL"]  # the lock that a node holds on its machine


def create_installation(
    table: str, name: str = "VARCHAR(64)", value: str = "VARCHAR(255)", number: str = "BIGINT"
) -> Step:
    """Settings shared by all nodes: the time zone of jobs that name none, and the version of the zone rules."""
    rows = [
        f"INSERT INTO installation (name, value) SELECT '{row}', ''"
        f" WHERE NOT EXISTS (SELECT 1 FROM installation WHERE name = '{row}')"
        for row in ("timezone", "zone_rules")
    ]
    return [
        f"""CREATE TABLE IF NOT EXISTS installation (
            name {name} NOT NULL PRIMARY KEY, value {value} NOT NULL, node_id {number} NOT NULL DEFAULT 0
        ){table}""",
        *rows,
    ]
