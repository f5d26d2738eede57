"""How changes of `job` are noticed on MySQL proper, where most users may not create a trigger.

(Why so: docs/decisions/0016-seals-on-mysql.md.)

The microseconds of `updated_time` are a seal: a checksum of the definition, which jobd sets when it has looked at the
row. A row that any program inserts or changes, in any way, no longer fits its seal (but by chance, once in a
million; then a changed interval is seen when the job is next planned). An index holds the rows whose seal is broken, so
that a poll reads these and no others. What a transaction wrote is in it when that commits, however late.

     inserted, changed ──▶ seal broken ──a daemon's poll──▶ a row of `job_change`, the seal set, `updated_time` in UTC
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobd.store.store import Session

# Numbers and CRC32 only: text constants would have the collation of the session, and the index would not be used. The
# factors keep two small changes from making up for each other. No seal is a whole number of milliseconds, as times are
# that other programs write.
_SUM = (
    'CRC32(name) * 3 + COALESCE(CRC32("interval"), 4294967311) * 7 + (MOD(retry_times, 99991) + 99991) * 5003'
    " + (runonce + 128) * 40009 + (is_delete + 128) * 70001"
)
_SEAL = f"(MOD({_SUM}, 99991) * 10 + 7)"
_BROKEN = f"(CASE WHEN MICROSECOND(updated_time) = {_SEAL} THEN NULL ELSE 1 END)"
_SET = (
    "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (wanted BIGINT PATH '$')) AS named"
    " STRAIGHT_JOIN job FORCE INDEX (PRIMARY) ON job.id = named.wanted"
    # (str() makes a JSON array of the list of numbers) A day that there is not, '0000-00-00' or the like, gives NULL.
    f" SET updated_time = COALESCE(TIMESTAMPADD(MICROSECOND, {_SEAL} - MICROSECOND({{0}}), {{0}}),"
    f" TIMESTAMPADD(MICROSECOND, {_SEAL} - MICROSECOND(UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)))"
)
# A row that has just been inserted has twice the same time. It is not changed: a program may know when its job began.
_FRESH = "created_time = updated_time"
_NOW = f"CASE WHEN {_FRESH} THEN updated_time ELSE UTC_TIMESTAMP(6) END"
_TRIGGERS = ("job_inserted", "job_updating", "job_updated", "job_changing", "job_removed")
_NO_RIGHT = (1419, 1142, 1227)


# The step of the schema.
STATEMENTS = (
    # Not UTC in every session, but it moves at once; the next poll puts it right.
    "ALTER TABLE job MODIFY updated_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))"
    " ON UPDATE CURRENT_TIMESTAMP(6)",
    f"CREATE INDEX job_unseen ON job ({_BROKEN})",
    # Options without a job would keep the foreign key from being made.
    "DELETE FROM job_options WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.id = job_options.job_id)",
    "ALTER TABLE job_options ADD CONSTRAINT job_options_job FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE",
)


def drop_triggers(cursor: Any) -> None:
    """Drop the triggers that an older jobd made. Where the user may not, they stay, and do no harm."""
    for name in _TRIGGERS:
        try:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        except Exception as error:
            if error.args[0] not in _NO_RIGHT:
                raise


def changes(session: "Session", limit: int) -> list[tuple[Any, ...]]:
    """The rows of `job_change`, oldest first, with those that are due to broken seals."""
    known = "SELECT id, job_id, what FROM job_change ORDER BY id LIMIT ?"
    # served by the index job_unseen
    broken = f"SELECT 0, id, 'broken' FROM job FORCE INDEX (job_unseen) WHERE {_BROKEN} = 1 LIMIT ?"
    found = session.rows(f"({known}) UNION ALL ({broken})", (limit, limit))
    ids = [job_id for _, job_id, what in found if what == "broken"]
    if not ids:
        return found
    _note(session, ids)
    return session.rows(known, (limit,))


def _note(session: "Session", ids: Sequence[int]) -> None:
    """Note these as changed, but those that another node or program has in hand just now."""
    locked = (
        f"SELECT id, {_FRESH} FROM job FORCE INDEX (PRIMARY) WHERE id IN ? AND {_BROKEN} = 1 FOR UPDATE SKIP LOCKED"
    )
    found = session.rows(locked, [list(ids)])
    if not found:
        return
    session.write_rows("job_change", ("job_id", "what"), [(job_id, "changed") for job_id, _ in found])
    if fresh := [job_id for job_id, is_fresh in found if is_fresh]:
        # The state of another job that had this id and was removed. One that is claimed waits until its node lets go.
        session.dialect.delete(session, "schedule", [(job_id,) for job_id in fresh], ("job_id",), " AND node_id = 0")
    session.execute(_SET.format(_NOW), [str([job_id for job_id, _ in found])])


def seal(session: "Session", ids: Sequence[int]) -> None:
    """These rows of `job` have been looked at."""
    session.execute(_SET.format("updated_time"), [str(list(ids))])
