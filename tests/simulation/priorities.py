"""The promises of priorities (decision 0022), checked from outside in every simulation.

    free jobs ──a claim──▶ the queue of a node ──an order──▶ worker

- A claim takes no job while it leaves one of a higher priority that was ready when the node's cycle began.
- A node sends no order while a job of a higher priority waits in its queue and is ready.
- A node that is alone and whose queue is full claims in its next cycle the jobs that must start before those that its
  workers would start next, up to the number of its workers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jobd.clock import SECOND
from jobd.job import DEFAULT_POOL, MAX_COUNTER
from jobd.options import MAX_PRIORITY
from jobd.wire import Order
from tests.simulation.events import Violation

PRIORITY_LAG = 3 * SECOND  # a lease: for so long, a node whose free jobs had one priority may not know of another


class _Free(NamedTuple):
    """A ready job that no node has claimed."""

    job_id: int
    token: int
    priority: int
    ready: int


class Priorities:
    """The claims and their priorities."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._claims: dict[tuple[int, int], int] = {}  # by job and token, the priority
        self._of_cycle: dict[int, list[int]] = {}  # by machine, the priorities of the jobs claimed in its cycle

    def committed(self, node: Any) -> None:
        """A node has committed a transaction."""
        keeper = node.engine.keeper
        number = keeper.membership.node
        sql = "SELECT job_id, token, priority FROM schedule WHERE node_id = ? AND node_id <> 0 AND token <= ?"
        held = {
            (job_id, token): priority
            for job_id, token, priority in self._cluster.database.rows(sql, (number, MAX_COUNTER))
        }
        claimed = {key: priority for key, priority in held.items() if key not in self._claims}
        if not claimed:
            return
        self._claims |= claimed
        self._of_cycle.setdefault(node.number, []).extend(claimed.values())
        took = node.clock.monotonic() - keeper.last_step_at
        if node.clock.set_at >= self._cluster.events.now - took:
            return  # it is unknown which jobs were ready
        least = min(claimed.values())
        for one in self._free(node.clock.wall() - took):
            if one.priority > least and one.job_id not in keeper._sharing.unknown_tasks:
                raise Violation(f"node {number} has left {one} and claimed, by job and token, {claimed}")

    def given(self, node: Any, order: Order) -> None:
        """A node sends an order to a worker."""
        ((job_id,),) = self._cluster.database.rows("SELECT id FROM job WHERE name = ?", (order.job,))
        priority = self._claims.get((job_id, order.token))
        if priority is None:
            return  # a manual edit has changed the token
        for item in _live(node.engine.pools[DEFAULT_POOL].queue):
            if item.state.priority > priority and (item.state.ready or 0) <= node.clock.wall():
                raise Violation(f"{order.job} ({priority}) begins before {item.job.name} ({item.state.priority})")

    def cycle(self, node: Any, cycle: Callable[[int], None], now: int) -> None:
        """Run a node's cycle and check it: no ready job may be left that must start before those that wait here."""
        self._of_cycle[node.number] = []
        before, keeper = self._to_overtake(node), node.engine.keeper
        number = keeper.membership.node
        cycle(now)
        if not before or keeper.membership.node != number or not _is_alone(node):
            return
        left = {*before} & {*self._free(node.clock.wall())}
        most = max(self._of_cycle[node.number], default=-MAX_PRIORITY - 1)
        if overlooked := [one for one in left if one.priority > most]:
            raise Violation(f"node {number} has left {overlooked}, which are to begin before what waits there")

    def _to_overtake(self, node: Any) -> list[_Free]:
        """The free jobs that must start before one of those that this node's workers would start next."""
        engine, wall = node.engine, node.clock.wall()
        if not _is_alone(node) or engine.keeper._draining or not engine.budget.calm:
            return []
        processor = engine.pools[DEFAULT_POOL]
        waiting = sorted((one.state.priority for one in _live(processor.queue)), reverse=True)[: processor.workers.size]
        if not waiting:
            return []
        left_to_others = engine.keeper._sharing.unknown_tasks
        several = len(engine.keeper._polling.priorities.get(DEFAULT_POOL, ())) > 1
        return [
            one
            for one in self._free(wall if several else wall - PRIORITY_LAG)
            if one.priority > waiting[-1] and one.job_id not in left_to_others
        ]

    def _free(self, wall: int) -> list[_Free]:
        sql = "SELECT job_id, token, priority, ready_time FROM schedule WHERE node_id = 0 AND ready_time <= ?"
        return [_Free(*row) for row in self._cluster.database.rows(sql, (wall,))]


def _is_alone(node: Any) -> bool:
    """Whether this node serves the pool and no other node does."""
    if DEFAULT_POOL not in node.engine.pools.names():
        return False
    return not node.engine.pools[DEFAULT_POOL].shared and node.engine.keeper._sharing.shares.get(DEFAULT_POOL) is None


def _live(queue: Any) -> list[Any]:
    return [item for _, serial, item in queue._all() if queue._live.get(item.job.id) == serial]
