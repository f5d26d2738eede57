"""A run has the code that was accepted at a start, at a reload, or when a command found it, whatever lies there since.

Each task writes its version down, with the moment, into a file beside the plugins folder.
"""

import json
import os
import signal
import sqlite3
import time
from typing import Any

import pytest

from tests.house import LONG, House, until
from tests.processes import is_gone

TASK = """
import json, os, time
import jobd
from helper import HELP

VERSION = {version}

@jobd.task
def work(waits=False, dies=False, fails=False, forked=False):
    line = {{"version": VERSION, "helper": HELP, "begin": time.monotonic(), "pid": os.getpid()}}
    line["worker"] = os.getppid() if forked else os.getpid()
    descriptor = os.open(os.path.join(os.path.dirname(__file__), "..", "seen"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, json.dumps(line).encode() + b"\\n")
    os.close(descriptor)
    if waits:
        while not os.path.exists(os.path.join(os.path.dirname(__file__), "..", "go")):
            time.sleep(0.01)
        import late
        os.write(1, b"late %d\\n" % late.VERSION)
    if dies:
        os._exit(3)
    if fails:
        raise ValueError("as it was accepted")
"""
NEVER = "2100-01-01T00:00:00"
BROKEN = "this is no Python\n"


@pytest.fixture
def house(house: House) -> House:
    for path in (house.folder / "plugins").iterdir():
        path.unlink()
    put(house, 1)
    return house


def put(house: House, version: int) -> None:
    """Lay this version of the plugins into the folder."""
    write(house, "tasks.py", TASK.format(version=version))
    write(house, "helper.py", f"HELP = {version}\n")
    write(house, "late.py", f"VERSION = {version}\n")


def write(house: House, name: str, text: str) -> None:
    new = house.folder / "new"
    new.write_text(text)
    new.rename(house.folder / "plugins" / name)


def seen(house: House) -> list[dict[str, Any]]:
    file = house.folder / "seen"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def next_version(house: House, job: str = "job") -> int:
    """The version that the job's next run has."""
    before = len(seen(house))
    house.fine("run", job, "--wait")
    until(lambda: len(seen(house)) > before, "the run")
    line = seen(house)[-1]
    assert line["version"] == line["helper"], line
    return int(line["version"])


def kill_worker(house: House) -> None:
    """Kill the worker that had the last run, itself or in a child; another takes its place."""
    pid = seen(house)[-1]["worker"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid), "the end of the worker")


def copies(house: House) -> list[str]:
    return sorted(os.listdir(house.state / "jobd.code"))


@pytest.mark.parametrize("isolation", ["warm", "fork", "fresh"])
def test_after_a_refused_reload_every_worker_has_the_old_code(house: House, isolation: str) -> None:
    house.foreground()
    forked = json.dumps(isolation == "fork")
    house.fine("add", "job", "--task", "work", "--at", NEVER, "--isolation", isolation, "--arg", f"forked={forked}")
    assert next_version(house) == 1
    put(house, 2)
    write(house, "tasks.py", BROKEN)
    refused = house.jobd("reload")
    assert refused.returncode == 1
    assert "does not load any more: SyntaxError" in refused.stderr
    assert next_version(house) == 1
    if isolation != "fresh":
        kill_worker(house)
    assert next_version(house) == 1
    put(house, 3)
    house.fine("reload")
    assert next_version(house) == 3


@pytest.mark.parametrize("change", ["changed", "broken", "removed", "another folder in its place"])
def test_what_lies_in_the_folder_is_not_in_effect_before_a_reload(house: House, change: str) -> None:
    house.foreground()
    house.fine("add", "job", "--task", "work", "--at", NEVER)
    if change == "changed":
        put(house, 2)
    elif change == "broken":
        write(house, "helper.py", BROKEN)
    elif change == "removed":
        for path in (house.folder / "plugins").iterdir():
            path.unlink()
    else:
        (house.folder / "plugins").rename(house.folder / "elsewhere")
        (house.folder / "plugins").mkdir()
        put(house, 2)
    assert next_version(house) == 1
    kill_worker(house)
    assert next_version(house) == 1


def test_a_start_takes_what_is_there_however_the_daemon_before_ended(house: House) -> None:
    daemon = house.foreground()
    house.fine("add", "job", "--task", "work", "--at", NEVER)
    assert next_version(house) == 1
    put(house, 2)
    daemon.kill()
    daemon.wait()
    house.foreground()
    assert next_version(house) == 2
    assert len(copies(house)) == 1


@pytest.mark.parametrize("isolation", ["warm", "fork", "fresh"])
def test_a_long_run_keeps_its_code_through_reloads_and_old_copies_go_after_it(house: House, isolation: str) -> None:
    """It runs in another pool than the job that shows what is in effect."""
    house.configure("[pool.second]\nworkers = 1\n", 1, 'poll = "100ms"\n')
    house.foreground()
    where = ("--pool", "second", "--isolation", isolation)
    house.fine("add", "long", "--task", "work", "--arg", "waits=true", "--once", *where)
    house.fine("add", "job", "--task", "work", "--at", NEVER)
    until(lambda: seen(house), "the begin of the long run")
    for version in (2, 3, 4, 5):
        put(house, version)
        house.fine("reload")
        assert next_version(house) == version
    until(lambda: len(copies(house)) == 2, "the end of the copies that no worker has")
    (house.folder / "go").touch()
    assert house.ended("long")[0]["outcome"] == "succeeded"
    assert house.fine("logs", "long") == "late 1\n"
    until(lambda: is_gone(seen(house)[0]["pid"]), "the end of the worker")
    until(lambda: len(copies(house)) == 1, "the end of the old copies")


def test_the_log_of_a_run_that_failed_shows_the_code_that_was_accepted(house: House) -> None:
    house.foreground()
    house.fine("add", "job", "--task", "work", "--at", NEVER, "--arg", "fails=true")
    write(house, "tasks.py", "# a line\n" * 40)
    assert house.jobd("run", "job", "--wait").returncode == 1
    assert '    raise ValueError("as it was accepted")\n' in house.fine("logs", "job")


NEW = "import jobd\n@jobd.task\ndef fresh(): pass\n"


def test_a_new_plugin_is_in_effect_when_a_command_asks_for_it(house: House) -> None:
    house.foreground()
    write(house, "fresh.py", NEW)
    house.fine("add", "fresh", "--once")
    assert house.ended("fresh")[0]["outcome"] == "succeeded"
    assert house.log().count("new plugins are in effect: plugins/fresh.py") == 1


def test_a_new_plugin_is_in_effect_when_a_job_by_hand_asks_for_it(house: House) -> None:
    house.foreground()
    house.fine("add", "fresh", "--at", NEVER, "--force")
    write(house, "fresh.py", NEW)
    with sqlite3.connect(house.folder / "jobd.db") as database:
        database.execute("UPDATE job SET \"interval\" = '1s' WHERE name = 'fresh'")
    database.close()
    assert house.ended("fresh")[0]["outcome"] == "succeeded"
    assert house.log().count("new plugins are in effect: plugins/fresh.py") == 1


def test_a_new_package_is_left_alone_while_it_is_being_copied(house: House) -> None:
    house.configure("", 1, 'poll = "100ms"\nlease = "6s"\n')
    house.foreground()
    house.fine("add", "fresh", "--every", "1s", "--force")
    (house.folder / "plugins" / "package").mkdir()
    write(house, "package/__init__.py", NEW.replace("pass", "import package.late; print(package.late.VALUE)"))
    until(lambda: "fresh cannot run" in house.log(), "the first run")
    time.sleep(1)  # as a slow copy
    write(house, "package/late.py", "VALUE = 'late'\n")
    assert house.ended("fresh", patience=LONG)[-1]["outcome"] == "succeeded"
    assert house.log().count("new plugins are in effect: plugins/package") == 1


def test_a_new_plugin_that_does_not_load_can_be_put_right_without_a_reload(house: House) -> None:
    house.foreground()
    write(house, "fresh.py", "import jobd\n@jobd.task\ndef fresh()\n")
    refused = house.jobd("add", "fresh", "--once")
    assert refused.returncode == 2
    assert "plugins/fresh.py did not load: SyntaxError" in refused.stderr
    write(house, "fresh.py", NEW)
    house.fine("add", "fresh", "--once")
    assert house.ended("fresh")[0]["outcome"] == "succeeded"


def test_a_new_task_in_a_plugin_that_loaded_takes_a_reload_and_the_refusal_says_so(house: House) -> None:
    house.foreground()
    write(house, "tasks.py", TASK.format(version=2) + "\n@jobd.task\ndef second(): pass\n")
    refused = house.jobd("add", "second", "--once")
    assert refused.returncode == 2
    assert "`jobd reload` puts that into effect" in refused.stderr
    assert house.fine("tasks").splitlines()[-1] == (
        "the plugins have changed since they were loaded: `jobd reload` puts that into effect"
    )
    house.fine("reload")
    assert "jobd reload" not in house.fine("tasks")
    house.fine("add", "second", "--once")
    assert house.ended("second")[0]["outcome"] == "succeeded"


def test_a_new_plugin_that_takes_the_name_of_a_task_stays_out(house: House) -> None:
    house.foreground()
    house.fine("add", "job", "--task", "work", "--at", NEVER)
    write(house, "thief.py", "import jobd\n@jobd.task\ndef work(): raise SystemExit('not me')\n")
    write(house, "fresh.py", NEW)
    refused = house.jobd("add", "fresh", "--once")
    assert refused.returncode == 2, "it does not work as long as the other is in its way"
    assert "`jobd reload` puts that into effect" in refused.stderr
    assert "new plugins stay out: the task work of plugins/tasks.py:" in house.log()
    assert next_version(house) == 1
    kill_worker(house)
    assert next_version(house) == 1
    (house.folder / "plugins" / "thief.py").unlink()
    house.fine("add", "fresh", "--once")
    assert house.ended("fresh")[0]["outcome"] == "succeeded"


def test_a_look_for_new_plugins_takes_no_task_away(house: House) -> None:
    """One of the tasks of a plugin does not load: that is no reason to read the plugin again."""
    generator = "\n@jobd.task\ndef yields():\n    yield 1\n"
    write(house, "tasks.py", TASK.format(version=1) + generator)
    house.foreground()
    house.fine("add", "job", "--task", "work", "--at", NEVER)
    write(house, "tasks.py", "import jobd\n" + generator)
    write(house, "fresh.py", NEW)
    assert "work " in house.fine("tasks")
    house.fine("add", "fresh", "--once")
    assert house.ended("fresh")[0]["outcome"] == "succeeded"
    assert next_version(house) == 1


def test_a_new_plugin_does_not_hide_a_module_that_is_in_effect(house: House) -> None:
    (house.folder / "plugins" / "reports").mkdir()
    write(house, "reports/daily.py", "def run(): pass\n")
    house.foreground()
    house.fine("add", "daily", "--task", "reports.daily:run", "--at", NEVER)
    write(house, "reports.py", NEW)
    assert house.jobd("add", "fresh", "--once").returncode == 2
    house.fine("run", "daily", "--wait")


def test_a_new_plugin_beside_a_broken_one_is_in_effect_and_the_broken_one_can_be_put_right(house: House) -> None:
    house.foreground()
    write(house, "wip.py", BROKEN)
    write(house, "fresh.py", NEW)
    house.fine("add", "fresh", "--once")
    assert house.ended("fresh")[0]["outcome"] == "succeeded"
    write(house, "wip.py", NEW.replace("fresh", "wip"))
    house.fine("add", "wip", "--once")
    assert house.ended("wip")[0]["outcome"] == "succeeded"


def test_a_task_in_full_of_a_new_folder_is_in_effect_at_once_and_once(house: House) -> None:
    house.foreground()
    (house.folder / "plugins" / "reports").mkdir()
    write(house, "reports/daily.py", "def run(): pass\n")
    write(house, "wip.py", BROKEN)
    for number in range(3):
        write(house, "wip.py", BROKEN * number + BROKEN)
        house.fine("add", f"daily{number}", "--task", "reports.daily:run", "--once")
        assert house.ended(f"daily{number}")[0]["outcome"] == "succeeded"
    assert house.log().count("new plugins are in effect") == 1


def test_commands_leave_no_copies_behind(house: House) -> None:
    house.foreground()
    house.fine("add", "long", "--task", "work", "--arg", "waits=true", "--once")
    until(lambda: seen(house), "the begin of the long run")
    put(house, 2)
    house.fine("reload")  # now one worker has the code of before
    for number in range(5):
        write(house, "fresh.py", f"this is no Python {number}\n")
        assert house.jobd("add", "fresh", "--once").returncode == 2
        assert house.jobd("reload").returncode == 1
    until(lambda: len(copies(house)) == 2, "the end of the copies that no worker has")


def test_many_jobs_with_an_unknown_task_cost_one_look(house: House) -> None:
    """The look loads a plugin that takes long and does not load; it is not loaded again for each job."""
    house.configure("", 2, 'poll = "100ms"\n')
    house.foreground()
    write(house, "wip.py", f"open('{house.folder}/looks', 'a').write('x')\nraise RuntimeError('not yet')\n")
    jobs = "".join(f'[job.j{number}]\ntask = "nowhere"\nrunonce = true\n' for number in range(300))
    (house.folder / "jobs.toml").write_text(jobs)
    house.fine("apply", str(house.folder / "jobs.toml"), "--yes")
    until((house.folder / "looks").exists, "the look")
    until(lambda: house.log().count("cannot run") == 300, "the last one")
    until(lambda: house.status()["queued"] == 0, "the end of the last one")
    assert (house.folder / "looks").read_text() == "x"


@pytest.mark.quiet
def test_each_run_of_a_storm_of_reloads_has_a_version_that_was_accepted_then(house: House) -> None:
    """Versions come one after the other; every third is broken. Workers die by the dozen meanwhile."""
    house.configure("", 2, 'poll = "100ms"\n')
    house.foreground()
    house.fine("add", "steady", "--task", "work", "--every", "20ms")
    house.fine("add", "deadly", "--task", "work", "--every", "70ms", "--arg", "dies=true")
    house.fine("add", "fresh", "--task", "work", "--every", "200ms", "--isolation", "fresh")
    asked: list[tuple[int, float, float, bool]] = [(1, 0.0, 0.0, True)]
    for version in range(2, 17):
        put(house, version)
        if version % 3 == 0:
            write(house, "helper.py", BROKEN)
        before = time.monotonic()
        accepted = house.jobd("reload").returncode == 0
        asked.append((version, before, time.monotonic(), accepted))
        time.sleep(0.3)
    house.fine("stop")
    assert [accepted for version, _, _, accepted in asked] == [version % 3 != 0 for version, _, _, _ in asked]
    found = seen(house)
    assert len({line["version"] for line in found}) >= 8
    good = {version: (begun, answered) for version, begun, answered, accepted in asked if accepted}
    for line in found:
        assert line["version"] == line["helper"], "one run has code of two versions"
        assert line["version"] in good, "a version that was refused has run"
        assert line["begin"] >= good[line["version"]][0], "a version has run before it was accepted"
        following = min((version for version in good if version > line["version"]), default=None)
        if following is not None:
            assert line["begin"] <= good[following][1] + 1.0, "a version has run after the next was accepted"
