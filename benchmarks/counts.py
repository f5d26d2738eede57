"""Counts of jobd's actions: the same on every machine, under every load.

Bytecodes of Python, instructions of SQLite's virtual machine, SQL statements, modules loaded.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.common import ROOT, TAB, Installation, installation, later, once
from jobd.claim import ClaimUpdate
from jobd.job import JobState, Run
from jobd.store import schedule_table
from jobd.store.schedule_table import Claimed
from jobd.store.store import Session, Store
from jobd.store.url import parse_url

APPLIED = 200
LISTED = 300
CLAIMED = 1_000
STORED = 5_000


def command(jobd: Installation, warm: list[str], counted: list[str], **environ: str) -> tuple[int, int]:
    """(bytecodes of `counted`, modules that `warm` has loaded)."""
    traced = [sys.executable, "-m", "benchmarks.traced", json.dumps(warm), json.dumps(counted)]
    environ = jobd.environ | environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(traced, env=environ, cwd=ROOT, capture_output=True, check=True)
    bytecodes, modules = done.stderr.decode().splitlines()[-1].split()
    return int(bytecodes), int(modules)


def commands() -> dict[str, float]:
    """What a person waits for."""
    with installation() as jobd:
        files = []
        for name, count in (("warm", 2), ("counted", APPLIED)):
            files.append(str(jobd.folder / f"{name}.toml"))
            lines = (f'[job.{name}{number}]\ntask = "noop"\ninterval = "1h"\n' for number in range(count))
            Path(files[-1]).write_text("".join(lines))
        applied, _ = command(jobd, ["apply", "--yes", files[0]], ["apply", "--yes", files[1]])
    with installation() as jobd:
        jobd.define(LISTED, lambda number: 'interval = "1h"')
        listed, modules = command(jobd, ["list"], ["list"])
        as_json, _ = command(jobd, ["list", "--json"], ["list", "--json"])
        _, modules_help = command(jobd, ["--help"], ["--help"])
        _, modules_show = command(jobd, ["show", "bench1"], ["list"])
        _, modules_tab = command(jobd, [], [], **TAB)
    return {
        "bytecodes of `jobd apply`, a job": applied / APPLIED,
        "bytecodes of `jobd list`, a job": listed / LISTED,
        "bytecodes of `jobd list --json`, a job": as_json / LISTED,
        "modules that `jobd list` loads": modules,
        "modules that `jobd --help` loads": modules_help,
        "modules that `jobd show` loads": modules_show,
        "modules that Tab on a name loads": modules_tab,
    }


class Counter:
    """Counts what a connection to SQLite is asked to do."""

    def __init__(self, session: Session) -> None:
        self.steps = self.statements = 0
        self.connection = session.cursor.connection
        self.connection.set_progress_handler(self._step, 1)
        self.connection.set_trace_callback(self._statement)

    def _step(self) -> int:
        self.steps += 1
        return 0

    def _statement(self, sql: str) -> None:
        self.statements += 1

    def close(self) -> None:
        """Count no more."""
        self.connection.set_progress_handler(None, 0)
        self.connection.set_trace_callback(None)


def database() -> dict[str, float]:
    """The work of SQLite to claim many jobs and to record their runs, with more stored that are not due."""
    with installation() as jobd:
        jobd.define(STORED, lambda number: later(number) if number >= CLAIMED else once(number))
        store = Store(parse_url(jobd.url))
        counters = []

        def claim(session: Session) -> list[Claimed]:
            counters.append(Counter(session))
            claimed = schedule_table.claim(session, 1, "default", 2**52, CLAIMED)
            counters[-1].close()
            return claimed

        def record(session: Session) -> set[int]:
            counters.append(Counter(session))
            recorded = schedule_table.record(session, [_end_of_run(one.state) for one in claimed], 30)
            counters[-1].close()
            return recorded

        claimed = store.transact(claim)
        if len(store.transact(record)) != CLAIMED:
            raise RuntimeError("the jobs were not claimed and their runs not recorded")
        store.close()
    return {
        "SQLite instructions to claim a job": counters[0].steps / CLAIMED,
        "SQLite instructions to record a run": counters[1].steps / CLAIMED,
        f"SQL statements to claim {CLAIMED:,} jobs and record their runs": sum(one.statements for one in counters),
    }


def _end_of_run(state: JobState) -> ClaimUpdate:
    done = state._replace(node=0, due=None, ready=None, number=state.number + 1)
    run = Run(state.job_id, state.number, state.due or 0, 20, 30, 1, "succeeded", state.node)
    return ClaimUpdate(state.node, state.token, done, run, ())


def measure() -> dict[str, float]:
    """Every count by its name."""
    return commands() | database()
