"""Real worker processes, as the daemon sees them."""

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.clock import SECOND, SystemClock
from jobd.engine.spawner import ProcessChild, ProcessSpawner
from jobd.wire import VERSION, Order, decode, encode_order

PATIENCE = 20 * SECOND


@pytest.fixture
def spawner(tmp_path: Path) -> Iterator[ProcessSpawner]:
    (tmp_path / "plugins").mkdir()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    yield ProcessSpawner(str(tmp_path / "plugins"), str(tmp_path), True, os.environ, lock)
    os.close(lock)


def order(serial: int, *command: str) -> bytes:
    return encode_order(Order(serial, "job", 1, None, command, {}, 0, 1, None, 1))


def in_a_run(spawner: ProcessSpawner, command: list[str]) -> ProcessChild:
    """A worker that has begun to run a program and was heard to do so."""
    child = spawner.start()
    select.select([child.line], [], [])
    assert [decode(packet) for packet in child.receive()] == [["ready", VERSION]]
    child.send(order(1, "sh", "-c", "echo begun; exec " + " ".join(command)))
    assert child.flush()
    select.select([child.output], [], [])
    return child


def test_a_worker_whose_lease_is_over_says_so_by_the_way_it_ends(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child.trust_until(SystemClock().monotonic() + SECOND // 5)
    assert child.wait(PATIENCE)
    assert child.reap() == -signal.SIGKILL
    assert child.lapsed


def test_a_worker_that_is_ended_has_not_outlived_its_lease(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child.trust_until(SystemClock().monotonic() + 3_600 * SECOND)
    child.end()
    assert child.wait(PATIENCE)
    assert child.reap() == -signal.SIGKILL
    assert not child.lapsed


def test_a_worker_that_the_daemon_ends_after_its_lease_was_over_is_known_to_have_outlived_it(
    spawner: ProcessSpawner,
) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child.trust_until(1)
    assert child.wait(PATIENCE)
    child.end()
    child.reap()
    assert child.lapsed


def test_a_worker_whose_task_dies_by_itself_has_not_outlived_its_lease(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sh", "-c", "'kill -9 $PPID'"])
    assert child.wait(PATIENCE)
    assert child.reap() == -signal.SIGKILL
    assert not child.lapsed
