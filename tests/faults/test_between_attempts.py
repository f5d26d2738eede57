"""Between two attempts a node looks at what has changed, also where the next one follows at once."""

from collections.abc import Callable

import pytest

from tests.faults.scene import claimed, noted, notes
from tests.house import House, until

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
Change = Callable[[House], object]
ENDS: dict[str, Change] = {
    "removed": lambda house: house.fine("rm", "job"),
    "paused": lambda house: house.fine("pause", "job"),
    "deleted by another program": lambda house: deleted(house),
    "made invalid": lambda house: sql(house, "UPDATE job SET \"interval\" = 'never ever'"),
}


@pytest.fixture
def trying(house: House) -> House:
    """A job that fails again and again, and may for a long time."""
    file = house.folder / "plugins" / "tasks.py"
    file.write_text(file.read_text() + PLUGIN)
    house.foreground()
    house.fine("add", "job", "--task", "naps_and_fails", "--once", "--retry", "10000")
    noted(house, "tried", 3)
    return house


def sql(house: House, statement: str) -> None:
    import sqlite3

    with sqlite3.connect(house.folder / "jobd.db") as connection:
        connection.execute(statement)


def deleted(house: House) -> None:
    sql(house, "UPDATE job SET is_delete = 1")
    until(lambda: house.fine("show", "job", "--json")["state"] == "deleted", "the deletion to be seen")


@pytest.mark.parametrize("how", ENDS)
def test_no_further_attempt_begins_when_the_job_may_not_run(trying: House, how: str) -> None:
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


def test_the_next_attempt_is_the_changed_jobs(trying: House) -> None:
    trying.fine("set", "job", "--task", "other")
    (run,) = trying.ended("job")
    assert run["outcome"] == "succeeded"
    assert 3 < run["attempts"] < 10_000
    assert len([line for line in notes(trying) if line.startswith("other")]) == 1


def test_fewer_retries_end_it(trying: House) -> None:
    trying.fine("set", "job", "--retry", "0")
    (run,) = trying.ended("job")
    assert (run["outcome"], run["error"]) == ("failed", "RuntimeError: as always")


def test_a_job_that_is_resumed_goes_on_where_it_was(trying: House) -> None:
    trying.fine("pause", "job")
    until(lambda: trying.fine("list", "--json")[0]["state"] == "paused", "the pause")
    count = len(notes(trying))
    trying.fine("resume", "job")
    noted(trying, "tried", count + 3)
