"""The table `schedule`, with the frequent statements: claim, record, plan. Fixed, set-based SQL.

A claim is one conditional write that sets the node of a job and adds one to its fencing token. Every later write about
the claim carries node and token and is refused when they no longer match. So a late write changes nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jobd.claim import ClaimUpdate
from jobd.clock import LATEST
from jobd.job import LOWEST_ID, MAX_STATE_ERROR, SKIPPED, Job, JobState, Run
from jobd.options import MAX_PRIORITY
from jobd.store import dependencies, output, rows
from jobd.store.dialect import Conflict
from jobd.store.store import MAX_IDS, Session

_STATE = rows.columns("schedule", rows.SCHEDULE)
_DEFINITION = f"{rows.columns('job', rows.JOB)}, {rows.columns('job_options', rows.OPTIONS)}"
# A run does not need the times of the definition, and reading them takes as long as the rest of it.
_UNTIMED = re.sub(r'job\."\w+_time"', "NULL", _DEFINITION)
_JOINED = (
    f"SELECT {_STATE}, {_UNTIMED} FROM schedule JOIN job ON job.id = schedule.job_id"
    " LEFT JOIN job_options ON job_options.job_id = schedule.job_id WHERE "
)
_WIDTH = len(rows.SCHEDULE)
# Claims since a known token. A larger difference means that the row was created again, with the time in µs as its token
# (100,000 µs are a tenth of a second).
MAX_CLAIMS_SINCE = 100_000
DEFINITIONS = f"SELECT {_DEFINITION} FROM job LEFT JOIN job_options ON job_options.job_id = job.id"


class Claimed(NamedTuple):
    """A claimed job. If its definition is invalid, `problem` is the reason, and `job` is its readable part or None."""

    state: JobState
    job: Job | None
    problem: str | None


class JobWithState(NamedTuple):
    """A job with its current state, which is None if no node has planned it yet."""

    job_id: int
    job: Job | None
    problem: str | None
    state: JobState | None


class Change(NamedTuple):
    """A change to process. `what`: "changed", "run", "cancel", "back" or "far back" (the clock was set back)."""

    id: int
    job_id: int
    what: str


class Excluded(NamedTuple):
    """Jobs that a claim excludes, unless they have been ready since `before` (µs).

    `jobs` has the token under which each was given back with an error. If the error is cleared and no node has claimed
    the job since, a user has changed it or requested a run: then it is not excluded. Each claim adds one to the token.
    A row that was deleted and created again has the time in µs as its token, far from the old value.
    """

    jobs: Mapping[int, int] = {}
    before: int = 0

    def condition(self) -> str:
        """The condition that a claim adds to its WHERE."""
        if not self.jobs:
            return ""
        ids = ", ".join(map(str, self.jobs))
        since = " ".join(
            f"WHEN {job_id} THEN token BETWEEN {token + 1} AND {token + MAX_CLAIMS_SINCE}"
            for job_id, token in self.jobs.items()
        )
        changed = f"error IS NULL AND NOT CASE job_id {since} END"
        return f" AND (ready_time <= {self.before} OR job_id NOT IN ({ids}) OR ({changed}))"


NONE_EXCLUDED = Excluded()


def claim(
    session: Session,
    node: int,
    pool: str,
    until: int,
    limit: int,
    excluded: Excluded = NONE_EXCLUDED,
    firsts: Mapping[int, int | None] | None = None,
) -> list[Claimed]:
    """Claim up to `limit` jobs of `pool` that are ready by `until` (µs): the highest priority first, then the oldest.

    `firsts` is the result of `first_ready` in this transaction; None: it is called here.
    """
    ids: list[int] = []
    for priority, ready in (first_ready(session, pool, excluded=excluded) if firsts is None else firsts).items():
        if ready is not None and ready <= until and len(ids) < limit:
            left = limit - len(ids)
            ids += session.dialect.claim(session.cursor, node, pool, priority, until, left, excluded.condition())
    claimed = _numbered(session, [_claimed(row) for row in session.rows_where_in(_JOINED, "schedule.job_id", ids)])
    if len(claimed) < len(ids):
        _drop(session, sorted({*ids} - {one.state.job_id for one in claimed}))
    return sorted(claimed, key=lambda one: (-one.state.priority, one.state.ready or 0))


def drop_jobless(session: Session, node: int) -> None:
    """Delete the states that `node` has claimed of jobs whose row no longer exists."""
    # served by the index schedule_claim
    sql = "SELECT job_id FROM schedule WHERE node_id = ? AND NOT EXISTS (SELECT 1 FROM job WHERE id = schedule.job_id)"
    _drop(session, [job_id for (job_id,) in session.rows(sql, (node,))])


def _drop(session: Session, job_ids: Sequence[int]) -> None:
    for job_id in job_ids:
        session.execute("DELETE FROM schedule WHERE job_id = ?", (job_id,))


def claims_of(session: Session, node: int) -> list[Claimed]:
    """All claims of `node`."""
    # served by the index schedule_claim
    return _numbered(session, [_claimed(row) for row in session.rows(_JOINED + "schedule.node_id = ?", (node,))])


def orphans(session: Session) -> list[int]:
    """The nodes that have claims and are not alive. jobd leaves no such claims; manual edits of the tables can."""
    alive = {0, *(node for (node,) in session.rows("SELECT id FROM node WHERE stopped_time IS NULL"))}
    found, last = [], LOWEST_ID
    # served by the index schedule_claim, one step per node: DISTINCT would read the entries of all jobs
    next_node = "SELECT node_id FROM schedule WHERE node_id > ? ORDER BY node_id LIMIT 1"
    while row := session.rows(next_node, (last,)):
        last = row[0][0]
        if last not in alive:
            found.append(last)
    return found


def tokens_of(session: Session, node: int) -> dict[int, int]:
    """The fencing tokens of all claims of `node`, by job id."""
    # served by the index schedule_claim
    return dict(session.rows("SELECT job_id, token FROM schedule WHERE node_id = ?", (node,)))


def record(session: Session, updates: Sequence[ClaimUpdate], now: int) -> set[int]:
    """Write the results of claims, at most one update per job. `now` is wall-clock µs.

    Returns the ids of the jobs whose claim was still valid, and of those whose update an earlier try of this
    transaction had already committed.
    """
    updates = sorted(updates, key=_job_of)  # the same order in all transactions prevents deadlocks
    ids, primary_key_hint = [one.state.job_id for one in updates], session.dialect.primary_key_hint
    found = session.rows_where_in(
        f"SELECT job_id, node_id, token FROM schedule{primary_key_hint} WHERE ", "job_id", ids, lock=True
    )
    held = set(found)
    good = [one for one in updates if (one.state.job_id, one.node, one.token) in held]
    runs = [one.run for one in good if one.run is not None]
    # A number can only be taken if a manual edit has inserted that run.
    session.write_rows("run", rows.RUN, [rows.run_row(run) for run in runs], key=("job_id", "number"))
    output.save(session, [part for one in good if one.output for part in one.output])
    advanced, others = [], []
    for one in good:
        if one.run is not None and rows.only_advanced(one.state):
            advanced.append(rows.advancing_row(one.state))
        else:
            others.append(one.state)
    session.write_rows("schedule", rows.ADVANCING, advanced, key=("job_id",), cleared=rows.RESET_AFTER_RUN)
    _write_states(session, others)
    _publish_ends(session, [(one.state, one.run) for one in good if one.run is not None], now)
    accepted = {one.state.job_id for one in good}
    if len(accepted) < len(updates):
        before = _recorded_before(session, [one for one in updates if one.state.job_id not in accepted])
        session.ended_runs += before  # it was unknown then whether they were committed
        accepted |= {run.job_id for run in before}
    return accepted


def record_starts(session: Session, node: int, started: Iterable[tuple[int, int, int]]) -> set[int]:
    """Record in the database that these (job id, token, µs) have started; the ids of those whose claim is valid."""
    marked = set()
    for job_id, token, moment in started:
        cursor = session.execute(
            "UPDATE schedule SET started_time = ? WHERE job_id = ? AND node_id = ? AND token = ?",
            (moment, job_id, node, token),
        )
        if cursor.rowcount:
            marked.add(job_id)
    return marked


def block(session: Session, one: ClaimUpdate, reason: str) -> None:
    """Release a job whose outcome the database refuses, with an error. It does not run until a user changes it."""
    session.execute(
        "UPDATE schedule SET node_id = 0, started_time = NULL, ready_time = NULL, error = ?"
        " WHERE job_id = ? AND node_id = ? AND token = ?",
        (reason[:MAX_STATE_ERROR], one.state.job_id, one.node, one.token),
    )


def first_ready(
    session: Session, pool: str, known: Sequence[int] = (0,), excluded: Excluded = NONE_EXCLUDED
) -> dict[int, int | None]:
    """The first ready time (µs) of unclaimed jobs of `pool`, by priority, the highest first; None: there is none.

    `known` are the priorities found by the last call, the highest first: without new ones, one statement is enough.
    """
    # Each part is served by the index schedule_claim, in one step. (DISTINCT would read the entries of all jobs.)
    free = "FROM schedule WHERE node_id = 0 AND pool = ?"
    highest = f"(SELECT max(priority) {free} AND priority >= {-MAX_PRIORITY} AND priority <= {MAX_PRIORITY})"
    below = f"(SELECT max(priority) {free} AND priority >= {-MAX_PRIORITY} AND priority < ?)"
    first = f"(SELECT min(ready_time) {free} AND priority = ?{excluded.condition()})"
    while True:
        parts = [highest, *[below] * len(known), *[first] * len(known)]
        values = [value for priority in (*known, *known) for value in (pool, priority)]
        (row,) = session.rows(f"SELECT {', '.join(parts)}", (pool, *values))
        found = {priority for priority in row[: len(known) + 1] if priority is not None}
        if found <= {*known}:  # `found` has the highest priority and the next one below each known priority
            return dict(zip(known, row[len(known) + 1 :], strict=True))
        known = sorted({*known, *found}, reverse=True)


def ready_by(session: Session, pool: str, firsts: Mapping[int, int | None], until: int, count: int) -> int:
    """The moment by which `count` unclaimed jobs of `pool` are ready, but at most `until` (µs)."""
    # served by the index schedule_claim
    sql = (
        "SELECT ready_time FROM schedule WHERE node_id = 0 AND pool = ? AND priority = ? AND ready_time <= ?"
        " ORDER BY ready_time LIMIT ?"
    )
    some = [priority for priority, first in firsts.items() if first is not None and first <= until]
    moments = sorted(moment for one in some for (moment,) in session.rows(sql, (pool, one, until, count)))
    return int(moments[count - 1]) if 0 < count <= len(moments) else until


def claimed_or_ready(
    session: Session, pool: str, nodes: Sequence[int], until: int, most: int, priorities: Sequence[int] = (0,)
) -> int:
    """How many jobs of `pool` these nodes have claimed, plus how many free ones are ready by `until` (up to `most`)."""
    # both served by the index schedule_claim
    free = "SELECT job_id FROM schedule WHERE pool = ? AND node_id = 0 AND priority = ? AND ready_time <= ? LIMIT ?"
    count = 0
    for priority in priorities:
        values = (pool, priority, until, most - count)
        ((found,),) = session.rows(f"SELECT count(*) FROM ({free}) AS free", values)
        count += found
    for node in nodes:
        ((held,),) = session.rows("SELECT count(*) FROM schedule WHERE node_id = ? AND pool = ?", (node, pool))
        count += held
    return int(count)


def changes(session: Session, limit: int) -> list[Change]:
    """The changes that no node has processed yet, oldest first."""
    return [Change(*row) for row in session.dialect.changes(session, limit)]


def lock_changes_of_new_jobs(session: Session, some: Sequence[Change]) -> set[int]:
    """Lock the changes of jobs that have no state yet. Returns the jobs whose changes another transaction has locked.

    Such a job has no other row to lock. Without these locks, all nodes would plan the same oldest jobs that a program
    has inserted, and all but one would wait or start over.
    """
    ids = sorted({change.job_id for change in some})
    # both served by the primary keys
    planned = {job_id for (job_id,) in session.rows_where_in("SELECT job_id FROM schedule WHERE ", "job_id", ids)}
    new = [change for change in some if change.job_id not in planned]
    if not new:
        return set()
    dialect = session.dialect
    where = f"{dialect.primary_key_hint} WHERE {dialect.where_in('id')}"
    sql = f"SELECT id FROM job_change{where} ORDER BY id{dialect.skip_locked}"
    locked = {change for (change,) in session.rows(sql, dialect.where_in_values([change.id for change in new]))}
    return {change.job_id for change in new if change.id not in locked}


def drop_changes(session: Session, ids: Sequence[int]) -> None:
    """Delete changes that have been processed."""
    if ids:
        session.dialect.delete(session, "job_change", [(change,) for change in ids], ("id",))


def last_finished(session: Session, instance: str, after: int) -> int:
    """The end (µs) of the latest run by nodes of this instance, if it is after `after`; else 0."""
    found = session.rows(
        # served by the index run_finished
        "SELECT run.finished_time FROM run JOIN node ON node.id = run.node_id"
        " WHERE run.finished_time > ? AND run.finished_time <= ? AND node.instance = ?"
        " ORDER BY run.finished_time DESC LIMIT 1",
        (after, LATEST, instance),
    )
    return int(found[0][0]) if found else 0


def record_changes(session: Session, job_ids: Sequence[int], what: str) -> None:
    """Record a change of these jobs, for a node to process."""
    session.write_rows("job_change", ("job_id", "what"), [(job_id, what) for job_id in job_ids])


def notify_claim_holder(session: Session, job_id: int, what: str) -> None:
    """Record a change for the node that has claimed the job."""
    session.execute("INSERT INTO job_change (job_id, what) VALUES (?, ?)", (job_id, what))


def load_for_update(session: Session, job_ids: Sequence[int], definitions_too: bool = False) -> list[JobWithState]:
    """Definitions and states of these jobs. The states are locked until the transaction ends.

    `definitions_too`: so are the rows of `job`. A command that removes their recorded changes needs that: otherwise a
    program's change that is committed after this read would be removed too.
    """
    known = states_for_update(session, job_ids)
    if definitions_too:  # after the states, as in `record`
        sql = f"SELECT id FROM job{session.dialect.primary_key_hint} WHERE "
        session.rows_where_in(sql, "id", sorted(job_ids), lock=True)
    loaded = []
    for row in session.rows_where_in(DEFINITIONS + " WHERE ", "job.id", job_ids):
        job, problem = rows.read_job(row)
        loaded.append(JobWithState(row[0], job, problem, known.get(row[0])))
    return loaded


def states_for_update(session: Session, job_ids: Sequence[int]) -> dict[int, JobState]:
    """The states of these jobs that have one, locked until the transaction ends.

    A job that has a history but no state (its row was deleted manually) continues with the number after its last run.
    Raises Conflict if another transaction has written a state that this one read as absent: it may have read, without a
    lock, a definition that has been changed since.
    """
    sql = f"SELECT {_STATE} FROM schedule{session.dialect.primary_key_hint} WHERE "
    found = {row[0]: rows.read_state(row) for row in session.rows_where_in(sql, "job_id", sorted(job_ids), lock=True)}
    if appeared := session.without_state.intersection(found):
        raise Conflict(f"job {min(appeared)} was changed at the same moment by another transaction")
    session.without_state.update(job_id for job_id in job_ids if job_id not in found)
    unsure = [job_id for job_id in job_ids if job_id not in found or found[job_id].fingerprint == rows.UNREADABLE]
    for job_id, number in _last_numbers(session, unsure).items():
        found[job_id] = found.get(job_id, JobState(job_id))._replace(number=number + 1)
    return found


def _last_numbers(session: Session, job_ids: Sequence[int]) -> dict[int, int]:
    """job id → the number of its last run, for jobs that have one."""
    found: dict[int, int] = {}
    for start in range(0, len(job_ids), MAX_IDS):
        some = job_ids[start : start + MAX_IDS]
        condition = session.dialect.where_in("job_id")
        sql = f"SELECT job_id, max(number) FROM run WHERE {condition} GROUP BY job_id"
        found |= dict(session.rows(sql, session.dialect.where_in_values(some)))
    return found


def _numbered(session: Session, claimed: list[Claimed]) -> list[Claimed]:
    """`claimed`, with run numbers from the history for states whose row was invalid."""
    unsound = [one.state.job_id for one in claimed if one.state.fingerprint == rows.UNREADABLE]
    if not unsound:
        return claimed
    last = _last_numbers(session, unsound)
    return [
        one._replace(state=one.state._replace(number=last.get(one.state.job_id, 0) + 1))
        if one.state.fingerprint == rows.UNREADABLE
        else one
        for one in claimed
    ]


def save_states(session: Session, changed: Sequence[JobState], given_up: Sequence[Run] = ()) -> None:
    """Write states of jobs that are unclaimed according to `load_for_update`, and the runs that were given up."""
    _write_states(session, changed)
    if given_up:
        session.write_rows("run", rows.RUN, [rows.run_row(run) for run in given_up], key=("job_id", "number"))
        states = {state.job_id: state for state in changed}
        now = max(run.finished for run in given_up)  # they end when they are given up
        _publish_ends(session, [(states[run.job_id], run) for run in given_up], now)


def _publish_ends(session: Session, ends: Sequence[tuple[JobState, Run]], now: int) -> None:
    """Update the jobs that wait for these runs, and `lastFinished_time`. States and runs must have been written."""
    session.ended_runs += [run for _, run in ends]
    dependencies.ended(session, ends, now)
    finished = [(run.job_id, rows.write_time(run.finished)) for _, run in ends if run.outcome != SKIPPED]
    if finished:
        session.dialect.stamp_finished(session.cursor, finished)


def _write_states(session: Session, changed: Iterable[JobState]) -> None:
    """Write states. The state of a job that had none yet must not replace one that another node has written meanwhile.

    Two nodes may see a new job at the same moment. The second to insert its state waits for the first. Then its
    transaction is repeated, as after any conflict, and finds the job planned, or claimed.
    """
    states = list(changed)
    new = [state for state in states if state.job_id in session.without_state]
    old = [state for state in states if state.job_id not in session.without_state] if new else states
    session.write_rows("schedule", rows.SCHEDULE, [rows.state_row(state) for state in new])
    session.write_rows("schedule", rows.SCHEDULE, [rows.state_row(state) for state in old], key=("job_id",))
    session.without_state.difference_update(state.job_id for state in new)


def _recorded_before(session: Session, rest: Sequence[ClaimUpdate]) -> list[Run]:
    """The runs of updates that no longer match a claim because an earlier try of this transaction wrote them.

    (That commit may succeed long after jobd gave it up, for example when the standby that it waits for returns.)
    """
    known = []
    for one in rest:
        run = one.run
        if run is not None and session.rows(
            "SELECT 1 FROM run WHERE job_id = ? AND number = ? AND node_id = ? AND finished_time = ?",
            (run.job_id, run.number, run.node, run.finished),
        ):
            known.append(run)
    return known


def _job_of(one: ClaimUpdate) -> int:
    return one.state.job_id


def _claimed(row: tuple[Any, ...]) -> Claimed:
    job, problem = rows.read_job(row[_WIDTH:])
    return Claimed(rows.read_state(row[:_WIDTH]), job, problem)
