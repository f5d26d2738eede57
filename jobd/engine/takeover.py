"""The takeover of a dead node's claims: a node that finds it dead declares it dead and releases its jobs.

The declaration is one conditional write, so of two nodes only one succeeds. After that, fencing tokens cause every
late write of the dead node to be refused.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jobd import lifecycle
from jobd.claim import ClaimUpdate
from jobd.definition import with_defaults
from jobd.settings import Settings
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.store import Session

KnownStarts = Mapping[tuple[int, int], int]  # job id and fencing token → when its run started


class Losses(NamedTuple):
    """The numbers of lost runs, and of released jobs whose run had not started."""

    runs: int
    waiting: int


def take_over(
    session: Session, node: nodes.NodeRow, known_starts: KnownStarts, now: int, settings: Settings, reason: str
) -> Losses | None:
    """Declare `node` dead and release its claims. None: its heartbeat has advanced, or another node was first.

    `now` is wall-clock µs. `reason` becomes the error of the lost runs.
    """
    if not nodes.declare_dead(session, node.id, node.heartbeat, now):
        return None
    return release_claims(session, node.id, {}, known_starts, now, settings, reason)


class UnregisteredNode(NamedTuple):
    """A node that has claims although it has signed off, was declared dead, or has no row (its heartbeat is -1)."""

    node: int
    heartbeat: int
    tokens: int  # the sum over its claims; it changes if the claims do, and then the wait for a takeover restarts
    instance: str


def unregistered_nodes(session: Session) -> list[UnregisteredNode]:
    """The nodes that have claims and are not registered.

    Only manual edits cause this, so the node may be alive. It then ends its runs: in its next cycle, because it finds
    itself declared dead; at its next heartbeat, because these claims are not its own; or, without a cycle, when its
    lease ends. Treat it like a stalled heartbeat: take over after a full lease without change.
    """
    ids = table.orphans(session)
    known = nodes.look_up(session, ids) if ids else {}
    tokens = {node: sum(table.tokens_of(session, node).values()) for node in ids}
    return [
        UnregisteredNode(node, known.get(node, (-1, ""))[0], tokens[node], known.get(node, (-1, ""))[1]) for node in ids
    ]


def take_over_unregistered(
    session: Session, seen: UnregisteredNode, known_starts: KnownStarts, now: int, settings: Settings
) -> Losses | None:
    """Release the claims of an unregistered node. None: its state has changed since it was `seen`."""
    if seen not in unregistered_nodes(session):
        return None
    return release_claims(session, seen.node, {}, known_starts, now, settings, "its node is gone")


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
