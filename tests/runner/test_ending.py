"""A run that is ended has time to clean up. This changes no outcome and no other run."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, until
from tests.processes import is_gone

PLUGIN = '''
import asyncio, contextlib, itertools, multiprocessing, os, signal, subprocess, sys, time
import jobd

HOME = os.path.dirname(os.path.dirname(__file__))

def note(what):
    with open(f"{HOME}/{jobd.current_run().job}", "a") as file:
        file.write(f"{what} {os.getpid()}\\n")

@contextlib.contextmanager
def resource():
    note("opened")
    try:
        yield
    finally:
        note("closed")

@jobd.task
def sleeps():
    with resource():
        try:
            time.sleep(60)
        except Exception:
            note("caught")

@jobd.task
def spins():
    with resource():
        while True:
            pass

@jobd.task
async def awaits():
    try:
        note("opened")
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
        note("closed")
        raise

@jobd.task
def returns_what_awaits():
    return awaits()

@jobd.task
def runs_a_loop_of_its_own():
    asyncio.run(awaits())

@jobd.task
def returns_a_task():
    return asyncio.new_event_loop().create_task(awaits())

@jobd.task
def succeeds_after_all():
    with contextlib.suppress(jobd.Cancelled), resource():
        time.sleep(60)
    return "done"

@jobd.task
def fails_after_all():
    try:
        with resource():
            time.sleep(60)
    finally:
        raise ValueError("of the clean-up")

@jobd.task
def exits_after_all():
    try:
        with resource():
            time.sleep(60)
    finally:
        os._exit(0)

@jobd.task
def swallows():
    note("opened")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            note("swallowed")

@jobd.task
def hangs_in_c():
    note("opened")
    sum(itertools.repeat(0))  # no Python runs meanwhile

@jobd.task
def waits_for_a_program():
    note("opened")
    child = subprocess.Popen([sys.executable, "-c", f"""
import signal, sys, time
def clean_up(*_):
    time.sleep(0.3)
    open({HOME!r} + "/program", "a").write("closed")
    sys.exit()
signal.signal(signal.SIGTERM, clean_up)
open({HOME!r} + "/program", "a").write("opened ")
time.sleep(60)
"""])
    time.sleep(60)

@jobd.task
def terminates_a_child():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode

@jobd.task
def signals_itself():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)

@jobd.task
def naps():
    """Until about its end."""
    run = jobd.current_run()
    time.sleep(max(0, run.deadline - time.monotonic() + run.run % 5 * 0.001 - 0.003))

@jobd.task
def quick():
    return os.getpid()
'''

REASON = "the run is to end: it was cancelled, took too long, or jobd stops"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path, plugin=PLUGIN)
    installation.foreground()
    yield installation
    installation.close()


def noted(installation: Installation, name: str, what: str = "") -> list[str]:
    file = installation.folder / name
    return [line for line in file.read_text().splitlines() if line.startswith(what)] if file.exists() else []


def ended_at(run: dict[str, Any]) -> float:
    return datetime.fromisoformat(run["finished_time"]).timestamp()


def began(installation: Installation, name: str, *options: str) -> int:
    """The process in which the run of this task, which goes on, is."""
    installation.fine("add", name, "--once", *options)
    return int(until(lambda: noted(installation, name, "opened"), name)[0].split()[1])


CLEAN = (
    "sleeps", "spins", "awaits", "returns_what_awaits", "runs_a_loop_of_its_own", "returns_a_task",
    "succeeds_after_all", "fails_after_all", "exits_after_all",
)  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_a_cancelled_task_cleans_up_and_stays_cancelled(installation: Installation, name: str) -> None:
    began(installation, name)
    installation.fine("cancel", name)
    cancelled = time.time()
    (run,) = installation.ended(name)
    assert (run["outcome"], run["error"], run["result"]) == ("cancelled", "cancelled", None)
    closed = (installation.folder / name).stat().st_mtime
    assert closed - cancelled < 4
    assert ended_at(run) - closed < 4, "it was killed"
    assert [line.split()[0] for line in noted(installation, name)] == ["opened", "closed"]


@pytest.mark.parametrize("isolation", ["fork", "fresh"])
@pytest.mark.parametrize("name", ["sleeps", "awaits"])
def test_a_cancelled_task_in_a_fresh_or_forked_process_cleans_up(
    installation: Installation, isolation: str, name: str
) -> None:
    began(installation, name, "--isolation", isolation)
    installation.fine("cancel", name)
    assert installation.ended(name)[0]["outcome"] == "cancelled"
    assert [line.split()[0] for line in noted(installation, name)] == ["opened", "closed"]


@pytest.mark.parametrize("name", ["swallows", "hangs_in_c"])
def test_a_task_that_does_not_end_is_killed_after_the_grace(installation: Installation, name: str) -> None:
    pid = began(installation, name)
    before = time.monotonic()
    installation.fine("cancel", name)
    (run,) = installation.ended(name)
    assert run["outcome"] == "cancelled"
    assert time.monotonic() - before >= 4
    until(lambda: is_gone(pid), "its end")
    assert len(noted(installation, name, "swallowed")) == (name == "swallows")


def test_a_task_that_is_over_its_timeout_cleans_up_and_is_tried_again(installation: Installation) -> None:
    installation.fine("add", "sleeps", "--once", "--timeout", "3s", "--retry", "1")
    (run,) = installation.ended("sleeps")
    assert (run["outcome"], run["attempts"]) == ("timed_out", 2)
    assert "its timeout of 3 s" in run["error"]
    assert [line.split()[0] for line in noted(installation, "sleeps")] == ["opened", "closed"] * 2


def test_the_log_shows_the_stack_of_a_task_that_was_ended(installation: Installation) -> None:
    began(installation, "sleeps")
    installation.fine("cancel", "sleeps")
    installation.ended("sleeps")
    logs = installation.fine("logs", "sleeps")
    assert "time.sleep(60)" in logs
    assert "jobd.api.Cancelled: the run is to end" in logs


def test_a_stop_lets_a_task_clean_up(installation: Installation) -> None:
    installation.configure("", 1, 'stop_timeout = "200ms"')
    installation.fine("reload")
    began(installation, "sleeps")
    installation.fine("stop")
    assert [line.split()[0] for line in noted(installation, "sleeps")] == ["opened", "closed"]
    assert installation.history("sleeps")[0]["outcome"] == "lost"


def test_a_program_that_a_task_started_has_time_to_clean_up(installation: Installation) -> None:
    began(installation, "waits_for_a_program")
    program = installation.folder / "program"
    until(lambda: program.exists() and program.read_text(), "the program")
    installation.fine("cancel", "waits_for_a_program")
    installation.ended("waits_for_a_program")
    assert program.read_text() == "opened closed"


SCRIPT = 'trap "sleep 0.3; echo closed >> {0}; exit 0" TERM; echo opened >> {0}; while :; do sleep 0.05; done'


@pytest.mark.parametrize("how", [(), ("setsid", "--wait"), ("sh", "-c", 'setsid "$@" & wait; sleep 0.5', "sh")])
def test_a_program_cleans_up_and_stays_cancelled(installation: Installation, how: tuple[str, ...]) -> None:
    notes = installation.folder / "script"
    installation.fine("add", "script", "--once", "--", *how, "sh", "-c", SCRIPT.format(notes))
    until(notes.exists, "the program")
    installation.fine("cancel", "script")
    assert installation.ended("script")[0]["outcome"] == "cancelled"
    assert notes.read_text() == "opened\nclosed\n"


def test_a_child_that_a_task_forks_ends_by_the_signal(installation: Installation) -> None:
    installation.fine("add", "terminates_a_child", "--once")
    assert installation.ended("terminates_a_child")[0]["result"] == -signal.SIGTERM


def test_an_unrequested_signal_fails_only_its_own_run(installation: Installation) -> None:
    installation.fine("add", "signals_itself", "--once")
    (run,) = installation.ended("signals_itself")
    assert run["outcome"] == "failed"
    assert run["error"].startswith("Cancelled: ")


def test_a_signal_between_two_runs_hits_none(installation: Installation) -> None:
    installation.fine("add", "quick", "--once")
    pid = installation.ended("quick")[0]["result"]
    os.kill(pid, signal.SIGTERM)
    for count in (2, 3):
        installation.fine("run", "quick", "--wait")
        assert installation.ended("quick", count)[0]["result"] == pid


def test_a_signal_while_the_plugin_is_imported_ends_the_run(installation: Installation) -> None:
    (installation.folder / "plugins" / "slow.py").write_text(
        f"import jobd, os, time\nopen('{installation.folder}/importing', 'w').close()\n"
        f"time.sleep(60 * os.path.exists('{installation.folder}/go'))\n@jobd.task\ndef slow():\n    pass\n"
    )
    installation.fine("tasks")  # puts it into effect
    (installation.folder / "go").touch()
    (installation.folder / "importing").unlink()
    installation.fine("add", "slow", "--once", "--force", "--timeout", "3s")
    until((installation.folder / "importing").exists, "the import")
    (run,) = installation.ended("slow")
    assert run["outcome"] == "timed_out"
    assert ended_at(run) - datetime.fromisoformat(run["started_time"]).timestamp() < 3 + 4, "it was killed"


def test_late_signals_cost_no_run_but_the_one_they_hit_and_no_process(installation: Installation) -> None:
    installation.fine("add", "quick", "--every", "10ms")
    pid = installation.ended("quick")[0]["result"]
    for number in range(400):
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.001 + number % 7 * 0.0013)
    installation.fine("pause", "quick")
    runs = installation.fine("history", "quick", "--json", "-n", "1000")
    assert len(runs) > 20
    assert {run["result"] for run in runs if run["outcome"] == "succeeded"} == {pid}
    assert {run["error"] for run in runs if run["outcome"] != "succeeded"} <= {f"Cancelled: {REASON}"}


def test_a_run_that_ends_at_its_timeout_has_one_outcome_or_the_other(installation: Installation) -> None:
    installation.fine("add", "naps", "--every", "10ms", "--timeout", "50ms")
    installation.fine("add", "quick", "--every", "10ms")
    for count in (5, 10, 15, 20):
        installation.ended("naps", count)
    for name in ("naps", "quick"):
        installation.fine("pause", name)
    assert {run["outcome"] for run in installation.fine("history", "naps", "--json")} <= {"succeeded", "timed_out"}
    assert {run["outcome"] for run in installation.fine("history", "quick", "--json")} == {"succeeded"}
