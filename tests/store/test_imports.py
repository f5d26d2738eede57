"""A command that writes loads peewee with the needed driver, and no other driver."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from jobd.config import load
from jobd.job import Job
from jobd.store import definitions
from jobd.store.store import open_store
assert "peewee" not in sys.modules
store = open_store(load(sys.argv[1], {}))
definitions.add(store, [Job("hello", "10s")], 0, "UTC")
definitions.set_paused(store, ["hello"], True, 0, "UTC")
assert "peewee" in sys.modules
print(*sys.modules)
"""


def test_sqlite_loads_no_other_driver(tmp_path: Path) -> None:
    (tmp_path / "jobd.toml").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "jobd.toml")], capture_output=True, text=True, check=True
    )
    assert not {"psycopg", "pymysql", "MySQLdb"} & set(done.stdout.split())
