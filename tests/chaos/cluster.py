"""The cluster of a chaos run: three real daemons on one database, each with its own disk, connection and clock."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import servers
from tests.chaos.checker import Execution, executions
from tests.chaos.proxy import Proxy
from tests.installation import Installation

MORE = 'poll = "200ms"\nlease = "5s"\nstop_timeout = "2s"\non_db_loss = "kill"\n'
COUNT = 3


class Cluster(NamedTuple):
    """Daemons that are up, and all that they stand on."""

    installations: list[Installation]
    server: servers.Server | None  # None: SQLite
    proxies: list[Proxy]  # by installation, its way to the server
    disks: list[Path]  # small ones: of the SQLite file, or by installation of its state; empty when they cannot be had
    clocks: list[Path]  # by installation, what its wall clock is wrong by; empty when clocks are left alone

    def executions(self) -> list[Execution]:
        """What the tasks have written down."""
        return executions([installation.folder / "canary.log" for installation in self.installations])

    def complaints(self) -> list[str]:
        """What the daemons have logged that no fault may bring about."""
        return [
            line
            for installation in self.installations
            for line in installation.log().splitlines()
            if "Traceback" in line or "a bug in jobd" in line
        ]


@contextlib.contextmanager
def cluster(kind: str, folder: Path, clocks: bool = False, disk: str = "8m") -> Iterator[Cluster]:
    """Three daemons on a database of this kind."""
    with contextlib.ExitStack() as stack:
        server = None if kind == "sqlite" else stack.enter_context(servers.running(kind))
        disks = [_small_disk(folder / f"disk{number}", disk, stack) for number in range(COUNT if server else 1)]
        url = servers.sqlite_url(disks[0]) if server is None else server.new_database()
        proxies = [] if server is None else [Proxy(server.port) for _ in range(COUNT)]
        installations = []
        for number in range(COUNT):
            its = url.replace(f":{server.port}/", f":{proxies[number].port}/") if server is not None else url
            installation = Installation(
                folder / f"home{number}", its, (Path(__file__).parent / "canary.py").read_text()
            )
            if server is not None:
                installation.state = disks[number]
            installation.configure("", 3, MORE + f'state_dir = "{installation.state}"\n')
            if clocks:
                installation.environ |= _faked(installation.folder / "clock")
                installation.environ["PYTHONPATH"] += f":{_sleeper(folder / 'sleeper')}"
            stack.callback(installation.close)
            installations.append(installation)
        for proxy in proxies:
            stack.callback(proxy.close)
        for installation in installations:
            start(installation)
        dials = [installation.folder / "clock" for installation in installations] if clocks else []
        yield Cluster(installations, server, proxies, disks if os.geteuid() == 0 else [], dials)


def start(installation: Installation) -> None:
    """Start a daemon, as systemd would: again and again, while the database is not there."""
    for _ in range(60):
        with (installation.folder / "log").open("a") as log:
            process = subprocess.Popen(
                installation.command("start", "--foreground"),
                env=installation.environ,
                stdout=log,
                stderr=log,
                text=True,
            )
        installation.processes.append(process)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if installation.status().get("pid") == process.pid:
                return
            time.sleep(0.05)
        if process.poll() is None:
            return
        time.sleep(0.5)


def _small_disk(disk: Path, size: str, stack: contextlib.ExitStack) -> Path:
    """A disk that is soon full. Only root can make one; for others it is just a folder."""
    disk.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], check=True)
        stack.callback(lambda: subprocess.run(["umount", "--lazy", disk], check=False))
    return disk


def _sleeper(folder: Path) -> Path:
    """What mends time.sleep under libfaketime, which fails (EINVAL) when the sleep is over before it has begun."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], max(0, seconds)) and None\n"
    )
    return folder


def _faked(clock: Path) -> dict[str, str]:
    """The environment in which programs have the wall clock that the file `clock` tells, and the true monotonic one."""
    clock.write_text("+0\n")
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        servers.missing("libfaketime", "apt-get install libfaketime")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
