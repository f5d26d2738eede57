"""Real worker processes, as the daemon sees them."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobd.clock import SECOND, SystemClock
from jobd.engine.spawner import ProcessChild, ProcessSpawner
from jobd.plugins.snapshot import Snapshot
from jobd.ring import SLOTS
from jobd.wire import VERSION, Order, WireError, decode, encode_order, end_mark
from tests.installation import until

PATIENCE = 20 * SECOND


@pytest.fixture
def spawner(tmp_path: Path) -> Iterator[ProcessSpawner]:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    yield ProcessSpawner(Snapshot(str(plugins), str(plugins)), str(tmp_path), True, os.environ, [lock])
    os.close(lock)


def order(serial: int, *command: str) -> bytes:
    return encode_order(Order(serial, "job", 1, None, command, {}, 0, 1, None, 1))


def in_a_run(spawner: ProcessSpawner, command: list[str]) -> ProcessChild:
    """A worker that has started a program and has reported it."""
    child = spawner.start()
    select.select([child.messages], [], [])
    (said,) = child.receive()
    ready, version, secret = decode(said)
    assert (ready, version) == ("ready", VERSION)
    assert child.read_output() == end_mark(secret)
    child.send(order(1, "sh", "-c", "echo begun; exec " + " ".join(command)))
    assert child.flush()
    select.select([child.output], [], [])
    return child


def test_a_worker_that_its_guardian_killed_at_the_end_of_the_lease_is_recognized(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child.trust_until(SystemClock().monotonic() + SECOND // 5)
    assert child.wait(PATIENCE)
    assert child.reap() == -signal.SIGKILL
    assert child.lease_expired


def test_a_worker_that_is_ended_has_not_outlived_its_lease(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child.trust_until(SystemClock().monotonic() + 3_600 * SECOND)
    child.end()
    assert child.wait(PATIENCE)
    assert child.reap() == -signal.SIGKILL
    assert not child.lease_expired


def test_a_worker_that_the_daemon_ends_after_its_lease_was_over_is_known_to_have_outlived_it(
    spawner: ProcessSpawner,
) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child.trust_until(1)
    assert child.wait(PATIENCE)
    child.end()
    child.reap()
    assert child.lease_expired


def test_a_worker_whose_task_dies_by_itself_has_not_outlived_its_lease(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sh", "-c", "'kill -9 $PPID'"])
    assert child.wait(PATIENCE)
    assert child.reap() == -signal.SIGKILL
    assert not child.lease_expired


def test_each_of_many_orders_is_run_in_order_or_revoked_and_its_slot_is_reused(
    spawner: ProcessSpawner, tmp_path: Path
) -> None:
    (tmp_path / "plugins" / "mark.py").write_text(
        "import jobd, os, time\n@jobd.task\ndef mark(path, waits=False):\n"
        "    with open(path, 'a') as file: print(jobd.current_run().run, file=file)\n"
        "    while waits and not os.path.exists(path + '.go'): time.sleep(0.01)\n"
    )
    child = spawner.start()
    select.select([child.messages], [], [])
    child.receive()
    ran, reported = [], 0

    def send(numbers: range, waits: bool = False) -> None:
        for number in numbers:
            args = {"path": str(tmp_path / "ran"), "waits": waits}
            child.send(encode_order(Order(number, "job", number, "mark", None, args, 0, 1, None, 1)))

    def hear(count: int) -> None:
        nonlocal reported
        while reported < count:
            assert select.select([child.messages], [], [], 20)[0]
            for packet in child.receive():
                ran.append(decode(packet)[1])
                reported += 1

    for first in range(0, 10 * SLOTS, SLOTS):  # so that all places are used, many times
        send(range(first, first + SLOTS))
        assert child.flush()
        hear(first + SLOTS)
    total = 10 * SLOTS
    send(range(total, total + 1), waits=True)
    assert child.flush()
    send(range(total + 1, total + 10))
    assert child.flush()
    send(range(total + 10, total + 12))  # not let out yet
    until(lambda: (tmp_path / "ran").read_text().count("\n") > total, "the slow run")
    assert child.revoke() == 11
    (tmp_path / "ran.go").touch()
    send(range(total + 20, total + 23))
    assert child.flush()
    hear(total + 4)
    expected = [*range(total + 1), *range(total + 20, total + 23)]
    assert ran == expected
    assert [int(line) for line in (tmp_path / "ran").read_text().split()] == expected
    child.end()
    assert child.wait(PATIENCE)
    child.reap()


def test_orders_that_a_worker_with_a_closed_socket_has_not_read_are_returned(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child._theirs.shutdown(socket.SHUT_RD)  # as a task of it might
    child.send(order(2, "true"))
    child.send(order(3, "true"))
    assert not child.flush()
    assert child.revoke() == 2
    assert child.revoke() == 0
    child.end()
    assert child.wait(PATIENCE)
    child.reap()


def test_an_impossible_message_of_a_worker_is_invalid_and_no_crash(spawner: ProcessSpawner) -> None:
    child = in_a_run(spawner, ["sleep", "60"])
    child._theirs.send(b"...")
    assert child.receive() == [b"", b"", b""]
    child._answers._memory[child._answers._start :] = b"\xff" * (len(child._answers._memory) - child._answers._start)
    child._theirs.send(b".")
    assert child.receive() == [b""], "longer than any packet can be"
    child._theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(WireError, match="closed its socket"):
        child.receive()
    child.end()
    assert child.wait(PATIENCE)
    child.reap()
