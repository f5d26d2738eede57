"""Simulations for planted bugs that show rarely: each is arranged so that the bug matters.

At least one in some hundred of these simulations shows the bug. So the search is short, and stays short when the engine
changes and the hints are stale. (jobd without the bug passes each of these simulations.)
"""

from collections.abc import Callable

from jobd.clock import MILLISECOND, SECOND
from jobd.job import Options
from tests.simulation.cluster import Climate, SimCluster

EVER = 5 * SECOND + 1  # a network delay of more than a lease


class Late(SimCluster):
    """Two nodes with many jobs: often, the second one's messages are delayed until it counts as dead."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Climate(nodes=2, equal=True))
        self.meddling = False
        self.settings = self.settings._replace(pools={"default": 1})

    def delay(self, most: int) -> int:
        return most if most == EVER else super().delay(most)

    def _fault(self) -> None:
        if self._quiet:
            return
        self.events.after(6 * SECOND + self.random.randrange(SECOND), self._fault)
        node = self.nodes[1]
        self.trace(f"what node {node.number} sends takes {EVER / SECOND:.0f} s")
        node.line.slow = EVER
        self.events.after(900 * MILLISECOND, lambda: self._mend(node))


class Ranked(SimCluster):
    """One node with two workers for many jobs with priorities; its daemon sometimes dies."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Climate(nodes=1, faults=("crash",)))
        self.meddling, self.ranked = False, True
        self.settings = self.settings._replace(pools={"default": 2})

    def _add_jobs(self) -> None:
        super()._add_jobs()
        self._add(*(self._job(f"crowd{number}", "5s", Options(), self._brief) for number in range(40)))


class Tight(SimCluster):
    """One node with small buffers, and a database that is sometimes unavailable."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Climate(nodes=1, faults=("cut_all",), equal=True))
        self.meddling, self.tight = False, True


def _climate(climate: Climate) -> Callable[[int], SimCluster]:
    return lambda seed: SimCluster(seed, climate._replace(equal=True))


_far = _climate(Climate(nodes=3, faults=("slow", "cut")))  # the network to the database is sometimes bad
CLUSTERS: dict[str, Callable[[int], SimCluster]] = {
    "what is dropped is not said": Tight,
    "a claim takes the lowest priority first": Ranked,
    "the queue gives the lowest priority first": Ranked,
    "nothing overtakes what waits": Ranked,
    "only what is far above overtakes": Ranked,
    "what is below the usual priority is not found": Ranked,
    "the lease counts from the answer": _far,
    "the lease has no margin": _far,
    "a slow answer makes a node dead": _far,
    "a node is buried unconditionally": _far,
    "a buried node claims": Late,
    "nobody looks at locks": _climate(Climate(nodes=3, beside=True, faults=("crash",))),
    "what is over the shares is nobody's": _climate(Climate(nodes=3, faults=("crash",))),
    "what has vanished is given on before it has ended": _climate(
        Climate(nodes=3, faults=("stop",), hands=("tokens at their end",))
    ),
}
