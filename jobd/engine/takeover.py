"""The takeover of a dead node's claims: a node that finds it dead declares it dead and releases its jobs.

The declaration is one conditional write, so of two nodes only one succeeds. After that, fencing tokens cause every
late write of the dead node to be refused.
"""

from typing import NamedTuple

from jobd import logs
from jobd.engine.release import KnownStarts, Losses, release_claims
from jobd.settings import Settings
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.store import Session, Store


class DeadNode(NamedTuple):
    """A registered node that is dead; `reason` becomes the error of its runs."""

    row: nodes.NodeRow
    reason: str


class UnregisteredNode(NamedTuple):
    """A node that has claims although it has signed off, was declared dead, or has no row (its heartbeat is -1)."""

    node: int
    heartbeat: int
    tokens: int  # the sum over its claims; it changes if the claims do, and then the wait for a takeover restarts
    instance: str


def unregistered_nodes(session: Session) -> list[UnregisteredNode]:
    """The nodes that have claims and are not registered.

    Only manual edits cause this, so the node may be alive. Within a lease it ends the runs of these claims: in its next
    cycle it finds itself declared dead, at its next heartbeat it finds that it does not hold the claims, and without a
    cycle its lease ends. So its claims are taken over when they have not changed for a whole lease.
    """
    ids = table.orphans(session)
    known = nodes.look_up(session, ids) if ids else {}
    tokens = {node: sum(table.tokens_of(session, node).values()) for node in ids}
    return [
        UnregisteredNode(node, known.get(node, (-1, ""))[0], tokens[node], known.get(node, (-1, ""))[1]) for node in ids
    ]


def take_over(
    store: Store, dead: DeadNode | UnregisteredNode, known_starts: KnownStarts, now: int, settings: Settings
) -> bool:
    """Release the claims of a dead node, and log how many. `now` is wall-clock µs. Raises JobdError.

    False: it has shown a sign of life meanwhile, or another node was first.
    """
    losses = store.transact(lambda session: release_dead(session, dead, known_starts, now, settings))
    if losses is None:
        return False
    if isinstance(dead, UnregisteredNode):
        what = f"node {dead.node}, which has claimed jobs, is not registered"
    else:
        what = f"node {dead.row.id} ({dead.row.host}, process {dead.row.pid}) is dead"
    logs.log("warning", f"{what}: {losses.runs} of its runs were lost, {losses.waiting} of its jobs had not started")
    return True


def release_dead(
    session: Session, dead: DeadNode | UnregisteredNode, known_starts: KnownStarts, now: int, settings: Settings
) -> Losses | None:
    """Declare a registered node dead, and release the claims of the dead node.

    None: its heartbeat or its claims have changed since it was found dead, or another node was first.
    """
    if isinstance(dead, UnregisteredNode):
        if dead not in unregistered_nodes(session):
            return None
        return release_claims(session, dead.node, {}, known_starts, now, settings, "its node is not registered")
    if not nodes.declare_dead(session, dead.row.id, dead.row.heartbeat, now):
        return None
    return release_claims(session, dead.row.id, {}, known_starts, now, settings, dead.reason)
