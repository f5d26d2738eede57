"""A run has the code that was accepted at a start, at a reload, or by a command, also after the files have changed.

Each task writes its version, with the time, to a file beside the plugins folder.
"""

import json
import os
import signal
import sqlite3
import time
from typing import Any

import pytest

from tests.installation import LONG_TIMEOUT, Installation, until
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
def installation(installation: Installation) -> Installation:
    for path in (installation.folder / "plugins").iterdir():
        path.unlink()
    put(installation, 1)
    return installation


def put(installation: Installation, version: int) -> None:
    """Lay this version of the plugins into the folder."""
    write(installation, "tasks.py", TASK.format(version=version))
    write(installation, "helper.py", f"HELP = {version}\n")
    write(installation, "late.py", f"VERSION = {version}\n")


def write(installation: Installation, name: str, text: str) -> None:
    new = installation.folder / "new"
    new.write_text(text)
    new.rename(installation.folder / "plugins" / name)


def seen(installation: Installation) -> list[dict[str, Any]]:
    file = installation.folder / "seen"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def next_version(installation: Installation, job: str = "job") -> int:
    """The version that the job's next run has."""
    before = len(seen(installation))
    installation.fine("run", job, "--wait")
    until(lambda: len(seen(installation)) > before, "the run")
    line = seen(installation)[-1]
    assert line["version"] == line["helper"], line
    return int(line["version"])


def kill_worker(installation: Installation) -> None:
    """Kill the worker that had the last run, itself or in a child; another takes its place."""
    pid = seen(installation)[-1]["worker"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid), "the end of the worker")


def copies(installation: Installation) -> list[str]:
    return sorted(os.listdir(installation.state / "jobd.code"))


@pytest.mark.parametrize("isolation", ["warm", "fork", "fresh"])
def test_after_a_refused_reload_every_worker_has_the_old_code(installation: Installation, isolation: str) -> None:
    installation.foreground()
    forked = json.dumps(isolation == "fork")
    installation.fine(
        "add", "job", "--task", "work", "--at", NEVER, "--isolation", isolation, "--arg", f"forked={forked}"
    )
    assert next_version(installation) == 1
    put(installation, 2)
    write(installation, "tasks.py", BROKEN)
    refused = installation.jobd("reload")
    assert refused.returncode == 1
    assert "does not load any more: SyntaxError" in refused.stderr
    assert next_version(installation) == 1
    if isolation != "fresh":
        kill_worker(installation)
    assert next_version(installation) == 1
    put(installation, 3)
    installation.fine("reload")
    assert next_version(installation) == 3


@pytest.mark.parametrize("change", ["changed", "broken", "removed", "another folder in its place"])
def test_changed_plugins_are_not_in_effect_before_a_reload(installation: Installation, change: str) -> None:
    installation.foreground()
    installation.fine("add", "job", "--task", "work", "--at", NEVER)
    if change == "changed":
        put(installation, 2)
    elif change == "broken":
        write(installation, "helper.py", BROKEN)
    elif change == "removed":
        for path in (installation.folder / "plugins").iterdir():
            path.unlink()
    else:
        (installation.folder / "plugins").rename(installation.folder / "elsewhere")
        (installation.folder / "plugins").mkdir()
        put(installation, 2)
    assert next_version(installation) == 1
    kill_worker(installation)
    assert next_version(installation) == 1


def test_a_start_accepts_the_present_plugins_after_any_end_of_the_previous_daemon(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "job", "--task", "work", "--at", NEVER)
    assert next_version(installation) == 1
    put(installation, 2)
    daemon.kill()
    daemon.wait()
    installation.foreground()
    assert next_version(installation) == 2
    assert len(copies(installation)) == 1


@pytest.mark.parametrize("isolation", ["warm", "fork", "fresh"])
def test_a_long_run_keeps_its_code_through_reloads_and_old_copies_go_after_it(
    installation: Installation, isolation: str
) -> None:
    """It runs in another pool than the job that shows what is in effect."""
    installation.configure("[pool.second]\nworkers = 1\n", 1, 'poll = "100ms"\n')
    installation.foreground()
    where = ("--pool", "second", "--isolation", isolation)
    installation.fine("add", "long", "--task", "work", "--arg", "waits=true", "--once", *where)
    installation.fine("add", "job", "--task", "work", "--at", NEVER)
    until(lambda: seen(installation), "the begin of the long run")
    for version in (2, 3, 4, 5):
        put(installation, version)
        installation.fine("reload")
        assert next_version(installation) == version
    until(lambda: len(copies(installation)) == 2, "the end of the copies that no worker has")
    (installation.folder / "go").touch()
    assert installation.ended("long")[0]["outcome"] == "succeeded"
    assert installation.fine("logs", "long") == "late 1\n"
    until(lambda: is_gone(seen(installation)[0]["pid"]), "the end of the worker")
    until(lambda: len(copies(installation)) == 1, "the end of the old copies")


def test_the_log_of_a_run_that_failed_shows_the_code_that_was_accepted(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "job", "--task", "work", "--at", NEVER, "--arg", "fails=true")
    write(installation, "tasks.py", "# a line\n" * 40)
    assert installation.jobd("run", "job", "--wait").returncode == 1
    assert '    raise ValueError("as it was accepted")\n' in installation.fine("logs", "job")


NEW = "import jobd\n@jobd.task\ndef fresh(): pass\n"


def test_a_new_plugin_is_in_effect_when_a_command_asks_for_it(installation: Installation) -> None:
    installation.foreground()
    write(installation, "fresh.py", NEW)
    installation.fine("add", "fresh", "--once")
    assert installation.ended("fresh")[0]["outcome"] == "succeeded"
    assert installation.log().count("new plugins are in effect: plugins/fresh.py") == 1


def test_a_new_plugin_is_in_effect_when_a_job_inserted_with_sql_needs_it(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "fresh", "--at", NEVER, "--force")
    write(installation, "fresh.py", NEW)
    with sqlite3.connect(installation.folder / "jobd.db") as database:
        database.execute("UPDATE job SET \"interval\" = '1s' WHERE name = 'fresh'")
    database.close()
    assert installation.ended("fresh")[0]["outcome"] == "succeeded"
    assert installation.log().count("new plugins are in effect: plugins/fresh.py") == 1


def test_a_new_package_is_left_alone_while_it_is_being_copied(installation: Installation) -> None:
    installation.configure("", 1, 'poll = "100ms"\nlease = "6s"\n')
    installation.foreground()
    installation.fine("add", "fresh", "--every", "1s", "--force")
    (installation.folder / "plugins" / "package").mkdir()
    write(installation, "package/__init__.py", NEW.replace("pass", "import package.late; print(package.late.VALUE)"))
    until(lambda: "fresh cannot run" in installation.log(), "the first run")
    time.sleep(1)  # as a slow copy
    write(installation, "package/late.py", "VALUE = 'late'\n")
    assert installation.ended("fresh", patience=LONG_TIMEOUT)[-1]["outcome"] == "succeeded"
    assert installation.log().count("new plugins are in effect: plugins/package") == 1


def test_a_new_plugin_that_does_not_load_can_be_put_right_without_a_reload(installation: Installation) -> None:
    installation.foreground()
    write(installation, "fresh.py", "import jobd\n@jobd.task\ndef fresh()\n")
    refused = installation.jobd("add", "fresh", "--once")
    assert refused.returncode == 2
    assert "plugins/fresh.py did not load: SyntaxError" in refused.stderr
    write(installation, "fresh.py", NEW)
    installation.fine("add", "fresh", "--once")
    assert installation.ended("fresh")[0]["outcome"] == "succeeded"


def test_a_new_task_in_a_loaded_plugin_needs_a_reload_and_the_refusal_says_so(installation: Installation) -> None:
    installation.foreground()
    write(installation, "tasks.py", TASK.format(version=2) + "\n@jobd.task\ndef second(): pass\n")
    refused = installation.jobd("add", "second", "--once")
    assert refused.returncode == 2
    assert "`jobd reload` puts that into effect" in refused.stderr
    assert installation.fine("tasks").splitlines()[-1] == (
        "the plugins have changed since they were loaded: `jobd reload` puts that into effect"
    )
    installation.fine("reload")
    assert "jobd reload" not in installation.fine("tasks")
    installation.fine("add", "second", "--once")
    assert installation.ended("second")[0]["outcome"] == "succeeded"


def test_a_new_plugin_that_takes_the_name_of_a_task_stays_out(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "job", "--task", "work", "--at", NEVER)
    write(installation, "thief.py", "import jobd\n@jobd.task\ndef work(): raise SystemExit('not me')\n")
    write(installation, "fresh.py", NEW)
    refused = installation.jobd("add", "fresh", "--once")
    assert refused.returncode == 2, "it does not work as long as the other is in its way"
    assert "`jobd reload` puts that into effect" in refused.stderr
    assert "new plugins stay out: the task work of plugins/tasks.py:" in installation.log()
    assert next_version(installation) == 1
    kill_worker(installation)
    assert next_version(installation) == 1
    (installation.folder / "plugins" / "thief.py").unlink()
    installation.fine("add", "fresh", "--once")
    assert installation.ended("fresh")[0]["outcome"] == "succeeded"


def test_a_search_for_new_plugins_removes_no_task(installation: Installation) -> None:
    """One of the tasks of a plugin does not load: that is no reason to read the plugin again."""
    generator = "\n@jobd.task\ndef yields():\n    yield 1\n"
    write(installation, "tasks.py", TASK.format(version=1) + generator)
    installation.foreground()
    installation.fine("add", "job", "--task", "work", "--at", NEVER)
    write(installation, "tasks.py", "import jobd\n" + generator)
    write(installation, "fresh.py", NEW)
    assert "work " in installation.fine("tasks")
    installation.fine("add", "fresh", "--once")
    assert installation.ended("fresh")[0]["outcome"] == "succeeded"
    assert next_version(installation) == 1


def test_a_new_plugin_does_not_hide_a_module_that_is_in_effect(installation: Installation) -> None:
    (installation.folder / "plugins" / "reports").mkdir()
    write(installation, "reports/daily.py", "def run(): pass\n")
    installation.foreground()
    installation.fine("add", "daily", "--task", "reports.daily:run", "--at", NEVER)
    write(installation, "reports.py", NEW)
    assert installation.jobd("add", "fresh", "--once").returncode == 2
    installation.fine("run", "daily", "--wait")


def test_a_new_plugin_beside_a_broken_one_is_in_effect_and_the_broken_one_can_be_put_right(
    installation: Installation,
) -> None:
    installation.foreground()
    write(installation, "wip.py", BROKEN)
    write(installation, "fresh.py", NEW)
    installation.fine("add", "fresh", "--once")
    assert installation.ended("fresh")[0]["outcome"] == "succeeded"
    write(installation, "wip.py", NEW.replace("fresh", "wip"))
    installation.fine("add", "wip", "--once")
    assert installation.ended("wip")[0]["outcome"] == "succeeded"


def test_a_task_in_full_of_a_new_folder_is_in_effect_at_once_and_once(installation: Installation) -> None:
    installation.foreground()
    (installation.folder / "plugins" / "reports").mkdir()
    write(installation, "reports/daily.py", "def run(): pass\n")
    write(installation, "wip.py", BROKEN)
    for number in range(3):
        write(installation, "wip.py", BROKEN * number + BROKEN)
        installation.fine("add", f"daily{number}", "--task", "reports.daily:run", "--once")
        assert installation.ended(f"daily{number}")[0]["outcome"] == "succeeded"
    assert installation.log().count("new plugins are in effect") == 1


def test_commands_leave_no_copies_behind(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "long", "--task", "work", "--arg", "waits=true", "--once")
    until(lambda: seen(installation), "the begin of the long run")
    put(installation, 2)
    installation.fine("reload")  # now one worker has the code of before
    for number in range(5):
        write(installation, "fresh.py", f"this is no Python {number}\n")
        assert installation.jobd("add", "fresh", "--once").returncode == 2
        assert installation.jobd("reload").returncode == 1
    until(lambda: len(copies(installation)) == 2, "the end of the copies that no worker has")


def test_many_jobs_with_an_unknown_task_cost_one_search(installation: Installation) -> None:
    """The look loads a plugin that takes long and does not load; it is not loaded again for each job."""
    installation.configure("", 2, 'poll = "100ms"\n')
    installation.foreground()
    write(
        installation, "wip.py", f"open('{installation.folder}/looks', 'a').write('x')\nraise RuntimeError('not yet')\n"
    )
    jobs = "".join(f'[job.j{number}]\ntask = "nowhere"\nrunonce = true\n' for number in range(300))
    (installation.folder / "jobs.toml").write_text(jobs)
    installation.fine("apply", str(installation.folder / "jobs.toml"), "--yes")
    until((installation.folder / "looks").exists, "the look")
    until(lambda: installation.log().count("cannot run") == 300, "the last one")
    until(lambda: installation.status()["queued"] == 0, "the end of the last one")
    assert (installation.folder / "looks").read_text() == "x"


@pytest.mark.quiet
def test_each_run_of_a_storm_of_reloads_has_a_version_that_was_accepted_then(installation: Installation) -> None:
    """Versions come one after the other; every third is broken. Workers die by the dozen meanwhile."""
    installation.configure("", 2, 'poll = "100ms"\n')
    installation.foreground()
    installation.fine("add", "steady", "--task", "work", "--every", "20ms")
    installation.fine("add", "deadly", "--task", "work", "--every", "70ms", "--arg", "dies=true")
    installation.fine("add", "fresh", "--task", "work", "--every", "200ms", "--isolation", "fresh")
    asked: list[tuple[int, float, float, bool]] = [(1, 0.0, 0.0, True)]
    for version in range(2, 17):
        put(installation, version)
        if version % 3 == 0:
            write(installation, "helper.py", BROKEN)
        before = time.monotonic()
        accepted = installation.jobd("reload").returncode == 0
        asked.append((version, before, time.monotonic(), accepted))
        time.sleep(0.3)
    installation.fine("stop")
    assert [accepted for version, _, _, accepted in asked] == [version % 3 != 0 for version, _, _, _ in asked]
    found = seen(installation)
    assert len({line["version"] for line in found}) >= 8
    good = {version: (begun, answered) for version, begun, answered, accepted in asked if accepted}
    for line in found:
        assert line["version"] == line["helper"], "one run has code of two versions"
        assert line["version"] in good, "a version that was refused has run"
        assert line["begin"] >= good[line["version"]][0], "a version has run before it was accepted"
        following = min((version for version in good if version > line["version"]), default=None)
        if following is not None:
            assert line["begin"] <= good[following][1] + 1.0, "a version has run after the next was accepted"
