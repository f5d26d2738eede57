"""Between two attempts a node checks for changes of the job, also if the next one follows at once."""

from collections.abc import Callable

import pytest

from tests.faults.helpers import claimed, noted, notes
from tests.installation import Installation, until

PLUGIN = """
@jobd.task
def naps_and_fails():
    note("tried")
    time.sleep(0.03)
    raise RuntimeError("as always")

@jobd.task
def other():
    note("other")
"""
Change = Callable[[Installation], object]
ENDS: dict[str, Change] = {
    "removed": lambda installation: installation.fine("rm", "job"),
    "paused": lambda installation: installation.fine("pause", "job"),
    "deleted by another program": lambda installation: deleted(installation),
    "made invalid": lambda installation: sql(installation, "UPDATE job SET \"interval\" = 'never ever'"),
}


@pytest.fixture
def trying(installation: Installation) -> Installation:
    """A job that fails again and again, and may for a long time."""
    file = installation.folder / "plugins" / "tasks.py"
    file.write_text(file.read_text() + PLUGIN)
    installation.foreground()
    installation.fine("add", "job", "--task", "naps_and_fails", "--once", "--retry", "10000")
    noted(installation, "tried", 3)
    return installation


def sql(installation: Installation, statement: str) -> None:
    import sqlite3

    with sqlite3.connect(installation.folder / "jobd.db") as connection:
        connection.execute(statement)


def deleted(installation: Installation) -> None:
    sql(installation, "UPDATE job SET is_delete = 1")
    until(lambda: installation.fine("show", "job", "--json")["state"] == "deleted", "the deletion to be seen")


@pytest.mark.parametrize("how", ENDS)
def test_no_further_attempt_begins_when_the_job_may_not_run(trying: Installation, how: str) -> None:
    ENDS[how](trying)
    until(lambda: trying.fine("list", "--all", "--json")[0]["state"] in ("deleted", "paused", "invalid"), "the end")
    seen = len(notes(trying))
    until(lambda: not claimed(trying), "the claim to be given back")
    count = len(notes(trying))
    # An answer comes when the daemon has looked; what another program writes it sees with its next poll.
    assert count <= seen + (1 if how in ("removed", "paused") else 100)
    trying.fine("add", "quick", "--every", "10ms")
    trying.ended("quick", 20)
    assert len([line for line in notes(trying) if line.startswith("tried")]) <= count


def test_the_next_attempt_is_the_changed_jobs(trying: Installation) -> None:
    trying.fine("set", "job", "--task", "other")
    (run,) = trying.ended("job")
    assert run["outcome"] == "succeeded"
    assert 3 < run["attempts"] < 10_000
    assert len([line for line in notes(trying) if line.startswith("other")]) == 1


def test_fewer_retries_end_it(trying: Installation) -> None:
    trying.fine("set", "job", "--retry", "0")
    (run,) = trying.ended("job")
    assert (run["outcome"], run["error"]) == ("failed", "RuntimeError: as always")


def test_a_job_that_is_resumed_goes_on_where_it_was(trying: Installation) -> None:
    trying.fine("pause", "job")
    until(lambda: trying.fine("list", "--json")[0]["state"] == "paused", "the pause")
    count = len(notes(trying))
    trying.fine("resume", "job")
    noted(trying, "tried", count + 3)
