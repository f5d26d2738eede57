"""Users' requests: to run a job now, and to cancel the run in progress. Each is one transaction.

A requested run survives a change of the definition and is dropped only with the job. A cancelled run has no further
attempt, however the current attempt ends.
"""

from jobd import lifecycle
from jobd.errors import JobdError, spelt
from jobd.job import Job
from jobd.store import schedule_table as table
from jobd.store.definitions import defined, drop_seen_changes, load_named
from jobd.store.schedule_table import JobWithState
from jobd.store.store import Session, Store


def request_run(store: Store, name: str, now: int, zone: str) -> int:
    """Request a run at `now` (µs); its number. Raises JobdError if the job is running, invalid or unknown."""

    def work(session: Session) -> int:
        (loaded,) = load_named(session, [name])
        job, state = _valid(name, loaded), loaded.state
        if state is not None and state.node:
            if state.started is not None:
                raise JobdError(
                    f"the job {name!r} is running already (run {state.number})", f"see `jobd show {spelt(name)}`"
                )
            table.notify_claim_holder(session, job.id, "run")
            return state.number
        # Only now, because a request for a claimed job need not wait for a program that is changing its row.
        (loaded,) = load_named(session, [name], definitions_too=True)
        job, state = _valid(name, loaded), loaded.state
        new = lifecycle.after_change(job, state, now, zone)
        if new.error is not None and new.due is None:
            raise _invalid(name, new.error)
        run = lifecycle.superseded_run(state, new, now)
        state = lifecycle.request(new, now)
        drop_seen_changes(session, [job.id])
        table.save_states(session, [state], [run] if run is not None else [])
        return state.number

    return store.transact(work)


def request_cancel(store: Store, name: str, now: int) -> None:
    """Request the end of the run in progress. Raises JobdError if there is none."""

    def work(session: Session) -> None:
        (loaded,) = load_named(session, [name])
        state = loaded.state
        # A job that a node has claimed ahead of its due time has no run yet.
        started = state is not None and (state.started or state.losses or (state.due or 0) <= now)
        if state is None or not (state.attempt or (state.node and started)):
            raise JobdError(f"the job {name!r} is not running", "there is nothing to cancel")
        table.notify_claim_holder(session, loaded.job_id, "cancel")

    store.transact(work)


def _valid(name: str, loaded: JobWithState) -> Job:
    """The job. Raises JobdError if its definition is invalid."""
    job = defined(loaded)
    if loaded.problem is not None:
        raise _invalid(name, loaded.problem)
    return job


def _invalid(name: str, why: str) -> JobdError:
    return JobdError(f"the job {name!r} is invalid and cannot run: {why}", f"`jobd set {spelt(name)}` puts it right")
