"""A real daemon reports a database server that does not answer, stays responsive, and continues after an answer."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest

from jobd.store.postgresql.connection import DEADLINE
from tests import servers
from tests.faults.helpers import noted, notes
from tests.installation import Installation, until
from tests.processes import family

AWAY_FOR = DEADLINE + 6  # seconds
REPORTED_WITHIN = DEADLINE + 3
BACK_WITHIN = 15  # seconds: what is under way may still wait for its deadline, and the longest back-off is 5
MORE = 'poll = "200ms"\nlease = "60s"\n'
pytestmark = pytest.mark.timeout(180)


def all_recorded_once(installation: Installation, name: str) -> None:
    installation.fine("stop")
    recorded = Counter(run["run"] for run in installation.history(name))
    done = Counter(int(run) for _, job, run, _ in map(str.split, notes(installation)) if job == name)
    assert set(done.values()) == set(recorded.values()) == {1}
    assert set(done) == set(recorded)
    assert "Traceback" not in installation.log()
    assert "a bug in jobd" not in installation.log()


def goes_on(installation: Installation) -> None:
    began, count = time.monotonic(), len(notes(installation))
    until(lambda: installation.status()["database"] == "ok" and len(notes(installation)) > count + 3, "runs")
    assert time.monotonic() - began < BACK_WITHIN


def test_a_daemon_reports_commits_that_wait_for_a_missing_standby_and_goes_on_when_it_returns(
    make_installation: Callable[..., Installation],
) -> None:
    with servers.running("postgresql") as primary, servers.following(primary) as standby:
        installation = make_installation(primary.new_database(), more=MORE)
        installation.foreground()
        installation.fine("add", "quick", "--every", "200ms")
        noted(installation, "ran", 3)
        standby.kill()
        began = time.monotonic()
        until(lambda: "the connection broke during the commit" in installation.log(), "the line in the log")
        assert time.monotonic() - began < REPORTED_WITHIN
        assert "has not answered" in installation.status()["database"]
        unknown = installation.jobd("add", "late", "--task", "quick", "--once")
        assert (unknown.returncode, unknown.stderr.count("\n")) == (75, 1), unknown
        standby.start()
        goes_on(installation)
        installation.ended("late")
        assert "was refused" not in installation.log()
        all_recorded_once(installation, "quick")


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_a_daemon_whose_server_is_frozen_goes_on_when_it_thaws(
    kind: str, make_installation: Callable[..., Installation]
) -> None:
    with servers.running(kind) as server:
        installation = make_installation(server.new_database(), more=MORE)
        installation.foreground()
        installation.fine("add", "quick", "--every", "200ms")
        noted(installation, "ran", 3)
        frozen = family(server._pid())
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(AWAY_FOR)
        assert installation.status()["database"] != "ok"
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        goes_on(installation)
        all_recorded_once(installation, "quick")
