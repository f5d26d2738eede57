"""`jobd run NAME`, with and without --wait, when the job cannot run: it says why, and waits for nothing."""

import contextlib
import subprocess
from collections.abc import Callable

import pytest

from jobd.clock import SystemClock
from jobd.store import requests
from jobd.store.store import Store
from jobd.store.url import parse_url
from tests.faults.helpers import seen_running
from tests.installation import Installation, until

LATER = ("--cron", "0 0 1 1 *")
BROKEN = "import jobd\nimport no_such_module\n\n@jobd.task\ndef broken(): pass\n"


def sql(installation: Installation, statement: str) -> None:
    url = installation.database.replace("sqlite:///", f"sqlite:///{installation.folder}/")
    with contextlib.closing(Store(parse_url(url))) as store:
        store.transact(lambda session: session.execute(statement) and None)


def waiting(installation: Installation, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        installation.command("run", name, "--wait"),
        cwd=installation.folder,
        env=installation.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: "subprocess.Popen[str]", seconds: float = 20) -> tuple[int, str]:
    try:
        _, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, err


def no_task(installation: Installation) -> None:
    installation.fine("add", "x", "--task", "no_such_task", "--force", *LATER)


def broken_plugin(installation: Installation) -> None:
    (installation.folder / "plugins" / "broken.py").write_text(BROKEN)
    installation.fine("add", "x", "--task", "broken", "--force", *LATER)


def no_pool(installation: Installation) -> None:
    installation.fine("add", "x", "--task", "quick", "--pool", "elsewhere", *LATER)


def bad_row(installation: Installation) -> None:
    installation.fine("add", "x", "--task", "quick", *LATER)
    sql(installation, "UPDATE job SET \"interval\" = 'nonsense' WHERE name = 'x'")


def no_programs(installation: Installation) -> None:
    installation.fine("add", "x", *LATER, "--", "/bin/true")


CANNOT: dict[str, tuple[Callable[[Installation], None], str]] = {
    "no task": (no_task, "no_such_task"),
    "broken plugin": (broken_plugin, "no_such_module"),
    "no pool": (no_pool, "no running node has the pool 'elsewhere'; there is: default"),
    "bad row": (bad_row, "nonsense"),
    "no programs": (no_programs, "commands = false"),
}


@pytest.mark.parametrize("what", CANNOT)
def test_run_wait_shows_why_a_run_cannot_start(installation: Installation, what: str) -> None:
    config = installation.folder / "jobd.toml"
    if what == "no programs":
        config.write_text(config.read_text().replace("commands = true", "commands = false"))
    prepare, why = CANNOT[what]
    if what == "broken plugin":
        prepare(installation)
        installation.foreground()
    else:
        installation.foreground()
        prepare(installation)
    code, err = answer(waiting(installation, "x"))
    assert (code, why in err) == (1, True), err
    assert why in installation.fine("show", "x")
    done = installation.jobd("run", "x")
    assert why in done.stderr, done
    assert done.returncode == (1 if what == "bad row" else 0)


def test_run_wait_reports_at_once_that_there_is_no_node_also_after_a_kill(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "quick", *LATER)
    daemon.kill()
    daemon.wait()
    code, err = answer(waiting(installation, "quick"), 5)
    assert (code, "no node is running" in err) == (1, True), err
    assert "no node is running" in installation.jobd("run", "quick").stderr
    assert "no node is running" in installation.fine("show", "quick")


@pytest.mark.parametrize("end", ["kill", "rm", "row"])
def test_waiting_ends_when_the_run_will_never_end(installation: Installation, end: str) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", *LATER)
    installation.fine("add", "behind", "--task", "quick", *LATER)
    installation.fine("run", "gated")
    seen_running(installation, "gated")
    later = installation.fine("show", "behind", "--json")["next_due"]
    process = waiting(installation, "behind")  # the only worker is busy
    until(lambda: installation.fine("show", "behind", "--json")["next_due"] != later, "the request")
    if end == "kill":
        daemon.kill()
        wanted = "`jobd start` starts one"
    elif end == "rm":
        installation.fine("rm", "behind")
        wanted = "it was deleted"
    else:
        sql(installation, "DELETE FROM job WHERE name = 'behind'")
        wanted = "gone"
    code, err = answer(process, 15)
    assert (code, wanted in err) == (1, True), err


def test_waiting_ends_when_a_node_elsewhere_is_dead(
    make_installation: Callable[..., Installation], database: str
) -> None:
    far = make_installation(database)
    near = make_installation(database)
    daemon = far.foreground()
    near.fine("add", "gated", *LATER)
    process = waiting(near, "gated")
    seen_running(far, "gated")
    daemon.kill()
    code, err = answer(process, 30)
    assert (code, "no node is running" in err or "is gone" in err) == (1, True), err


def test_run_wait_reports_the_stored_state_when_the_database_fails(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "gated", *LATER)
    process = waiting(installation, "gated")
    seen_running(installation, "gated")
    sql(installation, "ALTER TABLE run RENAME TO elsewhere")
    code, err = answer(process)
    assert (code, "; run 1 is still requested" in err, "nothing was changed" in err) == (78, True, False), err


def test_waiting_goes_on_under_another_name_and_through_a_pause(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "gated", *LATER)
    process = waiting(installation, "gated")
    seen_running(installation, "gated")
    installation.fine("rename", "gated", "other")
    installation.fine("pause", "other")
    (installation.folder / "open").touch()
    code, err = answer(process)
    assert (code, "run 1 of other succeeded" in err) == (0, True), err
    installation.fine("resume", "other")
    assert installation.fine("run", "other", "--wait") is not None, "it still runs the task `gated`"


def test_run_wait_shows_why_a_run_failed_and_where_its_log_is(installation: Installation) -> None:
    installation.foreground()
    installation.fine("add", "x", *LATER, "--", "cd", "/")
    code, err = answer(waiting(installation, "x"))
    assert code == 1
    assert "there is no program 'cd'" in err
    assert "jobd logs x --run 1" in err
    assert "there is no program 'cd'" in installation.fine("logs", "x")
    installation.fine("add", "y", *LATER, "--", "/bin/sh", "-c", "exit 3")
    answer(waiting(installation, "y"))
    assert "run 1 of y failed: exit code 3" in installation.jobd("logs", "y").stderr


def test_a_requested_run_survives_a_change_of_the_definition(installation: Installation) -> None:
    installation.fine("add", "quick", *LATER)
    installation.fine("add", "resting", "--task", "quick", "--paused", *LATER)
    installation.fine("run", "quick")
    installation.fine("run", "resting")
    installation.fine("set", "quick", "--every", "1d", "--start", "2099-01-01T00:00")
    installation.fine("set", "resting", "--timeout", "1h")
    installation.fine("pause", "quick")
    installation.foreground()
    assert [run["outcome"] for run in installation.ended("quick")] == ["succeeded"]
    assert [run["outcome"] for run in installation.ended("resting")] == ["succeeded"]
    installation.fine("resume", "quick")
    assert installation.fine("show", "quick", "--json")["next_due"].startswith("2099-01-01T00:00")


@pytest.mark.parametrize("when", [("--every", "1h"), LATER])
def test_a_change_during_a_run_does_not_announce_that_run_as_the_next(
    installation: Installation, when: tuple[str, str]
) -> None:
    installation.foreground()
    installation.fine("add", "gated", *when)
    if when == LATER:
        installation.fine("run", "gated")
    seen_running(installation, "gated")
    printed = installation.fine("set", "gated", "--grace", "default")
    assert "a run is in progress, next due" in printed
    assert "due at once" not in printed
    assert "starts when the run in progress has ended" in installation.fine("set", "gated", "--every", "2h")


def test_no_attempt_follows_a_cancel_that_was_acknowledged(installation: Installation) -> None:
    """The attempts end at every moment of the cancellation; each has 1,000 retries, at once or after a while."""
    (installation.folder / "plugins" / "tumbles.py").write_text(
        "import jobd, time\n\n@jobd.task\ndef tumbles(wait):\n    time.sleep(wait)\n    raise ValueError\n"
    )
    installation.configure("", workers=8)
    installation.foreground()
    names = [f"{kind}-{number}" for number in range(4) for kind in ("retry", "backoff")]
    for number, name in enumerate(names):
        backoff = ("--backoff", "1ms") if name.startswith("backoff") else ()
        wait = f"wait=0.00{number + 2}"
        installation.fine("add", name, "--task", "tumbles", "--once", "--retry", "100000", "--arg", wait, *backoff)
    with contextlib.closing(Store(parse_url(f"sqlite:///{installation.folder}/jobd.db"))) as store:
        until(lambda: len(installation.status()["runs"]) > 4, "the runs")
        for name in names:
            requests.request_cancel(store, name, SystemClock().wall())
    for name in names:
        (ended,) = installation.ended(name)
        assert ended["outcome"] == "cancelled", name
        assert installation.fine("show", name, "--json")["state"] == "done"


def test_a_cancel_survives_the_node_that_should_do_it(installation: Installation) -> None:
    daemon = installation.foreground()
    installation.fine("add", "gated", "--once")
    seen_running(installation, "gated")
    daemon.kill()
    daemon.wait()
    installation.fine("cancel", "gated")
    installation.foreground()
    newest, lost = installation.ended("gated", 2)
    assert [lost["outcome"], newest["outcome"]] == ["lost", "cancelled"]
