"""Causes faults of daemons, the database server and the network, and repairs them at the end.

Only processes that the run itself has started are touched.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

from tests.chaos.checker import Freeze
from tests.chaos.cluster import Cluster, start
from tests.installation import Installation
from tests.processes import children, family
from tests.servers import Server


class Faults:
    """Breaks one thing after the other for a while: an installation has a disk, a way to the database, a clock."""

    def __init__(self, seed: int, cluster: Cluster, immortal: int | None = None) -> None:
        self.freezes: list[Freeze] = []
        self.done: list[str] = []
        self.wrong: list[str] = []  # daemons that ended although nobody had ended them
        self._random = random.Random(seed)
        self._cluster = cluster
        self._immortal = immortal  # the daemon that is neither killed nor stopped
        self._installations, self._proxies, self._server = cluster.installations, cluster.proxies, cluster.server
        self._faults: list[Callable[[], None]] = [self._kill, self._kill, self._kill_alone, self._stop]
        self._faults += [self._freeze, self._freeze_all]
        if cluster.server is not None:
            self._faults += [self._cut, self._hold, self._delay, self._mute, self._kill_server, self._freeze_server]
        if cluster.disks:
            self._faults += [self._fill]
        if cluster.clocks:
            self._faults += [self._step_clock, self._step_clock]
        self._threads: list[threading.Thread] = []
        self._busy: set[int] = set()

    def run(self, seconds: float, pause: tuple[float, float] = (0.5, 5.0)) -> None:
        """Break things for so long, with a pause of so many seconds in between; then put everything right."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            thread = threading.Thread(target=self._random.choice(self._faults))
            thread.start()
            self._threads.append(thread)
            time.sleep(self._random.uniform(*pause))
        for thread in self._threads:
            thread.join()
        for proxy in self._proxies:
            proxy.heal()
        for number in range(len(self._installations)):
            self._is_up(number)

    # Daemons

    def _kill(self) -> None:
        with self._one(mortal=True) as number:
            if number is not None:
                self._say(f"kill -9 of daemon {number}")
                installation = self._is_up(number)
                installation.processes[-1].kill()
                installation.processes[-1].wait()
                time.sleep(self._random.choice([0.0, 1.0, 8.0]))
                start(installation)

    def _kill_alone(self) -> None:
        """What the daemon ran goes on for a while, since its guardians stand still: nobody may begin it meanwhile."""
        with self._one(mortal=True) as number:
            if number is not None:
                self._say(f"kill -9 of daemon {number} while its guardians are frozen")
                daemon = self._is_up(number).processes[-1]
                guardians = children(daemon.pid)
                _signal(guardians, signal.SIGSTOP)
                daemon.kill()
                daemon.wait()
                time.sleep(self._random.choice([0.5, 2.0]))  # the lease is 5 s
                _signal(guardians, signal.SIGCONT)
                start(self._installations[number])

    def _stop(self) -> None:
        with self._one(mortal=True) as number:
            if number is not None:
                self._say(f"SIGTERM to daemon {number}")
                installation = self._is_up(number)
                installation.processes[-1].terminate()
                if self._random.random() < 0.5:
                    time.sleep(0.2)
                    installation.processes[-1].terminate()
                try:
                    installation.processes[-1].wait(30)
                except subprocess.TimeoutExpired:
                    installation.processes[-1].kill()
                    installation.processes[-1].wait()
                start(installation)

    def _freeze(self) -> None:
        self._freeze_some("daemon", lambda pid: [pid])

    def _freeze_all(self) -> None:
        self._freeze_some("machine", family)

    def _freeze_some(self, what: str, whom: Callable[[int], list[int]]) -> None:
        with self._one() as number:
            if number is None:
                return
            pids = whom(self._installations[number].processes[-1].pid)
            seconds = self._random.choice([1, 4, 8, 12])
            self._say(f"{what} {number} is frozen for {seconds} s")
            began = time.monotonic()
            _signal(pids, signal.SIGSTOP)
            time.sleep(seconds)
            _signal(pids, signal.SIGCONT)
            self.freezes.append(Freeze(number, began, time.monotonic()))

    # The way to the database, and the database

    def _cut(self) -> None:
        proxy = self._random.choice(self._proxies)
        self._say("connections are cut")
        for _ in range(self._random.randint(1, 5)):
            proxy.cut()
            time.sleep(0.3)

    def _hold(self) -> None:
        proxy = self._random.choice(self._proxies)
        self._say("a daemon is cut off")
        proxy.held = True
        time.sleep(self._random.choice([1, 4, 9]))
        proxy.heal()

    def _mute(self) -> None:
        proxy = self._random.choice(self._proxies)
        self._say("answers are swallowed")
        proxy.mute = True
        time.sleep(self._random.choice([0.2, 1, 4]))
        proxy.heal()

    def _delay(self) -> None:
        proxy = self._random.choice(self._proxies)
        self._say("the way is slow")
        proxy.delay = self._random.choice([0.02, 0.2, 1.0])
        time.sleep(5)
        proxy.heal()

    def _kill_server(self) -> None:
        with self._the_server() as server:
            if server is not None:
                self._say("kill -9 of the database server")
                server.kill()
                time.sleep(self._random.choice([0.0, 2.0, 7.0]))
                server.start()

    def _freeze_server(self) -> None:
        with self._the_server() as server:
            if server is not None:
                self._say("the database server is frozen")
                server.signal(signal.SIGSTOP)
                time.sleep(self._random.choice([1, 4, 9]))
                server.signal(signal.SIGCONT)

    # Disks and clocks

    def _fill(self) -> None:
        disk = self._random.choice(self._cluster.disks)
        self._say("a disk is full")
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4_096))
        time.sleep(self._random.choice([1, 3, 6]))
        ballast.unlink(missing_ok=True)

    def _step_clock(self) -> None:
        clock = self._random.choice(self._cluster.clocks)
        step = self._random.choice([-4, -1, 0, 2, 5])
        self._say(f"a clock is {step} s wrong")
        fresh = clock.with_suffix(".new")
        fresh.write_text(f"{step:+d}\n")
        fresh.rename(clock)

    # Inside

    def _is_up(self, number: int) -> Installation:
        """The installation of a daemon that is up, as it must be, unless it was just this moment being broken."""
        installation = self._installations[number]
        code = installation.processes[-1].poll()
        if code is not None:
            self.wrong.append(f"daemon {number} has ended by itself with exit code {code}")
            start(installation)
        return installation

    @contextlib.contextmanager
    def _one(self, mortal: bool = False) -> Iterator[int | None]:
        """A daemon to which nothing is being done; None when there is none."""
        free = {*range(len(self._installations))} - self._busy - ({self._immortal} if mortal else set())
        number = self._random.choice(sorted(free)) if free else None
        if number is not None:
            self._busy.add(number)
        try:
            yield number
        finally:
            self._busy.discard(number)

    @contextlib.contextmanager
    def _the_server(self) -> Iterator[Server | None]:
        if -1 in self._busy:
            yield None
            return
        self._busy.add(-1)
        try:
            yield self._server
        finally:
            self._busy.discard(-1)

    def _say(self, what: str) -> None:
        self.done.append(f"{time.monotonic():.3f} {what}")


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
