"""What becomes of the claims of a node that is gone: whoever finds it dead declares it so and gives its jobs on.

Declaring a node dead is one conditional write, so two finders never both do it; from then on every late
write of the dead is refused by its fencing tokens.
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
    """What a node that is gone had claimed: how many runs had begun, and how many jobs had not."""

    runs: int
    waiting: int


def take_over(
    session: Session, node: nodes.NodeRow, known_starts: KnownStarts, now: int, settings: Settings, reason: str
) -> Losses | None:
    """Declare `node` dead if its heartbeat is still what was seen, and give on what it had claimed; None: it lives."""
    if not nodes.declare_dead(session, node.id, node.heartbeat, now):
        return None
    return release_claims(session, node.id, {}, known_starts, now, settings, reason)


class UnregisteredNode(NamedTuple):
    """A node that has claims although it has signed off, or nobody has ever heard of it (its heartbeat is -1)."""

    node: int
    heartbeat: int
    tokens: int  # of its claims, added up: other claims under the same name are to be watched anew
    instance: str


def unregistered_nodes(session: Session) -> list[UnregisteredNode]:
    """The nodes that have claims and are not registered.

    Not jobd but somebody's hands make such, so what the tables say proves nothing: the node may be alive. But it finds
    in its next cycle that it is declared dead, or at its next heartbeat that these claims are not its own, and ends its
    runs; and if it cannot have a cycle, it ends them when its lease is over. So it is with these as with a heartbeat
    that stands still: whoever has seen them unchanged for a whole lease may take over.
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
    """Give on what a node has claimed that is gone, if it still is as it was seen; None: it is not."""
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
    """Record the runs of `node` as lost and free its jobs, except those in `kept` (job id → fencing token)."""
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
        table.record(session, updates)
    table.drop_jobless(session, node)
    return Losses(runs, len(updates) - runs)
