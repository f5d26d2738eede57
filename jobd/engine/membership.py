"""This node among the nodes of the database: its id, its lease, and which of the others are dead.

All moments are monotonic µs.
"""

import os
from collections.abc import Mapping, Sequence

import jobd
from jobd.clock import SECOND, Clock
from jobd.engine.lease import Lease, Neighbours, Watch
from jobd.engine.nodelock import Locks
from jobd.engine.takeover import DeadNode, UnregisteredNode
from jobd.store import nodes
from jobd.store.store import Session

LOCK_CHECK_INTERVAL = SECOND // 2  # between checks of the locks of the nodes on this machine


class Membership:
    """The id and the lease of this node, and the other nodes as it has seen them."""

    def __init__(self, instance: str, locks: Locks, clock: Clock, lease: int) -> None:
        self.node = 0
        self.lease = Lease(lease)
        self.watch = Watch(lease)  # of the other nodes
        self._unregistered = Watch(lease)  # the claims of nodes that are not registered
        self._neighbours = Neighbours(locks.is_held)
        self._neighbours_at = 0
        self._instance = instance
        self._lock = locks.name
        self._clock = clock

    def register(self, session: Session, pools: Mapping[str, int]) -> int:
        """Register as a new node, with these workers per pool; the node's id."""
        host, pid, now = os.uname().nodename, os.getpid(), self._clock.wall()
        return nodes.register(session, host, pid, jobd.__version__, self._instance, now, self._lock, pools)

    def registered(self, node: int, sent: int, lease: int) -> None:
        """Note the new id of this node, whose registration was sent at `sent`. It begins a lease of `lease` µs."""
        self.node = node
        self.lease = Lease(lease)
        self.lease.renewed(sent)

    def predecessors(self, live: Sequence[nodes.NodeRow]) -> list[DeadNode]:
        """The earlier nodes of this instance.

        This daemon holds the lock on the state directory, so they are dead despite their heartbeats.
        """
        return [
            DeadNode(row, "its daemon died") for row in live if row.instance == self._instance and row.id != self.node
        ]

    def unregistered_predecessors(self, unregistered: Sequence[UnregisteredNode]) -> list[UnregisteredNode]:
        """The unregistered nodes of this instance. They are dead for the same reason."""
        return [one for one in unregistered if one.instance == self._instance]

    def observe(self, asked: int, answered: int, live: Sequence[nodes.NodeRow]) -> list[DeadNode]:
        """Note the live nodes, read between `asked` and `answered`. Returns those that are dead."""
        others = {row.id: row for row in live if row.id != self.node}
        counters = [(row.id, row.heartbeat) for row in others.values()]
        dead = [DeadNode(others.pop(node), "its node died") for node in self.watch.observe(asked, answered, counters)]
        ended = self._neighbours.observe({row.id: row.lock for row in others.values()})
        return dead + [DeadNode(others[node], "its daemon died") for node in ended]

    def alone(self) -> bool:
        """Whether the last observation contained no other node."""
        return self.watch.is_empty()

    def observe_unregistered(
        self, asked: int, answered: int, unregistered: Sequence[UnregisteredNode]
    ) -> list[UnregisteredNode]:
        """Note the unregistered nodes. Returns those whose claims have not changed for a whole lease."""
        seen = {one.node: one for one in unregistered}
        return [seen[node] for node in self._unregistered.observe(asked, answered, seen.items())]

    def knows_unregistered(self) -> bool:
        """Whether the last observation contained an unregistered node."""
        return not self._unregistered.is_empty()

    # Neighbours: the nodes on this machine

    def neighbour_check_at(self) -> int | None:
        """When to check the neighbours; None: there are none."""
        return self._neighbours_at if self._neighbours.any() else None

    def neighbour_has_ended(self, now: int) -> bool:
        """Check the neighbours, if it is time; whether one has ended, so that it can be taken over at once."""
        if not self._neighbours.any() or now < self._neighbours_at:
            return False
        self._neighbours_at = now + LOCK_CHECK_INTERVAL
        return bool(self._neighbours.ended())
