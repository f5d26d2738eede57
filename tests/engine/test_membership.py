"""Which nodes a node finds dead, by their rows, their locks and an injected clock: pure."""

from jobd.clock import MILLISECOND, SECOND
from jobd.engine.membership import LOCK_CHECK_INTERVAL, Membership
from jobd.engine.takeover import DeadNode, UnregisteredNode
from jobd.store.nodes import NodeRow
from tests.engine.harness import START, ManualClock

LEASE = 30 * SECOND


class FakeLocks:
    """The locks of the machine's nodes."""

    def __init__(self) -> None:
        self.name: str | None = "own"
        self.held = {"own"}

    def is_held(self, name: str) -> bool:
        return name in self.held


def row(node: int, heartbeat: int = 1, instance: str = "other", lock: str | None = None) -> NodeRow:
    return NodeRow(node, "host", 1, instance, heartbeat, START, lock, {})


def member(locks: FakeLocks | None = None) -> Membership:
    membership = Membership("instance", locks or FakeLocks(), ManualClock(START), LEASE)
    membership.registered(7, 0, LEASE)
    return membership


def test_a_node_whose_heartbeat_stands_still_for_a_lease_is_dead_and_this_node_never_is() -> None:
    membership = member()
    live = [row(7), row(8)]
    assert membership.observe(0, 10, live) == []
    assert not membership.alone()
    assert membership.observe(LEASE + 9, LEASE + 20, live) == []
    assert membership.observe(LEASE + 10, LEASE + 20, live) == [DeadNode(live[1], "its node died")]
    assert membership.observe(LEASE + 11, LEASE + 20, [row(7), row(8, heartbeat=2)]) == []
    assert membership.observe(LEASE + 12, LEASE + 20, [row(7)]) == []
    assert membership.alone()


def test_a_neighbour_whose_lock_is_free_is_dead_at_once_if_the_lock_was_seen_held() -> None:
    locks = FakeLocks()
    locks.held |= {"near"}
    membership = member(locks)
    assert membership.neighbour_check_at() is None
    near, far = row(8, lock="near"), row(9, lock="far")  # "far" was never seen held: it may be on another machine
    assert membership.observe(0, 0, [row(7), near, far]) == []
    assert membership.neighbour_check_at() == 0
    assert not membership.neighbour_has_ended(0)
    locks.held.remove("near")
    assert not membership.neighbour_has_ended(LOCK_CHECK_INTERVAL - 1), "the locks are not checked all the time"
    assert membership.neighbour_has_ended(LOCK_CHECK_INTERVAL)
    assert membership.observe(SECOND, SECOND, [row(7), near, far]) == [DeadNode(near, "its daemon died")]


def test_a_node_that_is_dead_for_both_reasons_is_returned_once() -> None:
    locks = FakeLocks()
    locks.held |= {"near"}
    membership = member(locks)
    near = row(8, lock="near")
    membership.observe(0, 0, [near])
    locks.held.clear()
    assert membership.observe(LEASE, LEASE, [near]) == [DeadNode(near, "its node died")]


def test_earlier_nodes_of_this_instance_are_dead_despite_their_heartbeat() -> None:
    membership = member()
    before = row(6, instance="instance")
    assert membership.predecessors([before, row(7, instance="instance"), row(8)]) == [
        DeadNode(before, "its daemon died")
    ]
    gone = UnregisteredNode(5, -1, 40, "instance")
    assert membership.unregistered_predecessors([gone, UnregisteredNode(4, -1, 40, "other")]) == [gone]


def test_claims_of_an_unregistered_node_are_free_after_a_lease_without_change() -> None:
    membership = member()
    one = UnregisteredNode(5, -1, 40, "other")
    assert membership.observe_unregistered(0, MILLISECOND, [one]) == []
    assert membership.knows_unregistered()
    changed = one._replace(tokens=41)
    assert membership.observe_unregistered(LEASE + SECOND, LEASE + SECOND, [changed]) == []
    assert membership.observe_unregistered(2 * LEASE + SECOND, 2 * LEASE + SECOND, [changed]) == [changed]
    assert membership.observe_unregistered(3 * LEASE, 3 * LEASE, []) == []
    assert not membership.knows_unregistered()


def test_a_new_registration_begins_a_new_lease() -> None:
    membership = member()
    before = membership.lease.deadline()
    membership.registered(8, 5 * SECOND, LEASE)
    assert membership.node == 8
    assert before is not None
    assert membership.lease.deadline() == before + 5 * SECOND
