"""Who breaks things: daemons, the database server, the network. At the end all is put right.

Only processes that the run itself has started are touched.
"""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.checker import Freeze
from tests.chaos.proxy import Proxy
from tests.house import House
from tests.servers import Server


class Nemesis:
    """Breaks one thing after the other for a while."""

    def __init__(self, seed: int, houses: list[House], proxies: list[Proxy], server: Server | None) -> None:
        self.freezes: list[Freeze] = []
        self.done: list[str] = []
        self._random = random.Random(seed)
        self._houses, self._proxies, self._server = houses, proxies, server
        self._faults: list[Callable[[], None]] = [self._kill, self._kill, self._stop, self._freeze, self._freeze_all]
        if server is not None:
            self._faults += [self._cut, self._hold, self._delay, self._mute, self._kill_server, self._freeze_server]
        self._threads: list[threading.Thread] = []
        self._busy: set[int] = set()

    def rage(self, seconds: float) -> None:
        """Break things for so long, then put everything right."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            thread = threading.Thread(target=self._random.choice(self._faults))
            thread.start()
            self._threads.append(thread)
            time.sleep(self._random.uniform(0.5, 5))
        for thread in self._threads:
            thread.join()
        for proxy in self._proxies:
            proxy.heal()
        for house in self._houses:
            if house.processes[-1].poll() is not None:
                start(house)

    # Daemons

    def _kill(self) -> None:
        with self._one() as number:
            if number is not None:
                self._say(f"kill -9 of daemon {number}")
                house = self._houses[number]
                house.processes[-1].kill()
                house.processes[-1].wait()
                time.sleep(self._random.choice([0.0, 1.0, 8.0]))
                start(house)

    def _stop(self) -> None:
        with self._one() as number:
            if number is not None:
                self._say(f"SIGTERM to daemon {number}")
                house = self._houses[number]
                house.processes[-1].terminate()
                if self._random.random() < 0.5:
                    time.sleep(0.2)
                    house.processes[-1].terminate()
                try:
                    house.processes[-1].wait(30)
                except subprocess.TimeoutExpired:
                    house.processes[-1].kill()
                    house.processes[-1].wait()
                start(house)

    def _freeze(self) -> None:
        self._freeze_some("daemon", lambda pid: [pid])

    def _freeze_all(self) -> None:
        self._freeze_some("machine", family)

    def _freeze_some(self, what: str, whom: Callable[[int], list[int]]) -> None:
        with self._one() as number:
            if number is None:
                return
            pids = whom(self._houses[number].processes[-1].pid)
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

    # Inside

    @contextlib.contextmanager
    def _one(self):  # type: ignore[no-untyped-def]
        """A daemon to which nothing is being done; None when there is none."""
        free = [number for number in range(len(self._houses)) if number not in self._busy]
        number = self._random.choice(free) if free else None
        if number is not None:
            self._busy.add(number)
        try:
            yield number
        finally:
            self._busy.discard(number)

    @contextlib.contextmanager
    def _the_server(self):  # type: ignore[no-untyped-def]
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


def start(house: House) -> None:
    """Start a daemon, as systemd would: again and again, while the database is not there."""
    for _ in range(60):
        with (house.folder / "log").open("a") as log:
            process = subprocess.Popen(
                house.command("start", "--foreground"), env=house.environ, stdout=log, stderr=log, text=True
            )
        house.processes.append(process)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if house.status().get("pid") == process.pid:
                return
            time.sleep(0.05)
        if process.poll() is None:
            return
        time.sleep(0.5)


def family(pid: int) -> list[int]:
    """A process and all that descends from it."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
