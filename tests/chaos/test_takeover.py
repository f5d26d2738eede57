"""A takeover with the default lease and poll: real daemons, a real server."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.checker import Execution, executions
from tests.installation import Installation
from tests.processes import family
from tests.servers import Server

PROMISED = 33.0  # seconds: the lease, two polls and a second
NEXT_DOOR = 2.0  # seconds, where the machine itself tells that a daemon has died
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


@pytest.fixture
def installations(tmp_path: Path, mariadb: Server) -> Iterator[list[Installation]]:
    canary = (Path(__file__).parent / "canary.py").read_text()
    database = mariadb.new_database()
    installations = [Installation(tmp_path / f"home{number}", database, canary) for number in range(2)]
    yield installations
    # What is frozen does not end with its daemon.
    started = [pid for installation in installations for daemon in installation.processes for pid in family(daemon.pid)]
    for installation in installations:
        installation.close()
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill(daemon: int) -> None:
    os.kill(daemon, signal.SIGKILL)


def freeze(daemon: int) -> None:
    """As when its machine is gone: nothing tells that it has died, and it does nothing any more."""
    for pid in family(daemon):
        os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize(("how", "promised"), [(freeze, PROMISED), (kill, NEXT_DOOR)])
def test_a_dead_daemons_run_begins_elsewhere_within_the_default_lease_or_at_once_next_door(
    installations: list[Installation], how: Callable[[int], None], promised: float
) -> None:
    for installation in installations:
        installation.foreground()
    installations[0].fine("add", "lasting", "--once", "--arg", 'seconds="120"')
    first = awaited(installations, lambda runs: runs[:1], 20)
    time.sleep(2)
    how(installations[first.installation].processes[-1].pid)
    killed = time.monotonic()
    second = awaited(installations, lambda runs: runs[1:], promised + 10)
    assert second.installation != first.installation
    print(f"taken over after {second.began - killed:.1f} s")
    assert second.began - killed <= promised
    history = installations[second.installation].history("lasting")
    assert [run["outcome"] for run in history] == ["lost"]


def awaited(
    installations: list[Installation], choose: Callable[[list[Execution]], list[Execution]], within: float
) -> Execution:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := choose(executions([installation.folder / "canary.log" for installation in installations])):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no run within {within} s")
