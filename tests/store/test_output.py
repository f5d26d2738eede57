"""Output of attempts, up to the largest amount at one time, on every database."""

import pytest

from jobd.claim import Claim, OutputPart
from jobd.engine.budget import Budget
from jobd.engine.worker import Execution
from jobd.job import Job, JobState
from jobd.store.output import save
from jobd.store.store import Store


def kept(store: Store) -> list[tuple[int, int, int]]:
    """Of each attempt, how many parts there are and how long its output is."""
    sql = "SELECT attempt, count(*), sum(char_length(text)) FROM output GROUP BY attempt ORDER BY attempt"
    if store.target.kind == "sqlite":
        sql = sql.replace("char_length", "length")
    return store.transact(lambda session: [(int(a), int(b), int(c)) for a, b, c in session.rows(sql)])


def test_outcomes_of_a_long_outage_are_written_in_one_transaction(store: Store) -> None:
    parts = [OutputPart(1, 1, attempt, 0, "x'\\" * 22_000) for attempt in range(1, 401)]  # 25 MiB
    store.transact(lambda session: save(session, parts))
    assert kept(store) == [(attempt, 1, 66_000) for attempt in range(1, 401)]


@pytest.mark.parametrize("letter", [b"\xff", "\U0001f600".encode(), b"\\"])
def test_the_longest_output_of_an_attempt_is_taken(store: Store, letter: bytes) -> None:
    limit = 8 * 2**20
    execution = Execution(Claim(Job("job", "1h", id=1), JobState(1)), 1, limit, Budget())
    execution.output.feed(letter * (limit // len(letter) - 1) + b"\n")
    execution.last_lines()
    parts = execution.next_parts()
    store.transact(lambda session: save(session, parts))
    ((_, count, size),) = kept(store)
    assert (count, size) == (len(parts), limit // len(letter))


def test_dropped_output_is_marked_in_its_place(store: Store) -> None:
    parts = [
        OutputPart(1, 1, 1, 0, "begin\n"),
        OutputPart(1, 1, 1, 1, "end\n", dropped=1_234),
        OutputPart(1, 1, 2, 0, "", dropped=5),
    ]
    store.transact(lambda session: save(session, parts))
    rows = store.transact(lambda session: session.rows("SELECT text FROM output ORDER BY attempt, part"))
    said = "[jobd: {} bytes of output were dropped here: too much waited for the database]\n"
    assert [text for (text,) in rows] == ["begin\n", said.format("1,234") + "end\n", said.format("5")]
