"""Simulations for planted bugs that show rarely: each is arranged so that the bug matters.

At least one in some hundred of these simulations shows the bug. So the search is short, and stays short when the engine
changes and the hints are stale. (jobd without the bug passes each of these simulations.)
"""

from collections.abc import Callable

from jobd.clock import MILLISECOND, SECOND
from jobd.job import Options
from tests.simulation.cluster import Conditions, SimCluster

LONG_DELAY = 5 * SECOND + 1  # a network delay of more than a lease


class LateMessages(SimCluster):
    """Two nodes with many jobs: often, the second one's messages are delayed until it counts as dead."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Conditions(nodes=2, equal=True))
        self.edits_tables = False
        self.settings = self.settings._replace(pools={"default": 1})

    def delay(self, most: int) -> int:
        return most if most == LONG_DELAY else super().delay(most)

    def _fault(self) -> None:
        if self._quiet:
            return
        self.events.after(6 * SECOND + self.random.randrange(SECOND), self._fault)
        node = self.nodes[1]
        self.trace(f"what node {node.number} sends takes {LONG_DELAY / SECOND:.0f} s")
        node.line.slow = LONG_DELAY
        self.events.after(900 * MILLISECOND, lambda: self._mend(node))


class WithPriorities(SimCluster):
    """One node with two workers for many jobs with priorities; its daemon sometimes dies."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Conditions(nodes=1, faults=("crash",)))
        self.edits_tables, self.with_priorities = False, True
        self.settings = self.settings._replace(pools={"default": 2})

    def _add_jobs(self) -> None:
        super()._add_jobs()
        self._add(*(self._job(f"crowd{number}", "5s", Options(), self._brief) for number in range(40)))


class SmallBuffers(SimCluster):
    """One node with small buffers, and a database that is sometimes unavailable."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Conditions(nodes=1, faults=("cut_all",), equal=True))
        self.edits_tables, self.small_buffers = False, True


def _under(conditions: Conditions) -> Callable[[int], SimCluster]:
    return lambda seed: SimCluster(seed, conditions._replace(equal=True))


_bad_network = _under(Conditions(nodes=3, faults=("slow", "cut")))  # the network to the database is sometimes bad
CLUSTERS: dict[str, Callable[[int], SimCluster]] = {
    "dropped output is not reported": SmallBuffers,
    "a claim takes the lowest priority first": WithPriorities,
    "the queue returns the lowest priority first": WithPriorities,
    "no job overtakes a waiting one": WithPriorities,
    "only a much higher priority overtakes": WithPriorities,
    "priorities below 0 are not found": WithPriorities,
    "the lease counts from the arrival of the answer": _bad_network,
    "the lease has no margin": _bad_network,
    "a slow answer makes a node dead": _bad_network,
    "a node is declared dead unconditionally": _bad_network,
    "a node that was declared dead claims": LateMessages,
    "no node checks locks": _under(Conditions(nodes=3, same_machine=True, faults=("crash",))),
    "no node claims the rest above the shares": _under(Conditions(nodes=3, faults=("crash",))),
    "a vanished claim is released before its run has ended": _under(
        Conditions(nodes=3, faults=("stop",), edits=("tokens at their end",))
    ),
}
