"""What the benchmarks share: a throw-away installation of jobd, its real daemon, and how a figure is printed.

Every benchmark runs the real command and the real daemon on a real database file, as a user would. These machines are
shared and noisy, so a figure is a median with its spread, beside a physical limit measured in the same run.
"""

import contextlib
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBD = [sys.executable, "-P", "-m", "jobd"]
NOOP = "import jobd\n\n\n@jobd.task\ndef noop():\n    pass\n"


class Installation:
    """jobd in a folder of its own, on SQLite, with one task that does nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "jobd.db"
        (folder / "plugins").mkdir()
        (folder / "plugins" / "noop.py").write_text(NOOP)
        (folder / "jobd.toml").write_text(
            'database = "sqlite:///jobd.db"\nplugins = "plugins"\nstate_dir = "state"\nworkers = 2\n'
            '[log]\nlevel = "warning"\n[history]\nkeep = "365d"\nkeep_per_job = 1000000\n'
        )
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("JOBD_")}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environ["JOBD_CONFIG"] = str(folder / "jobd.toml")
        if not (Path(sys.prefix) / "bin" / "jobd").exists():
            self.environ["PYTHONPATH"] = str(ROOT)

    def jobd(self, *arguments: str, stdin: str | None = None) -> str:
        """Run the command; its output. Raises CalledProcessError when it fails."""
        return subprocess.run(
            [*JOBD, *arguments], env=self.environ, input=stdin, capture_output=True, text=True, check=True
        ).stdout

    def define(self, count: int, interval: str | None, runonce: bool) -> float:
        """Define `count` jobs through `jobd apply`; seconds it took."""
        lines = []
        for number in range(count):
            lines.append(f'[job.bench{number}]\ntask = "noop"\n')
            if interval is not None:
                lines.append(f'interval = "{interval}"\n')
            if runonce:
                lines.append("runonce = true\n")
        began = time.perf_counter()
        self.jobd("apply", "--yes", "-", stdin="".join(lines))
        return time.perf_counter() - began

    def rows(self, sql: str) -> list[tuple[int, ...]]:
        """Ask the database, read-only."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(sql).fetchall()

    def wait_for(self, sql: str, value: int, seconds: float) -> None:
        """Wait until the one number that `sql` gives has reached `value`. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self.rows(sql)[0][0] < value:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sql}: {self.rows(sql)[0][0]} of {value} after {seconds} s")
            time.sleep(0.05)

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
def installation() -> Iterator[Installation]:
    """A fresh installation, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
        yield Installation(Path(folder))


def raw_commits(seconds: float = 1.0, rows: int = 100) -> float:
    """The limit of this disk at this moment: recorded runs a second, `rows` a commit, by plain sqlite3 (WAL, FULL)."""
    with tempfile.TemporaryDirectory(prefix="jobd-bench-") as folder:
        database = sqlite3.connect(f"{folder}/raw.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE schedule (id INTEGER PRIMARY KEY, due INTEGER)")
        database.execute("CREATE INDEX schedule_due ON schedule (due)")
        database.execute("CREATE TABLE run (id INTEGER, number INTEGER, text TEXT, PRIMARY KEY (id, number))")
        database.executemany("INSERT INTO schedule VALUES (?, ?)", ((number, number) for number in range(20_000)))
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            ids = [(done + offset) % 20_000 for offset in range(rows)]
            database.execute("BEGIN IMMEDIATE")
            database.executemany("UPDATE schedule SET due = due + 20000 WHERE id = ?", ((one,) for one in ids))
            database.executemany("INSERT INTO run VALUES (?, ?, 'x')", ((one, done) for one in ids))
            database.execute("COMMIT")
            done += rows
        database.close()
        return done / (time.perf_counter() - began)


def figure(name: str, values: Sequence[float], unit: str, digits: int = 1) -> float:
    """Print a figure: median (least to most) of so many; its median."""
    middle = statistics.median(values)
    spread = f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"
    print(f"{name}: {middle:,.{digits}f} {unit} ({spread}; {len(values)} values)", flush=True)
    return middle


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
