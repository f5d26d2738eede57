"""Helpers of the benchmarks: a temporary installation of jobd, its real daemon, and the format of figures.

Every benchmark runs the real command and the real daemon on a real database, as a user would. The machines that it
runs on are shared and noisy, so a figure is a median with its spread, beside a physical limit measured in the same run.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobd.store.connect import dialect_of
from jobd.store.url import parse_url
from tests.servers import KINDS, Server, running, sqlite_url

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(sys.executable).parent / "jobd"
JOBD = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-P", "-m", "jobd"]
TASKS = "import jobd\n\n\n@jobd.task\ndef noop():\n    pass\n\n\n@jobd.task\ndef says():\n    print('a line')\n"
# Durable: the log is on disk when a commit returns. Both have the same memory for their tables.
SETTINGS = {
    "mariadb": ["--innodb-flush-log-at-trx-commit=1", "--skip-log-bin", "--innodb-buffer-pool-size=512M"],
    "postgresql": ["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=512MB"],
}
TAB = {"_JOBD_COMPLETE": "bash_complete", "COMP_WORDS": "jobd show bench1", "COMP_CWORD": "2"}
AHEAD = 2.0  # seconds that a daemon has to start in
FINISHED = "SELECT count(*) FROM run"


class Installation:
    """jobd in a folder of its own, with a task that does nothing and one that prints, and two workers."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        (folder / "plugins").mkdir()
        (folder / "plugins" / "noop.py").write_text(TASKS)
        (folder / "jobd.toml").write_text(
            f'database = "{url}"\nplugins = "plugins"\nstate_dir = "state"\nworkers = 2\n'
            '[log]\nlevel = "warning"\n[history]\nkeep = "365d"\nkeep_per_job = 1000000\n'
        )
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("JOBD_")}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environ["JOBD_CONFIG"] = str(folder / "jobd.toml")
        if not SCRIPT.exists():
            self.environ["PYTHONPATH"] = str(ROOT)

    def jobd(self, *arguments: str, stdin: str | None = None) -> str:
        """Run the command; its output. Raises RuntimeError, with what it said, when it fails."""
        done = subprocess.run([*JOBD, *arguments], env=self.environ, input=stdin, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"jobd {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def define(self, count: int, definition: Callable[[int], str], prefix: str = "bench") -> float:
        """Define so many jobs through `jobd apply`; `definition` gives the lines of the n-th. Seconds it took."""
        lines = [f"[job.{prefix}{number}]\n{_with_task(definition(number))}\n" for number in range(count)]
        began = time.perf_counter()
        self.jobd("apply", "--yes", "-", stdin="".join(lines))
        return time.perf_counter() - began

    def define_ahead(self, count: int, definition: Callable[[int, float], str], lead: float) -> float:
        """Define so many jobs that are due from a moment on; the moment, which has been stored well before it comes."""
        while True:
            first = time.time() + lead
            definitions = [definition(number, first) for number in range(count)]
            self.define(count, definitions.__getitem__)
            if time.time() + AHEAD < first:
                return first
            lead *= 2

    def rows(self, sql: str) -> list[tuple[int, ...]]:
        """Ask the database, by a connection of its own."""
        target = parse_url(self.url)
        opened = dialect_of(target).connect(target, create=False, read_only=True)
        with closing(opened) as connection, closing(connection.cursor()) as asked:
            asked.execute(sql)
            return [tuple(row) for row in asked.fetchall()]

    def wait_for(self, sql: str, value: int, seconds: float, pause: float = 0.1) -> None:
        """Wait until the one number that `sql` gives has reached `value`. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while (found := self.rows(sql)[0][0]) < value:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sql}: {found} of {value} after {seconds} s")
            time.sleep(pause)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """The daemon, in the foreground of a child process, until the block ends."""
        process = subprocess.Popen([*JOBD, "start", "--foreground"], env=self.environ)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@contextlib.contextmanager
def installation(url: str | None = None) -> Iterator[Installation]:
    """A fresh installation, removed afterwards; on an SQLite file of its own unless a database is given."""
    with tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
        yield Installation(Path(folder), url or sqlite_url(Path(folder)))


@contextlib.contextmanager
def server(kind: str) -> Iterator[Server]:
    """A private database server with durable settings; where none is installed the program says so and ends."""
    try:
        with running(kind, SETTINGS[kind]) as found:
            yield found
    except pytest.skip.Exception as missing:
        sys.exit(f"SKIPPED: {missing}")


@contextlib.contextmanager
def installations(kind: str) -> Iterator[Callable[[], AbstractContextManager[Installation]]]:
    """What makes fresh installations, each on an empty database of this kind."""
    if kind == "sqlite":
        yield installation
        return
    with server(kind) as found:
        yield lambda: installation(found.new_database())


def arguments(purpose: str | None, rounds: int = 5, databases: Sequence[str] = KINDS) -> argparse.ArgumentParser:
    """The options that the benchmarks have in common; `databases` are those that are measured when none is named."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--database", dest="databases", nargs="+", choices=KINDS, default=databases)
    return parser


def at(moment: float) -> str:
    """A moment as definitions spell it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def due_at(number: int, moment: float) -> str:
    """The definition of a job that is due at a moment, and once."""
    return f'interval = "at {at(moment)}"'


def once(number: int) -> str:
    """The definition of a job that is due at once, and once."""
    return "runonce = true"


def says_once(number: int) -> str:
    """The definition of a job that prints a line, at once, and once."""
    return 'task = "says"\nrunonce = true'


def _with_task(definition: str) -> str:
    return definition if definition.startswith("task = ") else f'task = "noop"\n{definition}'


def later(number: int) -> str:
    """The definition of a job that is not due while anybody measures."""
    return 'interval = "at 2099-01-01T00:00:00+00:00"'


def figure(name: str, values: Sequence[float], unit: str, digits: int = 1) -> float:
    """Print a figure: median (least to most) of so many; its median."""
    middle = statistics.median(values)
    spread = f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"
    print(f"{name}: {middle:,.{digits}f} {unit} ({spread}; {len(values)} values)", flush=True)
    return middle


def ratio(name: str, value: float, limit: float) -> None:
    """Print how a figure stands to its limit."""
    print(f"{name}: {value / limit:.3g}", flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
