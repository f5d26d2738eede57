"""Tasks and programs have the daemon's environment, umask and folder, without jobd's own variables."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobd.config import load
from jobd.daemon.plugins import environment
from jobd.plugins.environment import OF_THE_MANAGER
from tests.installation import ROOT, Installation

PLUGIN = """
import os, subprocess, sys
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))
open(HOME + "/imported", "w").close()

@jobd.task
def looks():
    open("made", "w").close()
    return {"umask": os.stat("made").st_mode & 0o777, "environ": dict(os.environ)}

@jobd.task
def imports_jobd_in_a_child():
    import multiprocessing
    child = multiprocessing.get_context("spawn").Process(target=print, args=("hello",))
    child.start()
    child.join()
    return child.exitcode
"""
KEPT = {
    "PGUSER": "ann", "PGPASSWORD": "x", "PGHOST": "/run", "MYSQL_PWD": "x", "MYSQL_HOST": "db", "LISTEN_PORT": "80",
    "WATCHDOG_URL": "http://x", "JOBD_CONFIG_NOTE": "x", "JOURNAL_STREAM_NAME": "x", "PATH": os.environ["PATH"],
}  # fmt: skip


@pytest.fixture
def make_installation(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    installations: list[Installation] = []

    def make(**environ: str) -> Installation:
        installation = Installation(tmp_path / "home", plugin=PLUGIN)
        installation.environ |= environ
        installations.append(installation)
        return installation

    yield make
    for installation in installations:
        installation.close()


def seen(installation: Installation) -> dict[str, Any]:
    installation.fine("add", "looks", "--once")
    found: dict[str, Any] = installation.ended("looks")[0]["result"]
    return found


@pytest.fixture(params=[0o002, 0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("start", ["foreground", "background"])
def test_a_task_and_a_program_have_the_umask_of_the_start(
    make_installation: Callable[..., Installation], umask: int, start: str
) -> None:
    installation = make_installation(SMALL="")
    installation.environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    installation.foreground() if start == "foreground" else installation.fine("start")
    assert seen(installation)["umask"] == 0o666 & ~umask
    installation.fine("add", "touch", "--once", "--", "touch", str(installation.folder / "touched"))
    assert installation.ended("touch")[0]["outcome"] == "succeeded"
    for file in (installation.folder / "touched", installation.folder / "imported"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    installation.fine("stop")
    of_tasks = [
        installation.state / "made",
        *installation.state.glob("jobd.code/*/__pycache__"),
        *installation.state.glob("jobd.code/*/*/*.pyc"),
    ]
    own = [path for path in installation.state.rglob("*") if path not in of_tasks] + [installation.folder / "jobd.db"]
    assert not [path for path in own if path.stat().st_mode & 0o077]
    assert not installation.state.stat().st_mode & 0o077


def test_only_jobds_own_variables_are_missing_in_the_environment(
    make_installation: Callable[..., Installation],
) -> None:
    installation = make_installation(
        **KEPT, **dict.fromkeys(OF_THE_MANAGER[:-1], "0"), CREDENTIALS_DIRECTORY="/nowhere"
    )
    del installation.environ["NOTIFY_SOCKET"]
    installation.environ["JOBD_DATABASE"] = f"sqlite:///{installation.folder}/other.db"
    installation.foreground()
    environ = {"KEPT": "", **json.loads(json.dumps(seen(installation)["environ"]))}
    assert {name: environ.get(name) for name in KEPT} == KEPT
    assert not {*OF_THE_MANAGER, "JOBD_DATABASE"} & set(environ)


def test_a_path_for_python_is_the_users_or_none(make_installation: Callable[..., Installation]) -> None:
    installation = make_installation()
    own = os.pathsep.join((str(ROOT), "/nowhere/of/my/own"))
    installation.environ["PYTHONPATH"] = own
    installation.foreground()
    assert seen(installation)["environ"]["PYTHONPATH"] == own
    installation.fine("stop")
    del installation.environ["PYTHONPATH"]
    installation.foreground()
    installation.fine("run", "looks", "--wait")
    assert "PYTHONPATH" not in installation.ended("looks", 2)[0]["result"]["environ"]
    installation.fine("add", "program", "--once", "--", "printenv", "PYTHONPATH")
    assert installation.ended("program")[0]["error"] == "exit code 1"
    installation.fine("add", "imports_jobd_in_a_child", "--once")
    assert installation.ended("imports_jobd_in_a_child")[0]["result"] == 0


@pytest.mark.parametrize(
    ("url", "password", "kept"),
    [
        ("postgresql://ann@db/jobs", "", False),
        ("postgres://db/jobs", "", False),
        ("postgresql://ann:given@db/jobs", "", True),
        ("postgresql://ann@db/jobs", "given", True),
        ("mysql://ann@db/jobs", "", True),
        ("sqlite:///jobd.db", "", True),
    ],
)
def test_a_password_of_libpq_is_kept_from_tasks_where_it_is_that_of_jobd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, password: str, kept: bool
) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    file = tmp_path / "jobd.toml"
    file.write_text(f'database = "{url}"\n' + ('password_file = "password"\n' if password else ""))
    (tmp_path / "password").write_text(password)
    assert ("PGPASSWORD" in environment(load(str(file), {}))) == kept


def test_the_page_names_each_variable_that_is_dropped() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text()
    assert not [name for name in (*OF_THE_MANAGER, "JOBD_DATABASE", "PGPASSWORD") if f"`{name}`" not in page]
