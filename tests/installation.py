"""A folder with a configuration and the real daemons, `python -m jobd`, that a test starts in it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from jobd.daemon.control import ask

ROOT = Path(__file__).parents[1]
CONFIG = 'database = "{database}"\ncommands = true\nworkers = {workers}\n{more}\n[log]\nformat = "json"\n'
Value = TypeVar("Value")
PLUGIN = "import jobd\n\n@jobd.task\ndef hello():\n    print('hello')\n"
TIMEOUT = 20.0  # seconds; less than a default lease, and less than the pause before an unknown task is tried again
LONG_TIMEOUT = 90.0  # seconds for work of many steps, on a slow and busy machine


def until(condition: Callable[[], Value | Literal[False] | None], what: str = "it", patience: float = TIMEOUT) -> Value:
    """Wait for a true value of `condition` and return it. It must come within `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen")


class Installation:
    """A folder with a configuration, and the daemons that run in it."""

    def __init__(self, folder: Path, database: str = "sqlite:///jobd.db", plugin: str = PLUGIN) -> None:
        self.folder = folder
        self.database = database
        self.state = folder / "state"
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JOBD_", "NOTIFY_", "WATCHDOG_", "JOURNAL_", "PYTHONDONTWRITEBYTECODE"))
        }
        self.environ["PYTHONPATH"] = str(ROOT)
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "plugins").mkdir(parents=True)
        (folder / "plugins" / "tasks.py").write_text(plugin)
        self.configure("")

    def configure(self, tables: str, workers: int = 1, more: str = "") -> None:
        """Write jobd.toml. `more`: further keys; `tables`: tables at its end."""
        config = CONFIG.format(database=self.database, workers=workers, more=more)
        (self.folder / "jobd.toml").write_text(config + tables)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "jobd", "--config", str(self.folder / "jobd.toml"), *words]

    def jobd(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def fine(self, *words: str) -> Any:
        """Run a command that must succeed. Return its JSON if --json is among its words."""
        answer = self.jobd(*words)
        assert answer.returncode == 0, answer
        return json.loads(answer.stdout) if "--json" in words else answer.stdout

    def history(self, name: str) -> list[dict[str, Any]]:
        """The runs of a job, newest first."""
        found: list[dict[str, Any]] = self.fine("history", name, "--json")
        return found

    def ended(self, name: str, count: int = 1, patience: float = TIMEOUT) -> list[dict[str, Any]]:
        """Wait until a job has `count` runs, and return them, newest first."""
        return until(lambda: len(found := self.history(name)) >= count and found, f"run {count} of {name}", patience)

    def foreground(self) -> subprocess.Popen[str]:
        """Start a daemon in the foreground and wait until it is up. It logs to the file `log`."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                self.command("start", "--foreground"), env=self.environ, stdout=log, stderr=log, text=True
            )
        self.processes.append(process)
        until(lambda: self.status().get("pid") == process.pid or process.poll() is not None, "the start", LONG_TIMEOUT)
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
            with contextlib.suppress(ProcessLookupError):  # it may have ended since
                os.kill(pid, signal.SIGKILL)
