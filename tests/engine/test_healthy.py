"""The watchdog is fed while the keeper, in its real thread, makes progress."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobd.clock import MINUTE, SECOND, SystemClock
from jobd.engine.engine import KEEPER_TIMEOUT, Engine
from jobd.engine.messages import LeaseRenewed, OtherNodes, SignOff
from jobd.engine.nodelock import NodeLock
from jobd.errors import DatabaseUnavailable
from jobd.store.store import Store
from jobd.store.url import Target
from tests.engine.harness import FakeSpawner, settings
from tests.installation import until

POLL = 5 * MINUTE


class Ahead(SystemClock):
    """The clocks of this machine. The monotonic one can be set forward."""

    def __init__(self) -> None:
        self.by = 0

    def monotonic(self) -> int:
        return super().monotonic() + self.by


class Rig:
    """An engine with a keeper in a thread, and what is done instead of each of its transactions."""

    def __init__(self, folder: Path) -> None:
        self.clock = Ahead()
        self.instead: Callable[[], None] = lambda: None
        self.gate = threading.Event()
        self.hangs = False

        def disturbed(_: Any) -> Store:
            store = Store(Target("sqlite", str(folder / "jobd.db")))
            store._database.connection().execute("PRAGMA synchronous = OFF")  # the disk is not what is looked at
            transact = store.transact

            def disturbed_transact(work: Callable[[Any], Any]) -> Any:
                self.instead()
                return transact(work)

            store.transact = disturbed_transact  # type: ignore[method-assign]
            return store

        self.lock = NodeLock()
        spawner = FakeSpawner(SimpleNamespace(fake_workers=[], clock=self.clock))
        self.engine = Engine(
            settings(folder, POLL),
            "instance",
            lambda settings: spawner,
            self.lock,
            self.clock,
            store=disturbed,
        )
        self.engine.start()

    def look(self) -> None:
        """Give the keeper something to do."""
        self.engine.refresh(lambda trouble: None)

    def hang(self) -> None:
        self.hangs = True
        self.gate.wait(60)

    def fail(self) -> None:
        raise DatabaseUnavailable("it is away")

    def break_down(self) -> None:
        raise RuntimeError("a bug")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.instead = lambda: None
    rig.gate.set()
    rig.engine.keeper.inbox.put(SignOff())
    rig.engine._thread.join(20)
    rig.engine.close()
    rig.lock._held.close()


def test_a_keeper_that_waits_for_its_poll_is_healthy(rig: Rig) -> None:
    rig.clock.by = POLL
    assert rig.engine.healthy()


def test_a_keeper_that_hangs_is_unhealthy_until_it_goes_on(rig: Rig) -> None:
    rig.instead = rig.hang
    rig.look()
    until(lambda: rig.hangs)
    assert rig.engine.healthy()
    rig.clock.by = POLL + KEEPER_TIMEOUT + SECOND
    assert not rig.engine.healthy()
    rig.instead = lambda: None
    rig.gate.set()
    until(rig.engine.healthy)


def test_an_unavailable_database_is_not_unhealthy(rig: Rig) -> None:
    rig.instead = rig.fail
    rig.look()
    until(lambda: rig.engine.keeper.outage.problem)
    rig.clock.by = POLL + KEEPER_TIMEOUT + SECOND
    until(rig.engine.healthy)


def test_a_keeper_that_may_leave_does_so_at_once(rig: Rig) -> None:
    keeper = rig.engine.keeper
    until(lambda: not keeper._full_passes and keeper._timer.requested_at is None, "the end of the start")
    keeper._pruner.next_at = keeper._schedule_scan.next_at = 2**62
    keeper.inbox.put(SignOff())
    until(lambda: not rig.engine._thread.is_alive(), "its end")  # not after the poll, which is minutes away


def test_a_dead_keeper_is_unhealthy(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.instead = rig.break_down
    rig.look()
    until(lambda: not rig.engine.healthy())
    with pytest.raises(RuntimeError, match="a bug"):
        rig.engine.step(rig.engine.readers())
    rig.engine.close()
    rig.lock._held.close()


def test_a_renewal_that_has_arrived_counts_before_the_end_of_the_lease_does(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptors were found ready before the renewal came."""
    engine = rig.engine
    abandoned: list[str] = []
    monkeypatch.setattr(engine.pools, "abandon_all", abandoned.append)
    rig.instead = rig.hang
    rig.look()
    until(lambda: rig.hangs)
    engine._inbox.put(OtherNodes(True))
    engine.step(engine.readers())
    assert not abandoned
    length = engine._lease.length
    rig.clock.by += length
    engine._inbox.put(LeaseRenewed(rig.clock.monotonic(), length))
    engine.step([])
    assert not abandoned
    rig.clock.by += length
    engine.step([])
    assert len(abandoned) == 1
