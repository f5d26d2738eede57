"""Plays a scenario on real daemons and gathers all that a user can see of it, beside what the tasks wrote down."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jobd.store.connect import connect
from jobd.store.url import parse_url
from tests import servers
from tests.combine.scenario import MARK, Scenario, Step
from tests.house import House

MORE = 'poll = "500ms"\nlease = "6s"\nstop_timeout = "5s"\n'
SETTLE = 8.0  # seconds after the last step, in which all that was acknowledged has to happen
ROWS_LOCKED = 1.5  # seconds that the database is away for
HOST = "node"


class Command(NamedTuple):
    """A command as it was given and answered. Moments are monotonic seconds."""

    what: str
    job: str
    words: tuple[str, ...]
    asked: float
    answered: float
    code: int
    output: str
    errors: str
    mark: int = 0  # of the version of the definition that a `set` has made


class Record(NamedTuple):
    """All there is to judge."""

    scenario: Scenario
    started: float
    ended: float
    witness: list[dict[str, Any]]
    history: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    output: dict[tuple[str, int], list[tuple[int, str]]]  # (job, run) → (attempt, text) in order
    unfinished: dict[str, int]  # job → the run that is to go on at the next start
    commands: list[Command]
    logs: str
    memory: int  # KiB, the most that a daemon had at the end
    descriptors: int
    left: list[int]  # processes that outlived all daemons


class Player:
    """The daemons of one scenario, and what was done to them."""

    def __init__(self, scenario: Scenario, folder: Path, url: str) -> None:
        self._scenario, self._folder, self._url = scenario, folder, url
        self._commands: list[Command] = []
        self._marks = dict.fromkeys((job.name for job in scenario.jobs), 0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        plugin = (Path(__file__).parent / "witness.py").read_text()
        self._houses = [House(folder / f"{HOST}{n}", url, plugin) for n in range(scenario.nodes)]
        for house in self._houses:
            house.configure("[pool.second]\nworkers = 1\n", scenario.workers, MORE)

    def play(self) -> Record:
        """Run all of it. The daemons are stopped at the end, whatever happens."""
        try:
            return self._play()
        finally:
            for house in self._houses:
                with contextlib.suppress(OSError):
                    house.close()

    def _play(self) -> Record:
        started = time.monotonic()
        for house in self._houses:
            house.foreground()
        self._add_jobs()
        begin = time.monotonic()
        for step in self._scenario.steps:
            time.sleep(max(0.0, begin + step.at - time.monotonic()))
            self._do(step)
        time.sleep(max(0.0, begin + self._scenario.seconds - time.monotonic()))
        for thread in self._threads:
            thread.join(60)
        time.sleep(SETTLE)
        memory, descriptors = self._taken()
        for house in self._houses:
            self._command("stop", "", house=house)
        return self._gathered(started, memory, descriptors)

    # Commands

    def _add_jobs(self) -> None:
        """Add the jobs, all in one process, because to start one for each would take most of the time."""
        before, calls = "", []
        for job in self._scenario.jobs:
            words = [before if word == "PARENT" else word for word in job.words]
            words += [word for key, value in job.arguments.items() for word in ("--arg", f"{key}={json.dumps(value)}")]
            calls.append([*self._houses[0].command()[3:], "add", job.name, *words])
            before = job.name
        script = "import json, sys\nfrom jobd.__main__ import run\nfor call in json.load(sys.stdin): run(call)"
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(calls),
            cwd=self._houses[0].folder,
            env=self._houses[0].environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def _do(self, step: Step) -> None:
        house = self._houses[step.node]
        if step.what == "run --wait":
            self._later(lambda: self._command("run", step.job, "--wait"))
        elif step.what == "set":
            with self._lock:
                self._marks[step.job] += 1
                mark = self._marks[step.job]
            self._command("set", step.job, *step.words, "--arg", f"{MARK}={mark}", mark=mark)
        elif step.what in ("run", "cancel", "pause", "resume", "rm", "restore"):
            self._command(step.what, step.job, *(("--yes",) if step.what == "rm" else ()))
        elif step.what.startswith("sql "):
            self._sql(step)
        elif step.what == "reload":
            self._command("reload", "", house=house)
        elif step.what == "kill":
            self._later(lambda: self._again(step.what, house, house.processes[-1].kill))
        elif step.what == "restart":
            self._later(lambda: self._again(step.what, house, house.processes[-1].terminate))
        elif step.what == "away":
            self._later(self._away)
        else:
            raise ValueError(f"there is no step {step.what!r}")

    def _later(self, work: Any) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)

    def _command(self, what: str, job: str, *words: str, house: House | None = None, mark: int = 0) -> Command:
        asked = time.monotonic()
        as_json = ["--json"] if what in ("add", "set", "run") else []
        done = (house or self._houses[0]).jobd(what, *([job] if job else []), *words, *as_json)
        return self._note(
            Command(what, job, words, asked, time.monotonic(), done.returncode, done.stdout, done.stderr, mark)
        )

    def _note(self, command: Command) -> Command:
        with self._lock:
            self._commands.append(command)
        return command

    def _again(self, what: str, house: House, end: Any) -> None:
        """End a daemon and start it once more."""
        asked = time.monotonic()
        process = house.processes[-1]
        end()
        process.wait(60)
        with contextlib.suppress(AssertionError):
            house.foreground()
        self._note(Command(what, "", (), asked, time.monotonic(), house.processes[-1].poll() or 0, "", ""))

    def _sql(self, step: Step) -> None:
        change, value = {
            "sql delete": ("is_delete", 1),
            "sql undelete": ("is_delete", 0),
            "sql interval": (self._interval(), "400ms"),
        }[step.what]
        asked = time.monotonic()
        with self._database() as (cursor, mark):
            cursor.execute(f"UPDATE job SET {change} = {mark} WHERE name = {mark}", (value, step.job))
        self._note(Command(step.what, step.job, (), asked, time.monotonic(), 0, "", ""))

    def _interval(self) -> str:
        return "`interval`" if parse_url(self._url).kind == "mysql" else '"interval"'

    @contextlib.contextmanager
    def _database(self) -> Iterator[tuple[Any, str]]:
        """A cursor as any program has one, and its spelling of a parameter."""
        target = parse_url(self._url)
        if target.kind == "sqlite":
            connection = sqlite3.connect(target.path, timeout=20, isolation_level=None)
            mark = "?"
        else:
            connection, mark = connect(target), "%s"
        try:
            yield connection.cursor(), mark
        finally:
            connection.close()

    def _away(self) -> None:
        """The database cannot be written for a while."""
        asked = time.monotonic()
        with self._database() as (cursor, _):
            lock = {
                "sqlite": "BEGIN EXCLUSIVE",
                "mysql": "LOCK TABLES schedule WRITE",
                "postgresql": "BEGIN; LOCK TABLE schedule",
            }[parse_url(self._url).kind]
            cursor.execute(lock)
            time.sleep(ROWS_LOCKED)
        self._note(Command("away", "", (), asked, time.monotonic(), 0, "", ""))

    # What there is to see

    def _gathered(self, started: float, memory: int, descriptors: int) -> Record:
        house = self._houses[0]
        jobs = house.fine("list", "--all", "--json")
        history = house.fine("history", "--json")
        with self._database() as (cursor, _):
            cursor.execute(
                "SELECT job.name, output.number, output.attempt, output.text FROM output"
                " JOIN job ON job.id = output.job_id ORDER BY output.job_id, output.number, output.attempt, output.part"
            )
            output: dict[tuple[str, int], list[tuple[int, str]]] = {}
            for name, number, attempt, text in cursor.fetchall():
                output.setdefault((name, number), []).append((attempt, text))
            cursor.execute("SELECT name, number FROM schedule JOIN job ON job.id = job_id WHERE attempt > 0")
            unfinished = dict(cursor.fetchall())
        file = self._folder / "witness"
        witness = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        left = sorted({line["pid"] for line in witness if _is_worker(line["pid"])})
        logs = "".join(house.log() for house in self._houses)
        ended = time.monotonic()
        return Record(
            self._scenario,
            started,
            ended,
            witness,
            history,
            jobs,
            output,
            unfinished,
            self._commands,
            logs,
            memory,
            descriptors,
            left,
        )

    def _taken(self) -> tuple[int, int]:
        memory = descriptors = 0
        for house in self._houses:
            pid = house.processes[-1].pid
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                memory = max(memory, int(status.partition("VmRSS:")[2].split()[0]))
                descriptors = max(descriptors, len(os.listdir(f"/proc/{pid}/fd")))
        return memory, descriptors


def _is_worker(pid: int) -> bool:
    try:
        return b"jobd.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def play(scenario: Scenario, folder: Path, url: str) -> Record:
    """Play a scenario in an empty folder, on the empty database at `url`."""
    return Player(scenario, folder, url).play()


@contextlib.contextmanager
def databases(kind: str, folder: Path) -> Iterator[Any]:
    """A function that gives the URL of an empty database of this kind each time it is called with a folder."""
    if kind == "sqlite":
        yield servers.sqlite_url
        return
    with servers.running(kind) as server:
        yield lambda _: server.new_database()


def keep(folder: Path, to: Path, record: Record | None) -> None:
    """Put what a failing scenario left behind aside, for a person to look at."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(folder, to, symlinks=True, ignore=shutil.ignore_patterns("jobd.sock"))
    if record is not None:
        (to / "commands").write_text("\n".join(map(str, record.commands)) + "\n")
