"""Writers that are killed with kill -9 while they add, change and delete jobs, several of them on one database.

Two hundred of them on SQLite, and some on each server. The tables are made by writers that may die of it, too.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobd.store.store import Store
from tests.cli.conftest import ROOT
from tests.edits import STORED, judge, stored

AT_ONCE = 4
ONE = "(SELECT id FROM job WHERE name LIKE 'w0-%' LIMIT 1)"
DAMAGE = (
    f"DELETE FROM job WHERE id = {ONE}",
    f"UPDATE job SET retry_times = 10 WHERE id = {ONE}",
    f"UPDATE job SET is_delete = 1 - is_delete WHERE id = {ONE}",
    f"DELETE FROM schedule WHERE job_id = {ONE}",
    f"UPDATE schedule SET basis = '' WHERE job_id = {ONE}",
    f"DELETE FROM job_options WHERE job_id = {ONE}",
    f"UPDATE job_options SET paused = 1 - paused WHERE job_id = {ONE}",
)
Rows = Callable[[str], list[tuple[Any, ...]]]


def die(database: str, folder: Path, seed: int, count: int) -> dict[str, int]:
    """Start and kill writers. The result is the number of acknowledged edits of each."""
    (folder / "jobd.toml").write_text(f'database = "{database}"\n[pool.big]\nworkers = 1\n')
    words = [str(folder / "jobd.toml"), *map(str, (seed, count, AT_ONCE))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.writers", *words],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("JOBD_")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    acknowledged = {f"w{number}": 0 for number in range(count)}
    for line in done.stdout.splitlines():
        number, edits, code = line.split()
        assert code == "0", line
        acknowledged[f"w{number}"] = int(edits)
    return acknowledged


def check(rows: Rows, acknowledged: dict[str, int], seed: int) -> None:
    """Every acknowledged edit is there, each other one is there whole or not at all, and nothing else is there."""
    found = stored(rows(STORED))
    for author, edits in acknowledged.items():
        judge(found, author, seed, edits)
    assert {name.split("-")[0] for name in found} <= set(acknowledged)
    for table in ("job_options", "schedule"):
        assert rows(f"SELECT job_id FROM {table} WHERE job_id NOT IN (SELECT id FROM job)") == []


def test_acknowledged_writes_survive_every_death_of_their_writer(
    database: str, tmp_path: Path, open_store: Callable[[str], Store]
) -> None:
    count, seed = 200 if database.startswith("sqlite") else 20, 20_260_724
    acknowledged = die(database, tmp_path, seed, count)
    print(f"{sum(acknowledged.values())} edits were acknowledged")
    assert sum(acknowledged.values()) > count
    store = open_store(database)
    check(lambda sql: store.transact(lambda session: session.rows(sql)), acknowledged, seed)
    if database.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(tmp_path / "jobd.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_check_sees_lost_and_partial_writes(tmp_path: Path) -> None:
    acknowledged = die(f"sqlite:///{tmp_path}/jobd.db", tmp_path, 1, 8)
    with contextlib.closing(sqlite3.connect(tmp_path / "jobd.db", isolation_level=None)) as connection:
        for damage in DAMAGE:
            check(lambda sql: connection.execute(sql).fetchall(), acknowledged, 1)
            connection.execute("BEGIN")
            assert connection.execute(damage).rowcount == 1
            with pytest.raises(AssertionError):
                check(lambda sql: connection.execute(sql).fetchall(), acknowledged, 1)
            connection.execute("ROLLBACK")
