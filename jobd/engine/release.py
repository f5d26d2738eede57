"""The release of a node's claims by itself or by another node, in a transaction of the caller."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.definition import with_defaults
from jobd.settings import Settings
from jobd.store import schedule_table as table
from jobd.store.store import Session

KnownStarts = Mapping[tuple[int, int], int]  # job id and fencing token → when its run started


class Losses(NamedTuple):
    """The numbers of lost runs, and of released jobs whose run had not started."""

    runs: int
    waiting: int


def release_claims(
    session: Session,
    node: int,
    kept: Mapping[int, int],
    known_starts: KnownStarts,
    now: int,
    settings: Settings,
    reason: str,
) -> Losses:
    """Record the runs of `node` as lost and release its jobs, except those in `kept` (job id → fencing token)."""
    updates = []
    runs = 0
    for one in table.claims_of(session, node):
        state = one.state
        if kept.get(state.job_id) == state.token:
            continue
        if state.started is None:
            state = state._replace(started=known_starts.get((state.job_id, state.token)))
        if one.job is None:
            decision = lifecycle.Decision(state._replace(node=0, started=None, ready=None, error=one.problem))
        else:
            job = with_defaults(one.job, settings.defaults)
            decision = lifecycle.after_loss(job, state, now, settings.timezone, reason)
        runs += decision.run is not None
        updates.append(ClaimUpdate(node, state.token, decision.state, decision.run, ()))
    if updates:
        table.record(session, updates, now)
    table.drop_jobless(session, node)
    return Losses(runs, len(updates) - runs)


def give_back_unstarted(session: Session, node: int, known_starts: Container[tuple[int, int]], now: int) -> None:
    """Give back the jobs that this node, which has ended all runs, claimed while its dispatch loop was stopping.

    None of their runs has started. If a run has started and there was no time to report it, another node records it as
    lost; it plans unreadable rows again, too.
    """
    updates = [
        ClaimUpdate(node, state.token, lifecycle.give_back(state), None, ())
        for state, *_ in table.claims_of(session, node)
        if state.due is not None and state.started is None and (state.job_id, state.token) not in known_starts
    ]
    if updates:
        table.record(session, updates, now)
