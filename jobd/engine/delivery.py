"""Writes outcomes outside of a cycle: those that previous daemons left, and those of a cycle that failed."""

from collections.abc import Callable, Sequence
from functools import partial

from jobd import logs
from jobd.claim import ClaimUpdate
from jobd.engine.pending_updates import PendingUpdates
from jobd.errors import JobdError, StatementRefused
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store


def may_be_one_outcome(error: Exception) -> bool:
    """Whether a single outcome may have caused this error: a refused statement, or a bug in writing the outcome."""
    return isinstance(error, StatementRefused) or not isinstance(error, JobdError)


def record_one_by_one(
    store: Store,
    pending: PendingUpdates,
    updates: Sequence[ClaimUpdate],
    now: int,
    recorded: Callable[[ClaimUpdate, bool], None],
    refused: Callable[[ClaimUpdate], None],
) -> bool:
    """Write `updates`, each by itself, after a transaction failed because of its data, and drop them from `pending`.

    A job whose outcome is refused is stopped. Returns whether any was refused: that means a bug in jobd or a damaged
    table, and affects only the job itself. After each, calls `recorded` with whether its claim was still valid, or
    `refused`. `now` is wall-clock µs. Raises JobdError.
    """
    any_refused = False
    for one in updates:
        job_id = one.state.job_id
        try:
            accepted = store.transact(partial(_record_one, one, now))
        except Exception as error:
            if not may_be_one_outcome(error):
                raise
            any_refused = True
            reason = f"its outcome could not be written: {type(error).__name__}: {error}"
            logs.log("error", f"job {job_id} is stopped: {reason}")
            store.transact(partial(_block_one, one, reason))
            refused(one)
        else:
            recorded(one, job_id in accepted)
        pending.drop([one])
    return any_refused


def deliver_spool(
    store: Store,
    pending: PendingUpdates,
    now: int,
    recorded: Callable[[ClaimUpdate, bool], None],
    refused: Callable[[ClaimUpdate], None],
) -> None:
    """Write the outcomes that previous daemons left in the spool. Those of claims taken over since then are refused.

    `now`, `recorded` and `refused`: see record_one_by_one. Raises JobdError.
    """
    count = written = 0
    for updates in pending.load_spooled():
        count += len(updates)
        try:
            written += len(store.transact(partial(_record_and_refresh, updates, now)))
        except Exception as error:
            if not may_be_one_outcome(error):
                raise
            # A bad spool must not keep this daemon from starting.
            if not record_one_by_one(store, pending, updates, now, recorded, refused):
                logs.log("error", f"the outcomes in the spool cannot be written: {error}")
    if count:
        logs.log("info", f"recovered {written} of {count} outcomes from the spool")
    pending.empty_spool()  # also removes a half-written line, which would hide later entries


def _record_and_refresh(updates: Sequence[ClaimUpdate], now: int, session: Session) -> set[int]:
    """Record outcomes from the spool, and have their jobs re-planned: an older jobd may have written the states."""
    accepted = table.record(session, updates, now)
    table.record_changes(session, sorted(accepted), "changed")
    return accepted


def _record_one(one: ClaimUpdate, now: int, session: Session) -> set[int]:
    return table.record(session, [one], now)


def _block_one(one: ClaimUpdate, reason: str, session: Session) -> None:
    table.block(session, one, reason)
