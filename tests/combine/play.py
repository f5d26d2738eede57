"""Plays a scenario on real daemons: starts them, runs the commands, causes the faults, and stops them."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import tomli_w

from tests import servers
from tests.combine.errand import Errands
from tests.combine.gather import Database, gather
from tests.combine.record import REFUSED, Command, Record
from tests.combine.scenario import MARK, TOGETHER, JobPlan, Scenario, Step
from tests.installation import ROOT, Installation

MORE = 'poll = "500ms"\nlease = "6s"\nstop_timeout = "5s"\n'
TABLES = "[pool.second]\nworkers = 1\n[history]\nkeep_per_job = 1000000\n"
EFFECT_TIME = 8.0  # seconds after the last step, within which all acknowledged requests must take effect
FAULTS = ("kill", "restart", "down", "away")
LATE = 5.0  # seconds; on a machine that is so late, only steps that undo another step are taken
UNDOING = ("resume", "restore", "sql undelete", "new code")
PATIENCE = 60.0  # seconds for a command that does not wait for a run
MANY = 30  # jobs; if there are more, a file adds them
TOGETHER_IN = 2.0  # seconds after which jobs with TOGETHER are due
ZONE = "Europe/Berlin"  # of the daemons
SHELLS = (None, "Asia/Tokyo", "America/New_York")  # of the commands
BROKEN = 'import sys\nsys.stdout.write("<import|")\nprint("says this|>")\nraise RuntimeError("it does not load")\n'


class Player:
    """The daemons of one scenario, and the steps taken so far. `code`: the folder that contains jobd."""

    def __init__(self, scenario: Scenario, folder: Path, url: str, code: Path = ROOT) -> None:
        self._scenario, self._folder = scenario, folder
        self._database = Database(url)
        self._commands: list[Command] = []
        self._marks = {job.name: 0 for job in scenario.jobs}
        self._called = {job.name: job.name for job in scenario.jobs}  # the present name of each
        self._plans = {job.name: job for job in scenario.jobs}
        self._versions = [0] * scenario.nodes  # of the plugins
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._plugin = (Path(__file__).parent / "witness.py").read_text()
        self._installations = [
            self._installation(folder / f"node{n}", url, code, ahead) for n, ahead in enumerate(scenario.clocks)
        ]
        self._locks = [threading.Lock() for _ in self._installations]
        environ = {key: value for key, value in self._installations[0].environ.items() if key != "TZ"}
        self._errands = Errands(folder / "errands", environ | {"PYTHONPATH": f"{code}:{ROOT}"})
        self._until = 0.0

    def _installation(self, folder: Path, url: str, code: Path, ahead: float) -> Installation:
        installation = Installation(folder, url, self._plugin)
        (folder / "plugins" / "spare.py").touch()
        deep = folder / "plugins" / "deep"
        deep.mkdir()
        (deep / "__init__.py").touch()
        (deep / "broken.py").write_text(BROKEN)
        installation.configure(TABLES, self._scenario.workers, MORE)
        installation.environ |= {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1", "TZ": ZONE}
        if ahead:
            installation.environ |= _faked(folder, code, ahead)
        return installation

    def play(self) -> Record:
        """Run the whole scenario. The daemons are stopped at the end, even after an error."""
        try:
            return self._play()
        finally:
            self._errands.close()
            for installation in self._installations:
                with contextlib.suppress(OSError):
                    installation.close()

    def _play(self) -> Record:
        started = time.monotonic()
        ahead = time.time() - started
        for installation in self._installations:
            installation.foreground()
        self._take_steps(time.monotonic())
        taken = [_taken(installation.processes[-1].pid) for installation in self._installations]
        stopped = time.monotonic()
        for number, _ in enumerate(self._installations):
            self._command("stop", "", node=number)
        names = {later: first for first, later in self._called.items()}
        names |= {one.words[0]: one.job for one in self._commands if one.what == "rename"}
        logs = "".join(installation.log() for installation in self._installations)
        seen = gather(self._database, self._folder / "witness", self._look, names)
        return Record(
            scenario=self._scenario,
            started=started,
            stopped=stopped,
            ended=time.monotonic(),
            ahead=ahead,
            names=names,
            **seen,
            commands=self._commands,
            logs=logs,
            memory=max(memory for memory, _ in taken),
            descriptors=max(descriptors for _, descriptors in taken),
        )

    def _take_steps(self, begin: float) -> None:
        """Add the jobs, take each step at its moment, and wait EFFECT_TIME seconds for the effects."""
        self._until = begin + self._scenario.seconds + EFFECT_TIME
        self._add_jobs()
        for step in self._scenario.steps:
            late = time.monotonic() - begin - step.at
            time.sleep(max(0.0, -late))
            if late < LATE or step.what in UNDOING:
                self._do(step)
        time.sleep(max(0.0, self._until - time.monotonic()))
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        back = max((one.answered for one in self._commands if one.what in FAULTS), default=0.0)
        time.sleep(max(0.0, back + EFFECT_TIME - time.monotonic()))

    # Jobs

    def _add_jobs(self) -> None:
        """Add the jobs; if there are many, with a file, because so many commands would take longer than the play."""
        jobs = self._scenario.jobs
        in_file = [job for job in jobs if job.words[0] in (TOGETHER, "--every")] if len(jobs) > MANY else []
        in_file += [job for job in jobs if job.words[0] == TOGETHER and job not in in_file]
        for job in jobs:
            if job not in in_file:
                # --force, because the check of the task starts a process in the daemon each time.
                done = self._command("add", job.name, "--force", *_words(job))
                assert done.code == 0, done
        if in_file:
            done = self._apply({job.name: _table(job) for job in in_file})
            assert done.code == 0, done

    def _apply(self, tables: dict[str, object], mark: int = 0, job: str = "") -> Command:
        file = self._folder / "jobs.toml"
        file.write_text(tomli_w.dumps({"job": tables}))
        return self._command("apply", job, str(file), "--yes", mark=mark)

    def _apply_changed(self, job: str) -> None:
        """Write all jobs to a file, change one there, and apply it."""
        mark = self._next_mark(job)
        asked = time.monotonic()
        exported = self._command("export", "")
        tables = tomllib.loads(exported.output).get("job", {}) if exported.code == 0 else {}
        if (table := tables.get(self._called[job])) is not None:
            table["args"][MARK] = mark
            done = self._apply(tables, mark, job)
            with self._lock:  # the change started with the export
                self._commands[self._commands.index(done)] = done._replace(asked=asked)

    def _next_mark(self, job: str) -> int:
        self._marks[job] += 1
        return self._marks[job]

    # Steps

    def _do(self, step: Step) -> None:
        what, job, node = step.what, step.job, step.node
        if what == "run --wait":
            self._later(lambda: self._command("run", job, "--wait"))
        elif what == "set":
            mark = self._next_mark(job) if self._plans[job].witnessed else 0
            words = [*step.words, "--arg", f"{MARK}={mark}"] if mark else step.words
            self._command("set", job, *words, mark=mark)
        elif what == "apply":
            if self._plans[job].witnessed:
                self._apply_changed(job)
        elif what == "add again":
            mark = self._next_mark(job)
            plan = self._plans[job]._replace(arguments=self._plans[job].arguments | {MARK: mark})
            self._command("add", job, *_words(plan), mark=mark)
        elif what == "rename":
            self._rename(job)
        elif what == "look":
            self._command("look", "", *step.words)
        elif what in ("run", "cancel", "pause", "resume", "rm", "restore"):
            self._command(what, job, *(("--yes",) if what == "rm" else ()))
        elif what.startswith("sql "):
            self._sql(what, job)
        elif what == "away":
            self._later(lambda: self._away(float(step.words[0])))
        else:
            self._do_to_node(what, node, step.words)

    def _do_to_node(self, what: str, node: int, words: tuple[str, ...]) -> None:
        if what == "bad code" and self._locks[node].locked():
            what = "reload"  # a starting daemon would accept those of the plugins that load
        if what in ("reload", "new code", "bad code"):
            if what == "new code":
                self._versions[node] += 1
            if what != "reload":
                self._write_plugins(node, refused=what == "bad code")
            mark = {"reload": 0, "new code": self._versions[node], "bad code": REFUSED}[what]
            self._command("reload", "", node=node, mark=mark)
        elif what in ("kill", "down"):
            self._later(lambda: self._again(what, node, signal.SIGKILL, float((*words, "0")[0])))
        elif what == "restart":
            self._later(lambda: self._again(what, node, signal.SIGTERM))
        else:
            raise ValueError(f"there is no step {what!r}")

    def _write_plugins(self, node: int, refused: bool = False) -> None:
        """Write the plugins in their present version. `refused`: one that must not run, beside a broken plugin."""
        version = self._versions[node] + refused / 2
        plugins = self._installations[node].folder / "plugins"
        (plugins / "tasks.py").write_text(self._plugin.replace("VERSION = 0", f"VERSION = {version}"))
        (plugins / "spare.py").write_text("this is no Python\n" if refused else "")

    def _later(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)

    def _command(self, what: str, job: str, *words: str, node: int = 0, mark: int = 0) -> Command:
        patience = max(1.0, self._until - time.monotonic()) if "--wait" in words else PATIENCE
        as_json = ["--json"] if what in ("add", "set", "run") else []
        named = [self._called[job]] if job and what != "apply" else []
        command = list(words) if what == "look" else [what, *named, *as_json, *words]
        config = str(self._installations[node].folder / "jobd.toml")
        zone = SHELLS[len(self._commands) % len(SHELLS)]
        asked = time.monotonic()
        code, output, errors = self._errands.run(
            ["--config", config, *command], self._installations[node].folder, patience, zone
        )
        return self._note(Command(what, job, words, asked, time.monotonic(), code, output, errors, mark, node))

    def _look(self, *words: str) -> object:
        """The JSON output of a command, after the play."""
        config = str(self._installations[0].folder / "jobd.toml")
        code, output, errors = self._errands.run(["--config", config, *words, "--json"], self._folder, PATIENCE)
        assert code == 0, errors
        return json.loads(output)

    def _note(self, command: Command) -> Command:
        with self._lock:
            self._commands.append(command)
        return command

    def _rename(self, job: str) -> None:
        new = f"{job}~{len(self._commands)}"
        done = self._command("rename", job, new)
        if done.code == 0:
            self._called[job] = new

    def _again(self, what: str, node: int, number: int, down: float = 0.0) -> None:
        """End a daemon and start it again."""
        installation = self._installations[node]
        with self._locks[node]:
            asked = time.monotonic()
            process = installation.processes[-1]
            process.send_signal(number)
            process.wait(PATIENCE)
            time.sleep(down)
            self._write_plugins(node)  # a starting daemon accepts these plugins
            with contextlib.suppress(AssertionError):
                installation.foreground()
            code = installation.processes[-1].poll() or 0
            self._note(Command(what, "", (), asked, time.monotonic(), code, "", "", node=node))

    def _sql(self, what: str, job: str) -> None:
        asked = time.monotonic()
        interval = self._database.quoted("interval")
        with self._database.opened() as (cursor, mark):
            if what == "sql insert":
                cursor.execute("SELECT count(*) FROM job WHERE name = 'plain'")
                if not cursor.fetchone()[0]:
                    cursor.execute(f"INSERT INTO job (name, {interval}) VALUES ('plain', '700ms')")
                job = "plain"
            else:
                column, value = {
                    "sql delete": ("is_delete", 1),
                    "sql undelete": ("is_delete", 0),
                    "sql interval": (interval, "400ms"),
                    "sql retry": ("retry_times", 1),
                }[what]
                cursor.execute(f"UPDATE job SET {column} = {mark} WHERE name = {mark}", (value, self._called[job]))
        self._note(Command(what, job, (), asked, time.monotonic(), 0, "", ""))

    def _away(self, seconds: float) -> None:
        """Prevent writes to the database for a while."""
        asked = time.monotonic()
        with self._database.opened() as (cursor, _):
            cursor.execute(self._database.lock())
            time.sleep(seconds)
        self._note(Command("away", "", (), asked, time.monotonic(), 0, "", ""))


def _words(job: JobPlan) -> list[str]:
    """The words after `jobd add NAME`, including the task's arguments."""
    words = list(job.words)
    cut = words.index("--") if "--" in words else len(words)
    arguments = [word for key, value in job.arguments.items() for word in ("--arg", f"{key}={json.dumps(value)}")]
    return [*words[:cut], *arguments, *words[cut:]]


def _table(job: JobPlan) -> dict[str, object]:
    """A job as a table of a job file; jobs with TOGETHER are due at the same second."""
    interval = job.words[1]
    if job.words[0] == TOGETHER:
        interval = f"at {datetime.now(UTC) + timedelta(seconds=TOGETHER_IN + float(interval)):%Y-%m-%dT%H:%M:%S}Z"
    table: dict[str, object] = {"interval": interval, "task": job.option("--task")}
    numbers = {"priority": int(job.option("--priority") or 0), "retry_times": int(job.option("--retry") or 0)}
    arguments = {key: value for key, value in job.arguments.items() if value is not None}
    return table | numbers | {"args": arguments}


def _faked(folder: Path, code: Path, ahead: float) -> dict[str, str]:
    """The environment of a program whose wall clock is ahead, and whose monotonic clock is unchanged."""
    libraries = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        servers.missing("libfaketime", "apt-get install libfaketime")
    # Under libfaketime, time.sleep fails if the sleep ends before it has started.
    mended = folder / "mended"
    mended.mkdir()
    (mended / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], max(0, seconds)) and None\n"
    )
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": f"{ahead:+g}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": f"{mended}:{code}",
    }


def _taken(pid: int) -> tuple[int, int]:
    """The peak memory (KiB) and the number of descriptors of a daemon."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]), len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, IndexError):
        return 0, 0


def play(scenario: Scenario, folder: Path, url: str, code: Path = ROOT) -> Record:
    """Play a scenario in an empty folder, on the empty database at `url`."""
    return Player(scenario, folder, url, code).play()


@contextlib.contextmanager
def databases(kind: str) -> Iterator[Callable[[Path], str]]:
    """A function that returns the URL of a new, empty database of this kind; its argument is a folder."""
    if kind == "sqlite":
        yield servers.sqlite_url
        return
    lock = threading.Lock()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.running("postgresql" if kind == "pgbouncer" else kind))
        if kind == "pgbouncer":
            server = stack.enter_context(servers.pooled(server))

        def new(_: Path) -> str:
            with lock:
                return server.new_database()

        yield new


def keep(folder: Path, to: Path, record: Record | None) -> None:
    """Save the files and the record of a failing scenario."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(folder, to, symlinks=True, ignore=shutil.ignore_patterns("jobd.sock", "errands"))
    if record is not None:
        (to / "scenario.json").write_text(record.scenario.to_json())
        (to / "commands").write_text("\n".join(map(str, record.commands)) + "\n")
        (to / "history.json").write_text("\n".join(map(json.dumps, record.history)) + "\n")
