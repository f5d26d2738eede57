"""A daemon that dies at every point between two effects, one after the other; each time what follows must be right.

The points are counted while a fixed scenario runs (statements, commits, orders to workers, marks, the spool), so a new
step is a new point by itself, and is died at in the same build.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from jobd.clock import MILLISECOND, SECOND
from jobd.job import Options
from jobd.wire import Order
from tests.simulation.network import Cut
from tests.simulation.node import EPOCH, Died, Node
from tests.simulation.puppets import Act
from tests.simulation.world import World

TROUBLE = 12 * SECOND
REST = 20 * SECOND
KNOWN = {  # a new kind of effect is first thought about, then named here
    "BEGIN IMMEDIATE", "COMMIT", "committed", "DELETE FROM job_change", 'INSERT INTO "run"', 'INSERT INTO "schedule"',
    "INSERT INTO node", "SELECT", "UPDATE job SET", "UPDATE node SET", "UPDATE schedule SET", "clear the spool",
    "marked",    "order", "ordered", "spawn", "spool", "spooled",
}  # fmt: skip


class Scenario(World):
    """One node; jobs that succeed, fail and retry, wait, last and are guarded; a database that is away once."""

    def __init__(self, die_at: int, how: str) -> None:
        super().__init__(1)
        self.seen: list[str] = []
        self.nodes = [Node(self, 1)]
        self.nodes[0].on_effect = self._effect
        self.settings = self.settings._replace(on_db_loss="finish")
        self._die_at, self._how = die_at, how

    def run(self) -> None:
        self._begin()
        node = self.nodes[0]
        node.start()
        self.events.at(2 * SECOND, lambda: self._do("set", "edited", EPOCH + self.events.now))
        self.events.at(4 * SECOND, lambda: self._cut(node))
        self.events.run(TROUBLE)
        self._heal()
        self.events.run(TROUBLE + REST)
        self.checks.overlaps()
        self.checks.at_rest()

    def _cut(self, node: Node) -> None:
        node.line.cut = True
        self.events.after(6 * SECOND, lambda: self._mend(node))

    def _begin(self) -> None:
        self.witnesses["witness"] = SECOND
        self.once += ["flaky", "brief"]
        self.edited.add("edited")
        self._add(
            self._job("edited", "2s", Options(), self._takes(20 * MILLISECOND)),
            self._job("witness", "1s", Options(catch_up="all"), self._takes(20 * MILLISECOND)),
            self._job("flaky", None, Options(backoff=SECOND), self._fails_twice, runonce=True, retries=2),
            self._job("careful", None, Options(on_lost="fail"), self._takes(SECOND), runonce=True),
            self._job("brief", None, Options(), self._takes(MILLISECOND), runonce=True),
        )

    def _takes(self, duration: int) -> Callable[[Order], Act]:
        return lambda order: Act(duration, "succeeded")

    def _fails_twice(self, order: Order) -> Act:
        return Act(10 * MILLISECOND, "failed" if order.attempt <= 2 else "succeeded")

    def _effect(self, name: str) -> None:
        if self.events.now > TROUBLE:
            return
        self.seen.append("SELECT" if name.startswith("SELECT") else name)
        if len(self.seen) != self._die_at:
            return
        self.say(f"{self._how} at point {self._die_at}: {name}")
        if self._how == "kill":
            raise Died
        if self._how == "cut":
            raise Cut
        self.nodes[0].stop(now=self._how == "stop now")


@cache
def points() -> list[str]:
    """The points of the undisturbed scenario, in order."""
    scenario = Scenario(0, "kill")
    scenario.run()
    return scenario.seen


def test_every_kind_of_effect_is_known() -> None:
    assert set(points()) == KNOWN


@pytest.mark.parametrize("how", ["kill", "cut", "stop", "stop now"])
@pytest.mark.parametrize("part", range(8))
def test_whatever_happens_at_any_point_what_follows_is_right(part: int, how: str) -> None:
    tried = Counter[str]()
    for number, name in enumerate(points(), start=1):
        database = name.isupper() or name.split()[0].isupper() or name == "committed"
        if number % 8 != part or (how == "cut" and not database):
            continue
        tried[name] += 1
        scenario = Scenario(number, how)
        try:
            scenario.run()
        except BaseException:
            print("\n".join(scenario.story[-50:]), f"\n{how} at point {number}: {name}")
            raise
    assert tried
