"""jobd as a service of a real systemd: installed with `make install`, run by the unit that `jobd systemd` prints."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.machine import Machine

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
TICK = """
import jobd

@jobd.task
def tick():
    print("tick")
"""
SLOW = """
import time
import jobd

@jobd.task
def slow():
    print("slow begins")
    time.sleep(8)
    print("slow ends")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make install` puts in place, in a folder of its own."""
    if os.geteuid() != 0 or not Path("/lib/systemd/systemd").exists():
        message = "booting a systemd needs root and the package systemd"
        if os.environ.get("JOBD_TEST_REQUIRE") == "all":
            pytest.fail(message)
        pytest.skip(message)
    destination = tmp_path_factory.mktemp("installed")
    make("install", destination)
    return destination


def make(target: str, destination: Path, **more: str) -> str:
    """What `make install` or `make uninstall` prints."""
    words = [f"{name}={value}" for name, value in more.items()]
    done = subprocess.run(["make", target, f"DESTDIR={destination}", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def machine(installed: Path) -> Iterator[Machine]:
    """A booted machine on which jobd is enabled and running."""
    booted = Machine(installed)
    try:
        booted.run("systemd-sysusers")
        booted.write("/etc/jobd/plugins/tick.py", TICK)
        booted.write("/etc/systemd/system/jobd.service.d/quick.conf", "[Service]\nRestartSec=100ms\n")
        booted.run("systemctl", "daemon-reload")
        booted.run("systemctl", "enable", "--now", "jobd")
        yield booted
    finally:
        booted.end()


def jobd(machine: Machine, *words: str) -> Any:
    """A jobd command of the service's user, with --json; what it answers."""
    return json.loads(machine.run("runuser", "-u", "jobd", "--", "/usr/local/bin/jobd", *words, "--json"))


def runs(machine: Machine, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = jobd(machine, "history", name)
    return found


def test_a_job_that_is_added_runs(machine: Machine) -> None:
    assert machine.show("ActiveState") == "active"
    jobd(machine, "add", "tick", "--every", "200ms")
    machine.wait_for(lambda: len(runs(machine, "tick")) > 3, "tick to run")
    assert {run["outcome"] for run in runs(machine, "tick")} == {"succeeded"}


def test_a_reload_takes_a_new_plugin(machine: Machine) -> None:
    machine.write("/etc/jobd/plugins/slow.py", SLOW)
    pid = machine.show("MainPID")
    machine.run("systemctl", "reload", "jobd")
    assert jobd(machine, "run", "tick", "--wait")["outcome"] == "succeeded"
    jobd(machine, "add", "slow", "--once")
    machine.wait_for(lambda: runs(machine, "slow"), "slow to run")
    assert runs(machine, "slow")[0]["outcome"] == "succeeded"
    assert machine.show("MainPID") == pid


def test_after_kill_9_it_is_restarted_and_nothing_is_lost(machine: Machine) -> None:
    before = runs(machine, "tick")
    pid = machine.show("MainPID")
    machine.run("kill", "-9", pid)
    machine.wait_for(lambda: machine.show("MainPID") not in (pid, "0"), "the restart")
    machine.wait_for(lambda: runs(machine, "tick")[0]["run"] > before[0]["run"] + 2, "tick to go on")
    after = [run["run"] for run in runs(machine, "tick")]
    assert after == list(range(after[0], 0, -1)), "a run is missing from the history"


def test_a_hung_loop_is_ended_by_the_watchdog(machine: Machine) -> None:
    drop_in = "/etc/systemd/system/jobd.service.d/watchdog.conf"
    machine.write(drop_in, "[Service]\nWatchdogSec=3\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "jobd")
    pid, restarts = machine.show("MainPID"), int(machine.show("NRestarts"))
    time.sleep(7)  # it feeds the watchdog
    assert (machine.show("MainPID"), int(machine.show("NRestarts"))) == (pid, restarts)
    machine.run("kill", "-STOP", pid)
    machine.wait_for(lambda: int(machine.show("NRestarts")) > restarts, "the watchdog")
    machine.wait_for(lambda: machine.show("ActiveState") == "active", "the restart")
    assert "watchdog" in machine.run("journalctl", "-u", "jobd", "--no-pager").lower()
    machine.run("rm", drop_in)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "jobd")


def test_a_stop_lets_a_run_finish(machine: Machine) -> None:
    number = jobd(machine, "run", "slow")["run"]
    machine.wait_for(lambda: jobd(machine, "show", "slow")["state"] == "running", "slow to run")
    machine.run("systemctl", "stop", "jobd")
    assert machine.show("Result") == "success"
    last = runs(machine, "slow")[0]
    assert (last["run"], last["outcome"]) == (number, "succeeded")
    assert machine.run("pgrep", "-u", "jobd", check=False) == ""


def test_a_stop_with_a_longer_time_than_the_units_lets_a_run_finish(machine: Machine) -> None:
    drop_in = "/etc/systemd/system/jobd.service.d/stop.conf"
    machine.write(drop_in, "[Service]\nTimeoutStopSec=2\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "jobd")
    number = jobd(machine, "run", "slow")["run"]
    machine.wait_for(lambda: jobd(machine, "show", "slow")["state"] == "running", "slow to run")
    machine.run("runuser", "-u", "jobd", "--", "/usr/local/bin/jobd", "stop", "--timeout", "1m")
    machine.wait_for(lambda: machine.show("ActiveState") == "inactive", "the end")
    assert machine.show("Result") == "success"
    last = runs(machine, "slow")[0]
    assert (last["run"], last["outcome"]) == (number, "succeeded")
    machine.run("rm", drop_in)
    machine.run("systemctl", "daemon-reload")


def test_the_journal_has_the_lines_of_a_run(machine: Machine) -> None:
    journal = machine.journal()
    for part in ("is up: node 1", "tick", "slow begins", "slow ends", "reloaded", "is stopping", "has stopped"):
        assert part in journal, journal


def test_installing_again_overwrites_nothing_of_the_user(installed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(installed, copy, symlinks=True)
    (copy / "etc/jobd/jobd.toml").write_text("# mine\n" + (copy / "etc/jobd/jobd.toml").read_text())
    (copy / "etc/jobd/plugins/mine.py").write_text("")
    for target in ("install", "uninstall"):
        make(target, copy)
        assert (copy / "etc/jobd/jobd.toml").read_text().startswith("# mine\n")
        assert (copy / "etc/jobd/plugins/mine.py").exists()
    assert not (copy / "usr/local/lib/jobd").exists()


def test_the_service_runs_on_a_python_that_its_user_can_run(installed: Path) -> None:
    settings = (installed / "usr/local/lib/jobd/pyvenv.cfg").read_text()
    assert "home = /usr/bin\n" in settings, "root's PATH may begin with a Python that only root can read"


def test_a_python_that_the_services_user_cannot_run_is_refused(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    python = hidden / "python3"
    shutil.copy(os.path.realpath("/usr/bin/python3"), python)
    done = subprocess.run(
        ["make", "install", f"DESTDIR={tmp_path}/to", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"the user that the service runs as cannot run {python}" in done.stderr
    assert not (tmp_path / "to/usr/local/lib/jobd").exists()


def test_an_install_that_fails_leaves_the_installation_as_it_was(installed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(installed, copy, symlinks=True)
    done = subprocess.run(
        ["make", "install", f"DESTDIR={copy}", "PIP_OPTIONS=--no-such-option"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    version = subprocess.run(
        [copy / "usr/local/lib/jobd/bin/python", "-m", "jobd", "--version"], capture_output=True, text=True
    )
    assert version.stdout.startswith("jobd ")


def test_no_script_names_the_folder_that_it_was_built_in(installed: Path) -> None:
    for script in (installed / "usr/local/lib/jobd/bin").iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_text("utf-8", "replace")
            assert str(installed) not in text, script
            assert "jobd.new" not in text, script
