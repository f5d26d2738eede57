"""The workers of a pool."""

from typing import Any

from jobd.engine.buffers import Budget
from jobd.engine.crew import Crew
from tests.engine.world import HandClock, Stage


class Show:
    """What the stage of a crew needs of its world."""

    def __init__(self) -> None:
        self.clock = HandClock(0)
        self.puppets: list[Any] = []


def test_the_keeper_can_ask_for_the_load_while_workers_come_and_go() -> None:
    show = Show()
    crew = Crew(3, 1024, Stage(show), show.clock, Budget())
    for _ in range(3):
        crew.spawn()

    def load_as_one_comes() -> int:
        crew.spawn()
        return 1

    for worker in crew:
        worker.load = load_as_one_comes  # type: ignore[method-assign]
    assert crew.load() == 3
