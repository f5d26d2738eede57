"""What becomes of the claims of a node that is gone: whoever finds it dead declares it so and gives its jobs on.

Declaring a node dead (burying it) is one conditional write, so two finders never both do it; from then on every late
write of the dead is refused by its fencing tokens.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jobd import lifecycle
from jobd.config import Settings
from jobd.store import nodes
from jobd.store import schedule_table as table
from jobd.store.schedule_table import Settlement
from jobd.store.store import Session

Begun = Mapping[tuple[int, int], int]  # job id and fencing token → when its run began, as far as this machine knows


class Losses(NamedTuple):
    """What a node that is gone had claimed: how many runs had begun, and how many jobs had not."""

    runs: int
    waiting: int


def take_over(
    session: Session, node: nodes.NodeRow, begun: Begun, now: int, settings: Settings, reason: str
) -> Losses | None:
    """Bury `node` if its heartbeat is still what was seen, and give on what it had claimed; None: it lives."""
    if not nodes.bury(session, node.id, node.heartbeat, now):
        return None
    return give_on(session, node.id, {}, begun, now, settings, reason)


class Gone(NamedTuple):
    """A node that has claims although it has signed off, or nobody has ever heard of it (its heartbeat is -1)."""

    node: int
    heartbeat: int
    tokens: int  # of its claims, added up: other claims under the same name are to be watched anew
    instance: str


def gone(session: Session) -> list[Gone]:
    """The nodes that have claims and are not registered.

    Not jobd but somebody's hands make such, so what the tables say proves nothing: the node may be alive. But it finds
    in its next turn that it is taken for dead, or at its next heartbeat that these claims are not its own, and ends its
    runs; and if it cannot have a turn, it ends them when its lease is over. So it is with these as with a heartbeat
    that stands still: whoever has seen them unchanged for a whole lease may take over.
    """
    ids = table.orphans(session)
    known = nodes.look_up(session, ids) if ids else {}
    tokens = {node: sum(table.tokens_of(session, node).values()) for node in ids}
    return [Gone(node, known.get(node, (-1, ""))[0], tokens[node], known.get(node, (-1, ""))[1]) for node in ids]


def adopt(session: Session, seen: Gone, begun: Begun, now: int, settings: Settings) -> Losses | None:
    """Give on what a node has claimed that is gone, if it still is as it was seen; None: it is not."""
    if seen not in gone(session):
        return None
    return give_on(session, seen.node, {}, begun, now, settings, "its node is gone")


def give_on(
    session: Session, node: int, kept: Mapping[int, int], begun: Begun, now: int, settings: Settings, reason: str
) -> Losses:
    """Record the runs of `node` as lost and free its jobs, except those in `kept` (job id → fencing token)."""
    settlements = []
    runs = 0
    for one in table.claims_of(session, node):
        plan = one.plan
        if kept.get(plan.job_id) == plan.token:
            continue
        if plan.started is None:
            plan = plan._replace(started=begun.get((plan.job_id, plan.token)))
        if one.job is None:
            step = lifecycle.Step(plan._replace(node=0, started=None, ready=None, error=one.problem))
        else:
            job = lifecycle.filled(one.job, settings.defaults)
            step = lifecycle.lose(job, plan, now, settings.timezone, reason)
        runs += step.run is not None
        settlements.append(Settlement(node, plan.token, step.plan, step.run, ()))
    if settlements:
        table.settle(session, settlements)
    table.drop_jobless(session, node)
    return Losses(runs, len(settlements) - runs)
