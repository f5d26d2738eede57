"""When a node may run the jobs that it has claimed, and when it may take over those of another: a pure state machine.

A claim is valid while its node's heartbeat advances. Two rules together keep a job from running twice:

    own lease     A renewal is trusted for `lease` less a margin, counted from the moment when it was *sent*, because
                  the answer may have taken long. After that the node kills its runs, before others may take over.
    other node    A node may take over another one's claims only after it has seen that heartbeat counter stand still
                  for a whole lease on its own monotonic clock. No wall clock is involved.

For nodes on one machine there is a third rule, which needs no waiting:

    neighbour     A node may take over at once when a neighbour's lock (jobd.engine.nodelock) is free that it has seen
                  held: then the daemon and all its runs have ended. A lock never seen held proves nothing, because its
                  node may be on another machine. A frozen daemon still holds its lock, so its lease decides.
"""

from collections.abc import Callable, Iterable, Mapping

MARGIN_SHARE = 6  # the margin is a sixth of the lease: enough time to kill the runs and to reap their processes
RENEWALS = 3  # per lease: at 1/3 and 2/3 of it; the deadline comes at 5/6


class Lease:
    """This node's own lease. `length` and all times are µs, times are monotonic."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._sent: int | None = None

    def renewed(self, sent: int) -> None:
        """Note that a renewal sent at `sent` was confirmed."""
        self._sent = sent if self._sent is None else max(self._sent, sent)

    def deadline(self) -> int | None:
        """The time until which runs may continue; None before the first renewal."""
        return None if self._sent is None else self._sent + self.length - self.length // MARGIN_SHARE

    def prolonged(self, now: int, before: int) -> int:
        """The deadline of runs on the only node, even without the database: `before`, or later if extension is due.

        A frozen daemon does not extend this deadline. So its runs end even if a node that joined while it was frozen,
        and that it has never seen, has taken over.
        """
        deadline = max(before, self.deadline() or 0)
        if now < self.prolong_at(deadline):
            return deadline
        return now + self.length - self.length // MARGIN_SHARE

    def prolong_at(self, deadline: int) -> int:
        """The time at which a deadline is to be extended."""
        return deadline - self.length // RENEWALS

    def renewal_due(self) -> int:
        """The time of the next renewal; 0 before the first one."""
        return 0 if self._sent is None else self._sent + self.length // RENEWALS

    def expired(self, now: int) -> bool:
        """Whether this node may no longer trust its claims."""
        deadline = self.deadline()
        return deadline is None or now >= deadline


class Watch:
    """Values that this process has seen, by key, and since when: the heartbeats of nodes, for example.

    It reports a key whose value has not changed for a whole lease. `lease` is in µs.
    """

    def __init__(self, lease: int) -> None:
        self._lease = lease
        self._seen: dict[int, tuple[object, int]] = {}  # key → (value, when it was first seen)

    def observe(self, asked: int, answered: int, values: Iterable[tuple[int, object]]) -> list[int]:
        """Note all current (key, value) pairs. Returns the keys whose value has not changed for a whole lease.

        The values were read at some moment between `asked` and `answered` (monotonic µs), which are far apart if the
        database is slow. So a new value counts from the later moment, and it stood still until the earlier one.
        """
        seen = {}
        for key, value in values:
            before = self._seen.get(key)
            seen[key] = before if before is not None and before[0] == value else (value, answered)
        self._seen = seen
        return [key for key, (_, since) in seen.items() if asked - since >= self._lease]

    def is_empty(self) -> bool:
        """Whether the last observation contained nothing."""
        return not self._seen


class Neighbours:
    """The other nodes on this machine, recognised by a lock that this node has seen held."""

    def __init__(self, is_held: Callable[[str], bool]) -> None:
        self._is_held = is_held
        self._seen: dict[int, str] = {}  # node → its lock

    def observe(self, locks: Mapping[int, str | None]) -> list[int]:
        """Note the lock names of the live nodes, by id. Returns the ids of neighbours that have ended."""
        self._seen = {
            node: lock for node, lock in locks.items() if lock and (node in self._seen or self._is_held(lock))
        }
        return self.ended()

    def ended(self) -> list[int]:
        """The ids of the neighbours whose lock is no longer held, so that their daemon has ended."""
        return [node for node, lock in self._seen.items() if not self._is_held(lock)]

    def any(self) -> bool:
        """Whether this machine has other nodes."""
        return bool(self._seen)
