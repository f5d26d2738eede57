"""How many claims a pool can use, and how many of them the keeper's next cycle may add: pure arithmetic."""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from jobd.engine.claims import HeldClaims

MAX_CLAIMS = 4_000  # per pool, while no other node exists
MAX_SHARED_CLAIMS = 500  # per pool, while other nodes exist, so that work stays for all of them until it is finished


class Demand(NamedTuple):
    """How many claims a pool can use: at most `most` in all, and at most `now` more of jobs that are already ready.

    It can also use `overtaking` claims of ready jobs with a priority above `priority`, because they start before jobs
    that wait.
    """

    most: int
    now: int
    overtaking: int = 0
    priority: int = 0

    def bounded(self, alone: bool) -> "Demand":
        """This demand, within the limit on the claims that a node holds; `alone`: no other node exists."""
        most = min(self.most, MAX_CLAIMS if alone else MAX_SHARED_CLAIMS)
        return self._replace(most=most, now=min(self.now, most))

    def room(self, holding: int) -> int:
        """How many claims to add to the `holding` ones: none while these are more than half of what can be used.

        A few large batches of claims cost less than many small ones.
        """
        return self.most - holding if 2 * holding <= self.most else 0


class Capacity(NamedTuple):
    """How many claims a pool can take: `room`, and at most `now` of ready jobs while other nodes serve the pool.

    The pool held `before` claims when the cycle began, and holds `holding` after the releases of this cycle. Even
    without `room` it can take `overtaking` ready jobs with a priority above `priority`.
    """

    room: int
    now: int
    holding: int
    before: int
    overtaking: int = 0
    priority: int = 0


NO_CAPACITY = Capacity(0, 0, 0, 0)


def capacities(
    demands: Mapping[str, Callable[[int], Demand]],
    horizon: int,
    held: HeldClaims,
    released: Collection[int],
    alone: bool,
) -> dict[str, Capacity]:
    """The capacity of each pool in a cycle that releases the `released` jobs of the `held` ones.

    `demands` and `horizon`: see jobd.engine.keeper. `alone`: no other node exists.
    """
    found = {}
    for pool, demand in demands.items():
        before = held.count(pool)
        holding = before - held.count_of(released, pool)
        wanted = demand(horizon).bounded(alone)
        found[pool] = Capacity(wanted.room(holding), wanted.now, holding, before, wanted.overtaking, wanted.priority)
    return found
