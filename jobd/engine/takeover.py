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


def adopt(session: Session, begun: Begun, now: int, settings: Settings) -> None:
    """Give on what nodes have claimed that nobody has ever heard of, or that have signed off."""
    for node in table.orphans(session):
        give_on(session, node, {}, begun, now, settings, "its node is not known")


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
