"""A daemon of its own for each test: the real `python -m jobd`, in a folder of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.daemon.control import ask

ROOT = Path(__file__).parents[2]
CONFIG = 'database = "sqlite:///jobd.db"\nworkers = 1\n[log]\nformat = "json"\n'
PLUGIN = "import jobd\n\n@jobd.task\ndef hello():\n    print('hello')\n"
PATIENCE = 20.0


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """The first true value of `condition`, which must come."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen")


class House:
    """A folder with a configuration, and the daemons that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JOBD_", "NOTIFY_", "WATCHDOG_", "JOURNAL_"))
        }
        self.environ["PYTHONPATH"] = str(ROOT)
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "plugins").mkdir(parents=True)
        (folder / "plugins" / "tasks.py").write_text(PLUGIN)
        self.configure("")

    def configure(self, more: str) -> None:
        (self.folder / "jobd.toml").write_text(CONFIG + more)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "jobd", "--config", str(self.folder / "jobd.toml"), *words]

    def jobd(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )

    def foreground(self) -> subprocess.Popen[str]:
        """A daemon in the foreground that is up; its log is in the file `log`."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                self.command("start", "--foreground"), env=self.environ, stdout=log, stderr=log, text=True
            )
        self.processes.append(process)
        until(lambda: self.status().get("pid") == process.pid or process.poll() is not None, "the start")
        assert process.poll() is None, self.log()
        return process

    def status(self) -> dict[str, Any]:
        return ask(str(self.state), {"do": "status"}, 5) or {}

    def log(self) -> str:
        return "".join(file.read_text() for file in (self.folder / "log", self.state / "jobd.log") if file.exists())

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        if pid := self.status().get("pid"):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house")
    yield house
    house.close()
