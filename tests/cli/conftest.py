"""A person at a terminal: the real `python -m jobd`, as a process, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PLUGIN = """
import jobd

@jobd.task
def hello(n=1, token="", **more):
    print("hello", n)

@jobd.task
def report():
    pass
"""
ROOT = Path(__file__).parents[2]


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Types commands in a folder with a jobd.toml and a plugins folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            key: value for key, value in os.environ.items() if not key.startswith("JOBD_") and key != "NO_COLOR"
        } | {"PYTHONPATH": str(ROOT), "TZ": "Europe/Berlin"}
        (folder / "plugins").mkdir()
        (folder / "plugins" / "greet.py").write_text(PLUGIN)
        (folder / "jobd.toml").write_text('database = "sqlite:///jobd.db"\ntimezone = "Europe/Berlin"\n')

    def __call__(self, *words: str, stdin: str | None = None, **env: str) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "jobd", *words],
            cwd=self.folder,
            env=self.env | env,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def fine(self, *words: str, stdin: str | None = None) -> Answer:
        """Type it and expect success."""
        answer = self(*words, stdin=stdin)
        assert answer.code == 0, answer
        return answer

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """A foreign program's access to the table."""
        import sqlite3

        connection = sqlite3.connect(self.folder / "jobd.db")
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()


@pytest.fixture
def jobd(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def refused(jobd: Cli) -> Callable[..., str]:
    """Type something wrong; one line on stderr, perhaps with a picture of the place, and nothing has changed."""

    def refuse(*words: str, code: int = 2, stdin: str | None = None) -> str:
        before = jobd("list", "--all", "--json")
        answer = jobd(*words, stdin=stdin)
        assert answer.code == code, answer
        assert answer.err.startswith("jobd: error: "), answer
        _, *picture = answer.err.splitlines()
        assert not picture or (len(picture) == 2 and picture[1].strip() == "^"), answer
        assert jobd("list", "--all", "--json") == before
        return answer.err

    return refuse
