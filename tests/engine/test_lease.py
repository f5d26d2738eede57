"""When a node may run jobs, and when it may take over claims: each rule alone, and both together."""

from jobd.engine.lease import Lease, Neighbours, Watch

LEASE = 30_000_000


def test_a_lease_is_counted_from_when_the_renewal_was_sent() -> None:
    lease = Lease(LEASE)
    lease.renewed(1_000)
    deadline = lease.deadline()
    assert deadline is not None
    assert deadline < 1_000 + LEASE
    assert not lease.expired(deadline - 1)
    assert lease.expired(deadline)


def test_an_answer_that_comes_late_does_not_shorten_a_newer_lease() -> None:
    lease = Lease(LEASE)
    lease.renewed(9_000)
    lease.renewed(5_000)
    assert lease.deadline() == 9_000 + LEASE - LEASE // 6


def test_without_a_renewal_nothing_may_run() -> None:
    assert Lease(LEASE).expired(0)


def test_two_renewals_may_fail_before_the_lease_is_over() -> None:
    lease = Lease(LEASE)
    lease.renewed(0)
    deadline = lease.deadline()
    assert deadline is not None
    assert 2 * lease.renewal_due() < deadline


def test_a_node_is_dead_when_its_heartbeat_has_not_changed_for_a_whole_lease() -> None:
    watch = Watch(LEASE)
    assert watch.observe(0, 0, [(7, 1)]) == []
    assert watch.observe(LEASE - 1, LEASE - 1, [(7, 1)]) == []
    assert watch.observe(LEASE, LEASE, [(7, 1)]) == [7]


def test_a_heartbeat_that_moves_starts_the_count_again() -> None:
    watch = Watch(LEASE)
    watch.observe(0, 0, [(7, 1)])
    watch.observe(LEASE - 1, LEASE - 1, [(7, 2)])
    assert watch.observe(2 * LEASE - 2, 2 * LEASE - 2, [(7, 2)]) == []
    assert watch.observe(2 * LEASE - 1, 2 * LEASE - 1, [(7, 2)]) == [7]


def test_a_node_that_left_is_forgotten() -> None:
    watch = Watch(LEASE)
    watch.observe(0, 0, [(7, 1)])
    assert not watch.is_empty()
    watch.observe(1, 1, [])
    assert watch.is_empty()
    assert watch.observe(LEASE + 1, LEASE + 1, [(7, 1)]) == []


def test_no_node_takes_over_before_the_owner_has_stopped_trusting_itself() -> None:
    """The owner's renewal takes effect between sending and answer; the watcher sees it at the earliest at sending."""
    lease, watch = Lease(LEASE), Watch(LEASE)
    sent, answered = 1_000_000, 9_000_000
    lease.renewed(sent)
    watch.observe(sent, sent, [(1, 5)])  # the earliest moment at which anybody can see the new counter
    deadline = lease.deadline()
    assert deadline is not None
    assert watch.observe(deadline, deadline, [(1, 5)]) == []
    assert answered < deadline


def test_a_node_that_is_alone_extends_its_own_lease_without_the_database() -> None:
    lease = Lease(LEASE)
    lease.renewed(0)
    first = lease.prolonged(0, 0)
    assert first == lease.deadline()
    assert lease.prolonged(lease.prolong_at(first) - 1, first) == first
    second = lease.prolonged(lease.prolong_at(first), first)
    assert second > first
    assert lease.prolonged(lease.prolong_at(first) + 1, second) == second


def test_a_frozen_node_that_thought_it_was_alone_is_not_taken_over_while_its_runs_go_on() -> None:
    """The other node comes right after the last renewal, and the daemon freezes before it has seen that node."""
    lease, watch = Lease(LEASE), Watch(LEASE)
    lease.renewed(0)
    trusted = lease.prolonged(0, 0)
    watch.observe(1, 1, [(1, 5)])
    assert watch.observe(trusted, trusted, [(1, 5)]) == []


def test_a_slow_answer_makes_no_node_dead() -> None:
    """Found by the simulator: an answer that took longer than a lease made every node look dead at the next one."""
    watch = Watch(LEASE)
    assert watch.observe(0, 2 * LEASE, [(7, 1)]) == []
    assert watch.observe(2 * LEASE + 1, 2 * LEASE + 2, [(7, 1)]) == []
    assert watch.observe(3 * LEASE - 1, 4 * LEASE, [(7, 1)]) == []
    assert watch.observe(3 * LEASE, 3 * LEASE + 1, [(7, 1)]) == [7]


def test_a_neighbour_has_ended_when_its_lock_is_free_that_was_held() -> None:
    held = {"seven", "eight"}
    neighbours = Neighbours(held.__contains__)
    assert neighbours.observe({7: "seven", 8: "eight"}) == []
    held.remove("seven")
    assert neighbours.ended() == [7]
    assert neighbours.observe({7: "seven", 8: "eight"}) == [7]
    assert neighbours.observe({8: "eight"}) == []


def test_a_lock_that_was_never_held_here_proves_nothing() -> None:
    neighbours = Neighbours(lambda lock: False)
    assert neighbours.observe({7: "elsewhere", 8: None}) == []
    assert not neighbours.any()
