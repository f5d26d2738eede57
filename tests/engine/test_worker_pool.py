"""The workers of a pool."""

from typing import Any

from jobd.engine.budget import Budget
from jobd.engine.worker_pool import WorkerPool
from tests.engine.harness import FakeSpawner, ManualClock


class Show:
    """What the stage of a worker pool needs of its world."""

    def __init__(self) -> None:
        self.clock = ManualClock(0)
        self.fake_workers: list[Any] = []


def test_the_keeper_can_ask_for_the_load_while_workers_come_and_go() -> None:
    show = Show()
    workers = WorkerPool(3, 1024, FakeSpawner(show), show.clock, Budget())
    for _ in range(3):
        workers.spawn()

    def load_as_one_comes() -> int:
        workers.spawn()
        return 1

    for worker in workers:
        worker.load = load_as_one_comes  # type: ignore[method-assign]
    assert workers.load() == 3
