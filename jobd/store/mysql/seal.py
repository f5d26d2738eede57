"""Detection of changes of `job` on MySQL (not MariaDB), where most users may not create a trigger (decision 16).

The microseconds of `updated_time` are a seal: a checksum of the definition, which jobd sets when it has processed the
row. After any insert or change by a program the seal no longer matches (except by chance, once in a million;
then a changed interval is noticed when the job is next planned). An index contains the rows with broken seals, so a
poll reads only these. A row enters it when its transaction commits, however late.

     inserted, changed ──▶ seal broken ──a daemon's poll──▶ a row of `job_change`, the seal set, `updated_time` in UTC
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobd.store.store import Session

# Numbers and CRC32 only: text constants would have the session's collation, and the index would not be used. The
# factors prevent two small changes from cancelling out. No seal is a whole number of milliseconds, because the times
# that other programs write often are.
_SUM = (
    'CRC32(name) * 3 + COALESCE(CRC32("interval"), 4294967311) * 7 + (MOD(retry_times, 99991) + 99991) * 5003'
    " + (runonce + 128) * 40009 + (is_delete + 128) * 70001"
)
_SEAL = f"(MOD({_SUM}, 99991) * 10 + 7)"
_BROKEN = f"(CASE WHEN MICROSECOND(updated_time) = {_SEAL} THEN NULL ELSE 1 END)"
_SET = (
    "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (wanted BIGINT PATH '$')) AS named"
    " STRAIGHT_JOIN job FORCE INDEX (PRIMARY) ON job.id = named.wanted"
    # str() of a list of numbers is a JSON array. An invalid date ('0000-00-00') gives NULL.
    f" SET updated_time = COALESCE(TIMESTAMPADD(MICROSECOND, {_SEAL} - MICROSECOND({{0}}), {{0}}),"
    f" TIMESTAMPADD(MICROSECOND, {_SEAL} - MICROSECOND(UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)))"
)
# A new row has two equal times. The seal changes only its microseconds, because a program may rely on its time.
_FRESH = "created_time = updated_time"
_NOW = f"CASE WHEN {_FRESH} THEN updated_time ELSE UTC_TIMESTAMP(6) END"
_TRIGGERS = ("job_inserted", "job_updating", "job_updated", "job_changing", "job_removed")
_NO_RIGHT = (1419, 1142, 1227)


# The step of the schema.
STATEMENTS = (
    # Not UTC in every session, but it changes the seal at once, and the next poll corrects it.
    "ALTER TABLE job MODIFY updated_time DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))"
    " ON UPDATE CURRENT_TIMESTAMP(6)",
    f"CREATE INDEX job_unseen ON job ({_BROKEN})",
    # Options without a job would prevent the foreign key.
    "DELETE FROM job_options WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.id = job_options.job_id)",
    "ALTER TABLE job_options ADD CONSTRAINT job_options_job FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE",
)


def drop_triggers(cursor: Any) -> None:
    """Drop the triggers of an older jobd. If the user has no right to, they stay, which is harmless."""
    for name in _TRIGGERS:
        try:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        except Exception as error:
            if error.args[0] not in _NO_RIGHT:
                raise


def changes(session: "Session", limit: int) -> list[tuple[Any, ...]]:
    """The rows of `job_change`, oldest first, after broken seals have been recorded there."""
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
    """Record these jobs as changed and seal them, except those that another transaction has locked."""
    locked = (
        f"SELECT id, {_FRESH} FROM job FORCE INDEX (PRIMARY) WHERE id IN ? AND {_BROKEN} = 1 FOR UPDATE SKIP LOCKED"
    )
    found = session.rows(locked, [list(ids)])
    if not found:
        return
    session.write_rows("job_change", ("job_id", "what"), [(job_id, "changed") for job_id, _ in found])
    if fresh := [job_id for job_id, is_fresh in found if is_fresh]:
        # The state may be that of a deleted job with this id. A claimed one stays until its node gives the claim up.
        session.dialect.delete(session, "schedule", [(job_id,) for job_id in fresh], ("job_id",), " AND node_id = 0")
    session.execute(_SET.format(_NOW), [str([job_id for job_id, _ in found])])


def seal(session: "Session", ids: Sequence[int]) -> None:
    """Set the seals of these rows of `job`, because they have been processed."""
    session.execute(_SET.format("updated_time"), [str(list(ids))])
