"""When may this node run what it has claimed, and when may it take over what another has: a pure state machine.

A claim is good while its node's heartbeat is. The two rules, which only together keep a job from running twice:

    my own    From the moment a renewal was *sent* I may trust it for `lease` less a margin. Past that my own runs are
              killed, before anybody may take them over. (Not from the moment of the answer: it may have been long
              on its way.)
    another's I may take over only after I have seen its heartbeat counter stand still for a whole lease on my own
              monotonic clock. No wall clock of any machine decides.

Where node and node are on one machine there is a third one, which needs no waiting:

    a neighbour's  I may take over as soon as its lock (jobd.engine.nodelock) is free that I have seen held: then its
              daemon has ended, and so have all that it ran. One that I have never seen held says nothing: its node may
              be on another machine. A daemon that is frozen holds its lock, so it has its lease.
"""

from collections.abc import Callable, Iterable, Mapping

MARGIN_SHARE = 6  # the margin is a sixth of the lease: time enough to kill and to see the dead reaped
RENEWALS = 3  # in a lease, so that two may fail


class Lease:
    """This node's own lease. Moments are monotonic microseconds."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._sent: int | None = None

    def renewed(self, sent: int) -> None:
        """A renewal that was sent at `sent` has been confirmed."""
        self._sent = sent if self._sent is None else max(self._sent, sent)

    def deadline(self) -> int | None:
        """Until when runs may go on; None before the first renewal."""
        return None if self._sent is None else self._sent + self.length - self.length // MARGIN_SHARE

    def prolonged(self, now: int, before: int) -> int:
        """Until when runs may go on on a node that is alone, database or no: `before`, or longer when it is time.

        Nobody prolongs this for a daemon that is frozen, so that its runs end although the node that has come to share
        its work meanwhile, and takes it for dead, is one that it has not heard of.
        """
        deadline = max(before, self.deadline() or 0)
        if now < self.prolong_at(deadline):
            return deadline
        return now + self.length - self.length // MARGIN_SHARE

    def prolong_at(self, deadline: int) -> int:
        """When it is time to prolong what ends at `deadline`."""
        return deadline - self.length // RENEWALS

    def renewal_due(self) -> int:
        """When to renew next."""
        return 0 if self._sent is None else self._sent + self.length // RENEWALS

    def expired(self, now: int) -> bool:
        """Whether this node's claims may no longer be trusted."""
        deadline = self.deadline()
        return deadline is None or now >= deadline


class Watch:
    """What this node has seen of the others' heartbeats."""

    def __init__(self, lease: int) -> None:
        self._lease = lease
        self._seen: dict[int, tuple[object, int]] = {}  # node → (counter, when it was first seen at that value)

    def observe(self, asked: int, answered: int, heartbeats: Iterable[tuple[int, object]]) -> list[int]:
        """Note the live nodes' (id, counter); the ids of those that have stood still for a whole lease.

        The counters were read at some moment between `asked` and `answered`, which a slow database may put far apart.
        So what is new counts from the later moment, and has stood still until the earlier one.
        """
        seen = {}
        for node, counter in heartbeats:
            before = self._seen.get(node)
            seen[node] = before if before is not None and before[0] == counter else (counter, answered)
        self._seen = seen
        return [node for node, (_, since) in seen.items() if asked - since >= self._lease]

    def alone(self) -> bool:
        """Whether no other node was registered when last looked."""
        return not self._seen


class Neighbours:
    """The other nodes on this machine: those whose locks this node has seen held."""

    def __init__(self, is_held: Callable[[str], bool]) -> None:
        self._is_held = is_held
        self._seen: dict[int, str] = {}  # node → its lock

    def observe(self, locks: Mapping[int, str | None]) -> list[int]:
        """Note the live nodes' locks; the ids of those that have ended."""
        self._seen = {
            node: lock for node, lock in locks.items() if lock and (node in self._seen or self._is_held(lock))
        }
        return self.ended()

    def ended(self) -> list[int]:
        """The ids of those, of the nodes last observed, that have ended."""
        return [node for node, lock in self._seen.items() if not self._is_held(lock)]

    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._seen)
